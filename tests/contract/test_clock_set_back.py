"""A machine's clock was ahead and is set right: what was held until a time that is far away now stands in nobody's way."""

from collections.abc import Callable

import psycopg
import pytest

from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.adapters.sqlite_events import SqliteEventStore
from sidestream.errors import CommandRunning, ConfigurationError
from sidestream.ports import ServiceStore
from tests.contract.stores import open_store

REQUEST = b"r" * 16
NOW_MS, HOUR_MS = 1_763_683_200_000, 3_600_000

Back = Callable[[], None]


def _on_a_clock(open_with: Callable[[Callable[[], int]], ServiceStore]) -> tuple[ServiceStore, Back]:
    now = [NOW_MS]
    return open_with(lambda: now[0]), lambda: now.__setitem__(0, NOW_MS - HOUR_MS)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store_and_back(request: pytest.FixtureRequest) -> tuple[ServiceStore, Back]:
    if request.param == "memory":
        return _on_a_clock(lambda clock: MemoryEventStore(clock_ms=clock))
    if request.param == "sqlite":
        path = request.getfixturevalue("tmp_path") / "store.sqlite"
        return _on_a_clock(lambda clock: SqliteEventStore(path, clock_ms=clock))
    database: str = request.getfixturevalue("postgres_database")

    def back() -> None:  # the clock is the server's: what was taken before lies an hour ahead of it
        with psycopg.connect(database, autocommit=True) as connection:
            (schema,) = connection.execute("SELECT schemaname FROM pg_tables WHERE tablename = 'leases'").fetchone() or ("",)
            for table in ("leases", "answers"):
                connection.execute(f'UPDATE "{schema}".{table} SET until_ms = until_ms + {HOUR_MS}'.encode())

    return open_store("postgres", request), back


def test_a_lease_of_a_time_to_come_is_taken_over(store_and_back: tuple[ServiceStore, Back]) -> None:
    store, clock_set_back = store_and_back
    assert store.lease("relay", "a", 60)
    assert not store.lease("relay", "b", 60)
    clock_set_back()
    assert store.lease("relay", "b", 60)
    assert not store.lease("relay", "a", 60)
    store.close()


def test_a_claim_of_a_time_to_come_is_taken_over(store_and_back: tuple[ServiceStore, Back]) -> None:
    store, clock_set_back = store_and_back
    store.claim("orders 7", REQUEST, 60)
    clock_set_back()
    assert store.claim("orders 7", REQUEST, 60) is None
    with pytest.raises(CommandRunning):
        store.claim("orders 7", REQUEST, 60)
    store.close()


def test_nobody_may_hold_anything_for_longer_than_that(store_and_back: tuple[ServiceStore, Back]) -> None:
    store, _ = store_and_back
    with pytest.raises(ConfigurationError, match="from 0 to 60, found 61"):
        store.lease("relay", "a", 61)
    with pytest.raises(ConfigurationError, match="from 0 to 60, found 61"):
        store.claim("orders 7", REQUEST, 61)
    store.close()
