"""Files of an event store that other versions of Sidestream wrote: older ones are migrated in place, newer ones refused."""

import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sidestream.adapters.sqlite_events import SCHEMA_VERSION, SqliteEventStore
from sidestream.errors import ConfigurationError, StoreAway
from sidestream.event import decode_event
from sidestream.ports import Answer, Append, Snapshot
from tests.contract.stores import event, facts

GOLDEN = Path(__file__).parents[1] / "golden/stores"


def fact() -> Append:
    return facts(event("x"))


def golden(tmp_path: Path, name: str = "version-1.sqlite") -> Path:
    return Path(shutil.copy(GOLDEN / name, tmp_path / "store.sqlite"))


def schema_of(path: Path) -> tuple[int, list[tuple[str, str]]]:
    connection = sqlite3.connect(path)
    tables = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").fetchall()
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.close()
    return version, tables


def test_a_file_of_version_1_is_migrated_and_keeps_what_it_holds(tmp_path: Path) -> None:
    store = SqliteEventStore(golden(tmp_path))
    stored = store.follow(0)
    assert [(e.event_id, e.topic, e.sequence, e.stream, e.version, e.ordered) for e in stored] == [
        ("e1", "orders", 1, "order-1", 1, True),
        ("e2", "orders", 2, "order-1", 2, True),
        ("e3", "orders", 3, "order-2", 1, True),
        ("e4", "votes", 1, None, None, False),
        ("e5", "orders", 4, "order-1", 3, True),
    ]
    assert [e.recorded_ms for e in stored] == [1_700_000_000_000 + ms for ms in (0, 0, 1000, 1000, 2000)]
    assert {decode_event(e.wire).producer for e in stored} == {store.producer}
    assert (store.backlog(), store.unpublished("orders")) == ({"orders": 1, "votes": 1}, stored[4:])
    store.close()


def test_a_migrated_file_does_what_a_new_one_does(tmp_path: Path) -> None:
    store = SqliteEventStore(golden(tmp_path))
    answer = Answer("orders 7", b"r" * 16, b"201")
    assert store.claim(answer.key, answer.request, 60) is None
    assert store.append([fact()], answer)[0].sequence == 5
    assert (store.claim(answer.key, answer.request, 60), store.lease("relay", "a", 60)) == (answer, True)
    store.keep_snapshot(Snapshot("order-1", 3, "order.1", b"{}"))
    assert [e.event_id for e in store.read_topic("orders", 2)][:3] == ["e2", "e3", "e5"]
    store.close()
    SqliteEventStore(tmp_path / "new.sqlite").close()
    assert schema_of(tmp_path / "store.sqlite") == schema_of(tmp_path / "new.sqlite")


def test_a_migration_that_does_not_come_to_its_end_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = golden(tmp_path)
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE leases (somebody)")  # the last table of version 2: the migration fails there
    connection.commit()
    connection.close()
    before = schema_of(path)
    with pytest.raises(StoreAway, match="leases"):
        SqliteEventStore(path)
    assert schema_of(path) == before


def test_of_programs_that_find_an_old_file_at_once_one_migrates_it(tmp_path: Path) -> None:
    path = golden(tmp_path)
    begin = threading.Barrier(8)

    def opened(_: int) -> int:
        begin.wait()
        store = SqliteEventStore(path)
        (stored,) = store.append([fact()])
        store.close()
        return stored.position

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(opened, range(8))) == list(range(6, 14))


def test_a_newer_file_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    SqliteEventStore(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(ConfigurationError, match=rf"version {SCHEMA_VERSION} or older, found {SCHEMA_VERSION + 1}\. Start the version"):
        SqliteEventStore(path)


@pytest.mark.parametrize("version", [0, -1])
def test_a_version_that_never_was_is_refused(tmp_path: Path, version: int) -> None:
    path = tmp_path / "store.sqlite"
    SqliteEventStore(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    with pytest.raises(ConfigurationError, match=f"found {version}"):
        SqliteEventStore(path)
