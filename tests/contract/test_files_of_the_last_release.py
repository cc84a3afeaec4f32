"""Files that a release left on disk: they open and hold what they held, or they are refused and say what to do.

The files in tests/golden/files were made by the releases they are named after; the tests open copies.
"""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from sidestream.adapters import sqlite_inbox, sqlite_read_model
from sidestream.adapters.sqlite_inbox import SqliteInbox
from sidestream.adapters.sqlite_read_model import SqliteReadModels
from sidestream.applying.applied import BOOKKEEPING, CHECKPOINTS, COUNTS
from sidestream.applying.corrections import CORRECTIONS, Corrections, InForce
from sidestream.applying.dead_letters import parked_events, parked_streams, retry
from sidestream.applying.decoding import Rule
from sidestream.applying.projector import Projector
from sidestream.errors import ConfigurationError, SidestreamError, StoreAway, UnreadableGeneration
from sidestream.event import decode_event
from sidestream.logs.inbox import arrived
from sidestream.ports import Query
from tests.golden.making import ACCOUNTS, LANGUAGE, RECORDED, TOPIC, Account, Balances, log, wire

FILES = Path(__file__).parents[1] / "golden" / "files"
RELEASES = sorted(path for path in FILES.iterdir() if path.is_dir())
HELD = [
    Account("/curl x1", 4, 4 / 3, large=False, digest=b"\x04\x00", note=None),
    Account("account-a", 2**53 + 6, (2**53 + 6) / 3, large=True, digest=b"\x06\x00", note=f"after {2**53 + 1}"),
    Account("account-b", 40, 40 / 3, large=False, digest=b"(\x00", note=None),
]


