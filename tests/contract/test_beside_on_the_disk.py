"""What stands beside the generations in SQLite survives a power cut: it is in no log, unlike the rows of a generation."""

from contextlib import closing
from pathlib import Path

from sidestream.adapters.sqlite_read_model import SqliteReadModels
from sidestream.applying.applied import BOOKKEEPING
from sidestream.applying.corrections import BESIDE

NORMAL, FULL = 1, 2


def test_a_decision_is_on_the_disk_when_it_is_recorded_and_rows_are_there_when_they_are(tmp_path: Path) -> None:
    read_models = SqliteReadModels(tmp_path)
    name = read_models.create(1, BOOKKEEPING, "now")
    for _ in ("made", "opened again"):
        with closing(read_models.beside(BESIDE)) as beside, closing(read_models.open(name)) as generation:
            found = [each._writer.execute("PRAGMA synchronous").fetchone()[0] for each in (beside, generation)]
        assert found == [FULL, NORMAL]


def test_the_pointer_is_on_the_disk_when_it_has_moved(tmp_path: Path) -> None:
    read_models = SqliteReadModels(tmp_path)
    with read_models._catalog() as catalog:
        assert catalog.execute("PRAGMA synchronous").fetchone()[0] == FULL
