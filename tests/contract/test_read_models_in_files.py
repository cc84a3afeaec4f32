"""What only generations in files can show: a disk that has not taken what was written, and a drop that was killed half-way."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from sidestream.adapters.sqlite_read_model import SqliteReadModels
from sidestream.errors import StoreAway
from sidestream.projection import Table
from sidestream.rebuilding.switching import drop
from tests.contract.rebuilt import PAGES, Page, Web, built, pages, site_of, states

REPOSITORY: Final = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "tally"


@pytest.fixture
def in_files(folder: Path) -> SqliteReadModels:
    return SqliteReadModels(folder)


# ── the disk ─────────────────────────────────────────────────────────────────────────────────────────────────────────

SAYINGS: dict[str, Callable[[SqliteReadModels], object]] = {
    "mark_ready": lambda read_models: read_models.mark_ready("g2"),
    "held": lambda read_models: read_models.set_aside("g2", "held"),
    "scratch": lambda read_models: read_models.set_aside("g2", "scratch"),
    "switch": lambda read_models: read_models.switch("g1"),
    "roll_back": lambda read_models: read_models.roll_back("g1"),
}


@pytest.mark.parametrize("say", SAYINGS.values(), ids=SAYINGS)
def test_of_what_the_disk_has_not_taken_the_catalogue_says_nothing(
    say: Callable[[SqliteReadModels], object], in_files: SqliteReadModels, folder: Path
) -> None:
    """A power cut leaves what was synced: else the pointer could be on the disk, and the rows it points to not."""
    for _ in range(2):
        in_files.create(1, (PAGES,), "")
    in_files.mark_ready("g1")
    before = in_files.generations()
    for name in ("g1", "g2"):
        (folder / f"{name}.sqlite-wal").symlink_to("/dev/null")  # it can be opened, and nothing can be synced to it
    with pytest.raises(StoreAway, match=r"g[12].sqlite: .*nothing was changed"):
        say(in_files)
    assert in_files.generations() == before
    for name in ("g1", "g2"):
        (folder / f"{name}.sqlite-wal").unlink()
    say(in_files)
    assert in_files.generations() != before


def test_the_pointer_moves_while_somebody_reads_and_somebody_writes(folder: Path) -> None:
    read_models = SqliteReadModels(folder, lock_seconds=0.0)  # who waits for another is refused
    name = read_models.create(1, (PAGES,), "")
    with closing(read_models.open(name)) as generation, generation.snapshot():
        with generation.unit() as unit:
            unit.write(PAGES, [Page("/before", 1)])
        with generation.unit() as unit:
            unit.write(PAGES, [Page("/meanwhile", 1)])
            read_models.mark_ready(name)
            read_models.switch(name)
    assert states(read_models) == {name: "live"}
    assert pages(read_models, name) == {"/before": 1, "/meanwhile": 1}


# ── what a drop leaves ───────────────────────────────────────────────────────────────────────────────────────────────

_KILLED_AT = """
import os, sys
from pathlib import Path
from sidestream.adapters.sqlite_read_model import SqliteReadModels

def killed_at(event, arguments):
    if event == "os.remove" and Path(arguments[0]).name == sys.argv[2]:
        os.kill(os.getpid(), 9)

read_models = SqliteReadModels(Path(sys.argv[1]))
sys.addaudithook(killed_at)
read_models.drop("g1")
"""


def drop_killed_at(folder: Path, file: str) -> None:
    """Drop g1 in a process that is killed just before it removes this file."""
    done = subprocess.run([sys.executable, "-c", _KILLED_AT, str(folder), file], cwd=REPOSITORY, check=False, timeout=60)
    assert done.returncode == -9


def files_of(folder: Path, name: str) -> list[str]:
    return sorted(path.name for path in folder.glob(f"{name}.*"))


@pytest.fixture
def with_g1_open(web: Web, in_files: SqliteReadModels) -> Iterator[None]:
    """Generations g1 and g2, of which g2 is live; somebody has g1 open, so that its WAL lies beside it."""
    for _ in range(2):
        built(web, in_files)
    with closing(in_files.open("g1")) as generation, generation.unit() as unit:
        unit.write(PAGES, [Page("/last", 1)])
        yield


@pytest.mark.usefixtures("with_g1_open")
@pytest.mark.parametrize("file", ["g1.sqlite", "g1.sqlite-wal"])
def test_what_a_drop_that_was_killed_left_goes_with_the_next_verb(file: str, web: Web, in_files: SqliteReadModels, folder: Path) -> None:
    drop_killed_at(folder, file)
    assert states(in_files) == {"g2": "live"}
    assert file in files_of(folder, "g1")
    built(web, in_files)
    assert files_of(folder, "g1") == []
    assert pages(in_files, "g2") == pages(in_files, "g3") == web.counted


def test_files_of_others_and_of_generations_that_are_there_stay(web: Web, in_files: SqliteReadModels, folder: Path) -> None:
    for _ in range(2):
        built(web, in_files)
    drop(site_of(web, in_files), "g1")
    others = ("g1.sqlite.bak", "g1-sqlite", "g01.sqlite", "gone.sqlite", "my-g1.sqlite", "g1.sqlite-notes", "g99.sqlite")
    for name in ("g1.sqlite", *others):
        (folder / name).write_text("mine")
    with in_files.exclusively():
        left = {path.name for path in folder.iterdir()}
    assert {*others, "g2.sqlite", "beside.sqlite", "catalog.sqlite", "rebuild.lock"} <= left
    assert "g1.sqlite" not in left
    assert pages(in_files, "g2") == web.counted


class Pausing(tuple[Table[Any], ...]):
    """Tables that let a generation be made no further, once its file is there."""

    def __init__(self, _: object) -> None:
        self.asked = 0
        self.is_there, self.go_on = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[Table[Any]]:
        self.asked += 1
        if self.asked == 2:  # first for their shapes, then for the file
            self.is_there.set()
            assert self.go_on.wait(60)
        return super().__iter__()


def test_the_file_of_a_generation_that_is_just_being_made_stays(in_files: SqliteReadModels, folder: Path) -> None:
    tables = Pausing((PAGES,))
    making = threading.Thread(target=in_files.create, args=(1, tables, ""))
    making.start()
    try:
        assert tables.is_there.wait(60)
        assert (folder / "g1.sqlite").exists()
        with in_files.exclusively():
            pass
    finally:
        tables.go_on.set()
        making.join()
    assert pages(in_files, "g1") == {}
