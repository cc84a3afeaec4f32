"""How fast Sidestream's event stores append; one measurement in a process of its own.

    python -m benchmarks.append_contestants DATABASE ready|command WRITERS EVENTS_AN_APPEND APPENDS

DATABASE is a path for SQLite or a postgresql:// address. `ready` appends streams whose events were made before the clock began,
each with the belief that there is no such stream; `command` carries out one command on each new account, so that the clock
stands over the decision, its events and the append. Prints one JSON line. The same work as `append_peer.py`.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from sidestream.aggregate import Aggregate
from sidestream.event import NewEvent
from sidestream.identifiers import new_id, now
from sidestream.ports import NO_STREAM, Append, ServiceStore
from sidestream.registry import Category, EventType, Registry
from sidestream.writing.repository import Repository

_NOTE: Final = "x" * 60


class Paid(msgspec.Struct, frozen=True):
    """What an account is about."""

    amount: int
    note: str


class Account(msgspec.Struct, frozen=True):
    """What its events amount to."""

    note: str = ""


class Pay(msgspec.Struct, frozen=True):
    """One command, as many events as amounts."""

    amounts: tuple[int, ...]


def decide(command: Pay, account: Account) -> Sequence[Paid]:
    """Return a payment for each amount."""
    return [Paid(amount, _NOTE) for amount in command.amounts]


def evolve(account: Account, event: Paid) -> Account:
    """Return the account after one more payment."""
    return Account(event.note)


_CATEGORY: Final = Category("account", "accounts", "/services/bank", (EventType("account.paid", Paid),))


def main() -> None:
    database, what, (writers, events, appends) = sys.argv[1], sys.argv[2], map(int, sys.argv[3:])
    store = _store(database)
    store.append([_append(1)])
    new, carry_out = {"ready": _appending, "command": _commanding}[what](store)
    shares = [[new(events) for _ in range(appends // writers)] for _ in range(writers)]
    seconds, cpu_seconds = _timed(lambda share: [carry_out(each) for each in share], shares)
    expected, found = 1 + events * sum(map(len, shares)), store.count_topic("accounts")
    store.close()
    if found != expected:
        raise SystemExit(f"expected {expected} events, found {found}")
    print(json.dumps({"events": expected - 1, "seconds": seconds, "cpu_seconds": cpu_seconds}))


def _store(database: str) -> ServiceStore:
    if database.startswith("postgresql://"):
        from sidestream.adapters.postgres_events import PostgresEventStore

        return PostgresEventStore(database, "bench")
    from sidestream.adapters.sqlite_events import SqliteEventStore

    return SqliteEventStore(Path(database))


def _appending(store: ServiceStore) -> tuple[Callable[[int], Any], Callable[[Any], object]]:
    return _append, lambda append: store.append([append])


def _commanding(store: ServiceStore) -> tuple[Callable[[int], Any], Callable[[Any], object]]:
    aggregate = Aggregate("account", Account(), decide, evolve)
    accounts = Repository(aggregate, store, Registry([_CATEGORY]), ring=lambda: None, new_id=new_id, now=now)
    return lambda events: Pay(tuple(range(events))), lambda command: accounts.execute(new_id(), command)


def _append(events: int) -> Append:
    stream = f"account-{new_id()}"
    made = (
        NewEvent(
            topic="accounts",
            id=new_id(),
            source="/services/bank",
            type="account.paid",
            data=b'{"amount":%d,"note":"%s"}' % (amount, _NOTE.encode()),
            subject=stream,
            time="2026-11-21T10:00:00Z",
        )
        for amount in range(events)
    )
    return Append(stream, tuple(made), NO_STREAM)


def _timed(work: Callable[[Sequence[Append]], object], shares: Sequence[Sequence[Append]]) -> tuple[float, float]:
    begin = threading.Barrier(len(shares) + 1)

    def together(share: Sequence[Append]) -> None:
        begin.wait()
        work(share)

    threads = [threading.Thread(target=together, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    begin.wait()
    at, cpu_at = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.join()
    return time.perf_counter() - at, time.process_time() - cpu_at


if __name__ == "__main__":
    main()
