# mypy: ignore-errors
# The peer is not installed where this project is checked.
"""How fast the peer `eventsource-py` projects; run by the interpreter of the peers (`benchmarks.peers`), knows nothing of Sidestream.

    python rebuild_peer_eventsource.py DATABASE PAYMENTS

DATABASE is a path for SQLite or a postgresql:// address; PAYMENTS a file of accounts and amounts, in the order of the accounts.
Appends the events to a store of its own, which is not measured, then reads its feed and hands each event to a projection into a
table of balances, as its documentation does: the row in a transaction, the checkpoint in the next. Prints one JSON line.
"""

import asyncio
import json
import sys
import time
from itertools import groupby
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

from eventsource import DomainEvent, ExpectedVersion, StreamId, handles, register_event
from eventsource.adapters.postgresql import PostgreSQLEventStore
from eventsource.adapters.sql import DatabaseProjection, SQLCheckpointRepository
from eventsource.adapters.sqlite import SQLiteEventStore
from eventsource.application.projections import ProjectionCoordinator, ProjectionRegistry
from eventsource.migrations import get_all_schemas
from sqlalchemy import event as engine_event
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

_TABLE = "CREATE TABLE peer_balance (account text PRIMARY KEY, balance bigint NOT NULL, payments bigint NOT NULL)"
_UPSERT = text(
    "INSERT INTO peer_balance AS old VALUES (:account, :amount, 1) ON CONFLICT (account) DO UPDATE SET "
    "balance = old.balance + excluded.balance, payments = old.payments + 1"
)
_TOTAL = text("SELECT sum(balance), sum(payments) FROM peer_balance")


@register_event
class Paid(DomainEvent):
    event_type: str = "Paid"
    aggregate_type: str = "Account"
    amount: int


class Balances(DatabaseProjection):
    """What was paid into each account."""

    @handles(Paid)
    async def _paid(self, conn, paid: Paid) -> None:
        await conn.execute(_UPSERT, {"account": str(paid.aggregate_id), "amount": paid.amount})

    async def _truncate_read_models(self) -> None:
        """Nothing: the table is new."""


async def main() -> None:
    database, payments = sys.argv[1], _payments(sys.argv[2])
    engine = _engine(database)
    store = PostgreSQLEventStore(engine) if database.startswith("postgresql://") else SQLiteEventStore(database)
    await _set_up(engine, database)
    for account, events in groupby(payments, key=lambda each: each[0]):
        stream = StreamId(uuid5(NAMESPACE_OID, account), "Account")
        paid = [Paid(aggregate_id=stream.aggregate_id, aggregate_version=at, amount=one) for at, (_, one) in enumerate(events, start=1)]
        await store.append(stream, paid, ExpectedVersion.no_stream())
    projection = Balances(async_sessionmaker(engine), checkpoint_repo=SQLCheckpointRepository(engine))
    begin, cpu = time.perf_counter(), time.process_time()
    await ProjectionCoordinator(ProjectionRegistry()).rebuild_projection(projection, [each.event async for each in store.read_all()])
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    async with engine.connect() as connection:
        found = tuple((await connection.execute(_TOTAL)).one())
    expected = (sum(amount for _, amount in payments), len(payments))
    if found != expected:
        raise SystemExit(f"expected {expected} paid, found {found}")
    await store.close()
    await engine.dispose()
    print(json.dumps({"rate": len(payments) / seconds, "per_cpu_second": len(payments) / cpu, "grown_mb": 0.0}))


def _payments(file: str) -> list[tuple[str, int]]:
    with Path(file).open() as lines:
        return [(account, int(amount)) for account, amount in map(str.split, lines)]


def _engine(database: str):
    if database.startswith("postgresql://"):
        address, _, query = database.removeprefix("postgresql://").partition("?")
        return create_async_engine(f"postgresql+asyncpg://{address}?{query}")
    engine = create_async_engine(f"sqlite+aiosqlite:///{database}")

    @engine_event.listens_for(engine.sync_engine, "connect")
    def _as_everybody(connection, _) -> None:
        connection.execute("PRAGMA synchronous = NORMAL")  # WAL is the store's own setting

    return engine


async def _set_up(engine, database: str) -> None:
    """The schema that the library ships, and the table of the projection."""
    if not database.startswith("postgresql://"):
        async with engine.begin() as connection:
            await connection.execute(text("PRAGMA journal_mode = WAL"))
            raw = await connection.get_raw_connection()
            await raw.driver_connection.executescript(get_all_schemas("sqlite"))
            await connection.execute(text(_TABLE))
        return
    async with engine.connect() as connection:
        raw = await connection.get_raw_connection()
        schemas = get_all_schemas().replace('CREATE EXTENSION IF NOT EXISTS "uuid-ossp";', "")  # nothing in it asks for that
        await raw.driver_connection.execute(schemas)
        await connection.execute(text(_TABLE))
        await connection.commit()


if __name__ == "__main__":
    asyncio.run(main())
