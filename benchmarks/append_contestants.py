"""How fast Sidestream's event stores append; one measurement in a process of its own.

    python -m benchmarks.append_contestants DATABASE WRITERS EVENTS_AN_APPEND APPENDS

DATABASE is a path for SQLite or a postgresql:// address. Appends streams whose events were made before the clock began, each
with the belief that there is no such stream; prints one JSON line. The same work as `append_peer.py`.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from sidestream.event import NewEvent
from sidestream.identifiers import new_id
from sidestream.ports import NO_STREAM, Append, ServiceStore

_NOTE: Final = "x" * 60


def main() -> None:
    database, (writers, events, appends) = sys.argv[1], map(int, sys.argv[2:])
    store = _store(database)
    store.append([_append(1)])
    shares = [[_append(events) for _ in range(appends // writers)] for _ in range(writers)]
    seconds, cpu_seconds = _timed(lambda share: [store.append([append]) for append in share], shares)
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
