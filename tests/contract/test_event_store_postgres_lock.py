"""The one row that every append to a PostgreSQL store locks: whoever comes second goes on from what the first has committed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from sidestream.adapters.postgres_events import PostgresEventStore
from sidestream.ports import ServiceStore
from tests.contract.stores import event, facts, to
from tests.waiting import until

_WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture
def store(postgres_database: str) -> Iterator[ServiceStore]:
    with closing(PostgresEventStore(postgres_database, "store")) as made:
        made.append([facts(event())])
        yield made


def somebody_waits(url: str) -> bool:
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(_WAITING).fetchone()
    return found is not None and found[0] > 0


async def test_an_append_that_looks_waits_for_the_lock_and_goes_on_from_what_its_holder_commits(
    store: ServiceStore, postgres_database: str
) -> None:
    """The holder moves the position as an append does. Who looked before it had the lock would give the same place twice."""
    with psycopg.connect(postgres_database) as holder, ThreadPoolExecutor(1) as pool:
        holder.execute("UPDATE store_events.store SET position = position + 1")
        appending = pool.submit(store.append, [to("order-1", event("order-1"))])
        await until(lambda: somebody_waits(postgres_database), what=lambda: "an append that waits for the lock")
        holder.commit()
        (stored,) = appending.result()
    assert stored.position == 3


async def test_an_append_that_does_not_look_stores_nothing_beside_the_holder_of_the_lock(
    store: ServiceStore, postgres_database: str
) -> None:
    """A writer with a belief takes the short way; it waits as well, finds that its view is old, and goes the long way."""
    with psycopg.connect(postgres_database) as holder, ThreadPoolExecutor(1) as pool:
        store.append([to("order-1", event("order-1"), expected=0)])
        holder.execute("UPDATE store_events.store SET position = position + 1")
        appending = pool.submit(store.append, [to("order-1", event("order-1"), expected=1)])
        await until(lambda: somebody_waits(postgres_database), what=lambda: "an append that waits for the lock")
        holder.commit()
        (stored,) = appending.result()
    assert (stored.position, stored.version) == (4, 2)
