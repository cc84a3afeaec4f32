# mypy: ignore-errors
# The peer is not installed where this project is checked.
"""How fast the peer `eventsourcing` saves; run by the interpreter of the peers (`benchmarks.peers`), knows nothing of Sidestream.

    python append_peer.py DATABASE ready|command WRITERS EVENTS_A_SAVE SAVES

DATABASE is a path for SQLite or a postgresql:// address. `ready` saves aggregates that were made before the clock began, through
`Application.save`, each with so many events; `command` makes them and saves them under the clock. Prints one JSON line.
"""

import json
import sys
import threading
import time
from urllib.parse import parse_qs, urlsplit

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

_NOTE = "x" * 60


class Account(Aggregate):
    def __init__(self, note: str) -> None:
        self.note = note

    @event("Paid")
    def pay(self, amount: int, note: str) -> None:
        self.note = note


def main() -> None:
    database, what, (writers, events, saves) = sys.argv[1], sys.argv[2], map(int, sys.argv[3:])
    application = Application(env=_environment(database))
    application.save(_account(1))
    shares = [[_account(events) if what == "ready" else events for _ in range(saves // writers)] for _ in range(writers)]
    carry_out = application.save if what == "ready" else lambda events: application.save(_account(events))
    seconds, cpu_seconds = _timed(lambda share: [carry_out(each) for each in share], shares)
    expected, found = 1 + events * sum(map(len, shares)), application.recorder.max_notification_id()
    if found != expected:
        raise SystemExit(f"expected {expected} events, found {found}")
    print(json.dumps({"events": expected - 1, "seconds": seconds, "cpu_seconds": cpu_seconds}))


def _account(events: int) -> Account:
    account = Account(_NOTE)
    for amount in range(events - 1):
        account.pay(amount, _NOTE)
    return account


def _timed(work, shares):
    begin = threading.Barrier(len(shares) + 1)

    def together(share):
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


def _environment(database: str) -> dict[str, str]:
    if not database.startswith("postgresql://"):
        return {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": database, "SQLITE_LOCK_TIMEOUT": "60"}
    found = urlsplit(database)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": found.path[1:],
        "POSTGRES_HOST": parse_qs(found.query).get("host", [found.hostname or ""])[0],
        "POSTGRES_PORT": str(found.port or 5432),
        "POSTGRES_USER": found.username or "",
        "POSTGRES_PASSWORD": found.password or "none",
        "POSTGRES_MAX_OVERFLOW": "90",
        "POSTGRES_POOL_TIMEOUT": "60",
    }


if __name__ == "__main__":
    main()
