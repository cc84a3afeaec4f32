"""Bad days with the read models in PostgreSQL: the database goes, freezes and refuses, replicas freeze in the middle of a transaction.

One fresh seed, short, in a run of all tests; `SIDESTREAM_FAULT_SEEDS` as for the other days.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
import redis

from sidestream.launcher.parts import Part
from tests.faults.causing import FAULTS, kill_a_projection, kill_two_at_once, pause_a_projection_and_its_sidecar
from tests.faults.day import Day, Fault, a_day
from tests.faults.deceiving import DECEITS, an_event_the_database_refuses
from tests.faults.load import Load
from tests.faults.rebuilding import REBUILDS, a_rebuild_killed_half_way, a_rebuild_under_full_load
from tests.faults.seeds import LONG
from tests.parts import replica_of
from tests.postgres import Postgres
from tests.waiting import until

FROZEN_SECONDS: Final = 5
"""How long a transaction may stand still here; 60 s where nothing is said."""
REPLICA: Final = "balances-2"


@pytest.mark.timeout(900)
async def test_a_bad_day_on_postgres_is_exact(seed: int, tmp_path: Path, postgres: Postgres, database: str) -> None:
    async with a_day(seed, tmp_path / "system", f"{database}&options=-c%20idle_in_transaction_session_timeout%3D{FROZEN_SECONDS}s") as day:
        await day.live(_faults(postgres))


def _faults(postgres: Postgres) -> Sequence[Fault]:
    async def crash_the_database(day: Day, load: Load) -> None:
        await load.reached(day.dice.random() * 0.8)
        await asyncio.to_thread(postgres.crash)
        await asyncio.sleep(2.0 if LONG else 0.5)  # how long the fault lasts
        await asyncio.to_thread(postgres.start)

    async def freeze_the_database(day: Day, load: Load) -> None:
        """In a long day longer than the 10 s after which the sidecar takes back a delivery."""
        await load.reached(day.dice.random() * 0.8)
        await asyncio.to_thread(postgres.pause)
        try:
            await asyncio.sleep(12.0 if LONG else 1.5)  # how long the fault lasts
        finally:  # a run that is interrupted must be able to end it
            postgres.resume()

    own: tuple[Fault, ...] = (crash_the_database, freeze_the_database, freeze_a_replica_in_its_transaction)
    if LONG:
        return (*own, *FAULTS, *DECEITS, *REBUILDS)
    more: tuple[Fault, ...] = (kill_a_projection, kill_two_at_once, pause_a_projection_and_its_sidecar)
    return (*own, *more, an_event_the_database_refuses, a_rebuild_under_full_load, a_rebuild_killed_half_way)


async def freeze_a_replica_in_its_transaction(day: Day, load: Load) -> None:
    """It holds the generation's row and sleeps: the database ends its transaction, the other replica goes on, and it wakes to nothing."""
    await load.reached(day.dice.random() * 0.5)
    quick = {"PGAPPNAME": REPLICA, "SIDESTREAM_SWEEP_SECONDS": "0.01"}
    async with replica_of(day.system, "balances", quick) as second, _frozen_in_its_transaction(day, second):
        await load.reached(1.0)
        await day.be_exact()  # at the first one's door, while the second sleeps
        second.resume()
        await day.be_exact({"balances": second.url})


@asynccontextmanager
async def _frozen_in_its_transaction(day: Day, replica: Part) -> AsyncIterator[None]:
    """Freeze a replica again and again, until it holds the lock of its generation; repeats on both topics keep it busy."""

    async def holds_it() -> bool:
        await asyncio.to_thread(_repeat, day)
        replica.pause()
        if await asyncio.to_thread(_holds_the_lock, day.database):
            return True
        replica.resume()
        return False

    day.system["balances"].app.pause()  # somebody must be faster; it is the other one until then
    try:
        await until(holds_it, 30, lambda: f"{REPLICA} frozen in its transaction")
    finally:
        day.system["balances"].app.resume()
    yield


def _repeat(day: Day) -> None:
    """Add copies of the last entries, as a sidecar that repeats its own writes would."""
    with redis.Redis(port=day.system.broker.port) as broker:
        for topic in ("votes", "accounts"):
            entries: Any = broker.xrevrange(topic, count=20)
            for _, entry in entries:
                broker.xadd(topic, entry)


def _holds_the_lock(database: str) -> bool:
    asked = (
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE application_name = %s AND state = 'idle in transaction' "
        "AND mode = 'RowShareLock' AND relation::regclass::text LIKE 'balances_g%%.generation_lock'"
    )
    with psycopg.connect(database, autocommit=True) as connection:
        (found,) = connection.execute(asked, (REPLICA,)).fetchone() or (0,)
    return bool(found)