@pytest.fixture(params=RELEASES, ids=lambda path: path.name)
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the files of a release."""
    copied: Path = shutil.copytree(request.param, tmp_path / "files")
    return copied


def test_there_are_files_of_a_release() -> None:
    assert RELEASES


# ── generations ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_generation_holds_the_rows_that_it_held(files: Path) -> None:
    read_models = SqliteReadModels(files / "generations")
    (info,) = read_models.generations()
    assert (info.name, info.version, info.state, info.live) == ("g1", 1, "ready", True)
    with closing(read_models.open("g1")) as generation, generation.snapshot() as reader:
        assert list(reader.select(ACCOUNTS, Query(order_by=("subject",)))) == HELD


def test_a_generation_knows_what_it_has_applied_and_parked(files: Path) -> None:
    with closing(SqliteReadModels(files / "generations").open("g1")) as generation:
        with generation.snapshot() as reader:
            assert [(row.topic, row.position) for row in reader.select(CHECKPOINTS, Query())] == [(TOPIC, "7")]
            assert [(row.producer, row.intervals) for row in reader.select(COUNTS, Query())] == [("writer.1", "1-6")]
        assert [(event.event_id, event.reason) for event in parked_events(generation)] == [
            ("e4", "rule-failed"),
            ("e5", "behind"),
            ("e6", "waiting"),
        ]
        assert [event.wire for event in parked_events(generation)] == list(RECORDED[3:6])
        assert [(stream.stream, stream.waiting_for) for stream in parked_streams(generation) if stream.waiting_for] == [("account-d", 1)]


def test_every_table_of_the_bookkeeping_has_the_columns_of_today(files: Path) -> None:
    with closing(SqliteReadModels(files / "generations").open("g1")) as generation, generation.snapshot() as reader:
        for table in BOOKKEEPING:
            reader.select(table, Query())


def test_a_generation_goes_on_where_it_was(files: Path) -> None:
    recorded = log()
    recorded.record(TOPIC, [RECORDED[1], wire(7, "account-b", 2, 2), wire(8, "account-d", 1, 1)])
    with closing(SqliteReadModels(files / "generations").open("g1")) as generation:
        outcome = Projector(Rule(Balances(), LANGUAGE), recorded, generation, lambda: "now").catch_up()
        with generation.snapshot() as reader:
            balances = {row.subject: row.balance for row in reader.select(ACCOUNTS, Query())}
    assert (outcome.duplicates, outcome.applied, outcome.released) == (1, 3, 1)
    assert (balances["account-b"], balances["account-d"]) == (42, 4)


def test_decisions_of_operators_are_met(files: Path) -> None:
    read_models = SqliteReadModels(files / "generations")
    with closing(Corrections(read_models.beside((CORRECTIONS,)))) as corrections, closing(read_models.open("g1")) as generation:
        (decision,) = corrections.after(0)
        assert (decision.kind, decision.origin, decision.name, decision.who) == ("skip", "/services/bank", "e4", "ann")
        done = retry(Rule(Balances(), LANGUAGE, InForce(corrections)), generation, lambda: "now", stream="account-c")
        with generation.snapshot() as reader:
            (paid,) = reader.read(ACCOUNTS, [("account-c",)]).values()
    assert (done.freed, paid.balance) == (1, 8)


@pytest.mark.parametrize(("file", "said"), [("catalog.sqlite", "Use the release that wrote it"), ("g1.sqlite", "Rebuild the projection")])
def test_a_newer_generation_is_refused_with_the_remedy(files: Path, file: str, said: str) -> None:
    newer = set_version(files / "generations" / file, 1000)
    refused_and_left_alone(lambda: SqliteReadModels(files / "generations").open("g1"), newer, f"found version 1000. {said}")


@pytest.mark.parametrize("file", ["catalog.sqlite", "g1.sqlite"])
@pytest.mark.parametrize("version", [0, 1])
def test_somebody_elses_database_in_the_place_of_a_generation_is_refused(files: Path, file: str, version: int) -> None:
    foreign = set_version(somebody_elses(files / "generations" / file), version)
    refused_and_left_alone(lambda: SqliteReadModels(files / "generations").open("g1"), foreign, "of another program")


@pytest.mark.parametrize(("file", "kind"), [("catalog.sqlite", StoreAway), ("g1.sqlite", UnreadableGeneration)])
def test_what_is_no_database_in_the_place_of_a_generation_is_refused(files: Path, file: str, kind: type[SidestreamError]) -> None:
    notes = files / "generations" / file
    notes.write_text("these are my notes, not a generation" * 100)
    refused_and_left_alone(lambda: SqliteReadModels(files / "generations").open("g1"), notes, "file is not a database", kind)


# ── inbox logs ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_inbox_holds_the_bytes_that_it_held(files: Path) -> None:
    with closing(SqliteInbox(files / "inbox.sqlite")) as inbox:
        entries = inbox.read(TOPIC, None, 100)
        extent = inbox.extent(TOPIC)
    assert [entry.data for entry in entries] == list(RECORDED[1:])
    assert [entry.position for entry in entries] == ["2", "3", "4", "5", "6", "7"]
    assert {entry.recorded_ms for entry in entries} == {1_795_262_400_000}
    assert (extent.first, extent.last, extent.trimmed_to, extent.length) == ("2", "7", "1", 6)
    assert extent.identity


def test_an_inbox_knows_what_it_has_and_goes_on(files: Path) -> None:
    with closing(SqliteInbox(files / "inbox.sqlite")) as inbox:
        assert inbox.append(TOPIC, arrived([RECORDED[6], wire(7, "account-b", 2, 2)])) == 1
        (newest,) = inbox.read(TOPIC, "8", 100)
    assert decode_event(newest.data).id == "e7"


def test_a_newer_inbox_is_refused_with_the_remedy(files: Path) -> None:
    newer = set_version(files / "inbox.sqlite", sqlite_inbox.SCHEMA_VERSION + 1)
    refused_and_left_alone(lambda: SqliteInbox(newer), newer, "Start the version of Sidestream that wrote it", ConfigurationError)


@pytest.mark.parametrize("version", [0, 1])
def test_somebody_elses_database_in_the_place_of_an_inbox_is_refused(files: Path, version: int) -> None:
    foreign = set_version(somebody_elses(files / "inbox.sqlite"), version)
    refused_and_left_alone(lambda: SqliteInbox(foreign), foreign, "of another program", ConfigurationError)


# ── what they share ──────────────────────────────────────────────────────────────────────────────────────────────────


def set_version(path: Path, version: int) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def somebody_elses(path: Path) -> Path:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
        connection.execute("INSERT INTO theirs VALUES ('kept')")
        connection.commit()
    return path


def refused_and_left_alone(open_it: Callable[[], object], path: Path, said: str, error: type[SidestreamError] = SidestreamError) -> None:
    before = path.read_bytes()
    with pytest.raises(error, match=said):
        open_it()
    assert path.read_bytes() == before


def test_the_marks_of_the_files_are_those_that_releases_wrote() -> None:
    assert (sqlite_read_model.APPLICATION_ID, sqlite_inbox.APPLICATION_ID) == (0x53445352, 0x53444958)
