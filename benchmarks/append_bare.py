"""What an append cannot be quicker than: one writer, one table, one row an event, nothing encoded, looked for or refused.

    python -m benchmarks.append_bare DATABASE EVENTS_AN_APPEND APPENDS

DATABASE is a path for SQLite or a postgresql:// address. As durable as the contestants of `benchmarks.append`; prints one JSON line.
"""

import json
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg

_WIRE: Final = b"x" * 420
"""As long as an event of the contestants on the wire."""
_TABLE: Final = "CREATE TABLE events (position INTEGER PRIMARY KEY, wire {} NOT NULL)"


def main() -> None:
    database, (events, appends) = sys.argv[1], map(int, sys.argv[2:])
    store = (_on_postgres if database.startswith("postgresql://") else _on_sqlite)(database)
    rows = [[(append * events + event, _WIRE) for event in range(events)] for append in range(appends)]
    at, cpu_at = time.perf_counter(), time.process_time()
    for some in rows:
        store(some)
    seconds, cpu_seconds = time.perf_counter() - at, time.process_time() - cpu_at
    print(json.dumps({"events": events * appends, "seconds": seconds, "cpu_seconds": cpu_seconds}))


def _on_sqlite(path: str) -> Callable[[Sequence[Any]], None]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(_TABLE.format("BLOB"))

    def store(rows: Sequence[Any]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO events VALUES (?, ?)", rows)
        connection.execute("COMMIT")

    return store


def _on_postgres(url: str) -> Callable[[Sequence[Any]], None]:
    connection = psycopg.connect(url, autocommit=True)
    connection.execute(_TABLE.format("bytea").encode())

    def store(rows: Sequence[Any]) -> None:
        with connection.transaction(), connection.cursor().copy("COPY events FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    def store_one(rows: Sequence[Any]) -> None:
        connection.execute("INSERT INTO events VALUES (%b, %b)", rows[0])

    return lambda rows: store_one(rows) if len(rows) == 1 else store(rows)


if __name__ == "__main__":
    main()
