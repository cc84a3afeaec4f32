# mypy: ignore-errors
# The peer is not installed where this project is checked.
"""How fast the peer `eventsourcing` projects; run by the interpreter of the peers (`benchmarks.peers`), knows nothing of Sidestream.

    python rebuild_peer.py DATABASE PAYMENTS

DATABASE is a path for SQLite or a postgresql:// address; PAYMENTS a file of accounts and amounts, in the order of the accounts. An
account is opened with its first payment. Writes the events into a store of its own, which is not measured,
then projects them, notification by notification, into a table of balances, as its documentation does: the row and the tracking
in one transaction, event by event. Prints one JSON line.
"""

import json
import sys
import time
from itertools import groupby
from pathlib import Path

from append_peer import _environment
from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import InfrastructureFactory, Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection
from eventsourcing.sqlite import SQLiteTrackingRecorder
from eventsourcing.utils import Environment
from psycopg.sql import SQL

_PAGE = 1000
_TABLE = "CREATE TABLE IF NOT EXISTS peer_balance (account text PRIMARY KEY, balance bigint NOT NULL, payments bigint NOT NULL)"
_UPSERT = (
    "INSERT INTO peer_balance AS old VALUES ({0}, {0}, 1) ON CONFLICT (account) DO UPDATE SET "
    "balance = old.balance + excluded.balance, payments = old.payments + 1"
)


class Account(Aggregate):
    @event("Opened")
    def __init__(self, amount: int) -> None:
        self.balance = amount

    @event("Paid")
    def pay(self, amount: int) -> None:
        self.balance += amount


class Bank(Application):
    """Where the accounts are saved."""


class SqliteBalances(SQLiteTrackingRecorder):
    def construct_create_table_statements(self) -> list[str]:
        return [*super().construct_create_table_statements(), _TABLE]

    def pay(self, account, amount, tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(_UPSERT.format("?"), (account, amount))


class PostgresBalances(PostgresTrackingRecorder):
    def __init__(self, datastore, **options) -> None:
        super().__init__(datastore, **options)
        self.sql_create_statements.append(SQL(_TABLE).format())

    def pay(self, account, amount, tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(_UPSERT.format("%s"), (account, amount), prepare=True)


class Balances(Projection):
    name = "balances"

    @singledispatchmethod
    def process_event(self, domain_event, tracking) -> None:
        self.view.pay(str(domain_event.originator_id), domain_event.amount, tracking)


def main() -> None:
    database, payments = sys.argv[1], _payments(sys.argv[2])
    environment = _environment(database)
    bank = Bank(env=environment)
    for _, paid in groupby(payments, key=lambda each: each[0]):
        first, *rest = (amount for _, amount in paid)
        account = Account(first)
        for amount in rest:
            account.pay(amount)
        bank.save(account)
    last = bank.recorder.max_notification_id()
    view = PostgresBalances if database.startswith("postgresql://") else SqliteBalances
    projection = Balances(InfrastructureFactory.construct(env=Environment("Balances", environment)).tracking_recorder(view))
    begin, cpu = time.perf_counter(), time.process_time()
    _project(bank, projection)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    if last != len(payments) or projection.view.max_tracking_id(bank.name) != last:
        raise SystemExit(f"expected {len(payments)} events projected, found {projection.view.max_tracking_id(bank.name)} of {last}")
    print(json.dumps({"rate": last / seconds, "per_cpu_second": last / cpu, "grown_mb": 0.0}))


def _payments(file: str) -> list[tuple[str, int]]:
    with Path(file).open() as lines:
        return [(account, int(amount)) for account, amount in map(str.split, lines)]


def _project(bank, projection) -> None:
    """As its followers do, which it has for both databases; its subscriptions are for PostgreSQL alone."""
    start = 1
    while notifications := bank.recorder.select_notifications(start, _PAGE):
        for notification in notifications:
            projection.process_event(bank.mapper.to_domain_event(notification), Tracking(bank.name, notification.id))
        start = notifications[-1].id + 1


if __name__ == "__main__":
    main()
