"""One measurement in a process of its own: `python -m benchmarks.contestants NAME PORT EVENTS FOLDER POSTGRES`.

Prints one JSON object: events per second, per second of this process's CPU, and by how many MB its peak memory grew.
What is set up before the first event is read is not measured.
"""

import json
import resource
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks.recorded import BALANCES, REGISTRY, TOPIC, Balances

Run = Callable[[], int]
"""Reads the events and returns how many."""

_PAGE: Final = 100


def main() -> None:
    name, port, events, folder, postgres = sys.argv[1:]
    run = _contestant(name, int(port), int(events), Path(tempfile.mkdtemp(dir=folder)), postgres)
    before, cpu, begin = _peak_mb(), time.process_time(), time.perf_counter()
    done = run()
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    print(json.dumps({"rate": done / seconds, "per_cpu_second": done / cpu, "grown_mb": _peak_mb() - before}))


def _peak_mb() -> float:
    """Return this program's own peak; what getrusage tells on Linux begins with the peak of the program that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _contestant(name: str, port: int, events: int, folder: Path, postgres: str) -> Run:
    who, _, store = name.partition(" ")
    if who == "server":
        return lambda: _bytes_only(port, events)
    if who == "hand":
        return lambda: _by_hand(
            port, events, {"memory": _to_memory, "sqlite": _to_sqlite, "postgres": _to_postgres}[store](folder, postgres)
        )
    return _sidestream(store, port, events, folder, postgres)


# ── the server alone ─────────────────────────────────────────────────────────────────────────────────────────────────


def _bytes_only(port: int, events: int) -> int:
    """Receive the events and look at none."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(events // 100_000 or 1):
            some = min(events, 100_000)
            connection.sendall(f"XRANGE {TOPIC} - + COUNT {some}\r\n".encode())
            _receive(connection, some)
    return max(events // 100_000 * 100_000, min(events, 100_000))


def _receive(connection: socket.socket, events: int) -> None:
    """Every entry ends with the field `metadata`, `null`; count nothing else."""
    buffer, ends, tail = bytearray(1 << 20), 0, b""
    while ends < events:
        size = connection.recv_into(buffer)
        found = tail + buffer[:size]
        ends += found.count(b"\r\nnull\r\n") - tail.count(b"\r\nnull\r\n")
        tail = bytes(found[-7:])


# ── the loop that everybody writes ───────────────────────────────────────────────────────────────────────────────────


def _by_hand(port: int, events: int, apply: Callable[[dict[str, Any]], None]) -> int:
    import redis

    client, done, start = redis.Redis(port=port), 0, "-"
    while done < events:
        page: Any = client.xrange(TOPIC, start, "+", _PAGE)
        for _, fields in page:
            apply(json.loads(fields[b"data"]))
        done += len(page)
        start = f"({page[-1][0].decode()}"
    return done


def _to_memory(folder: Path, postgres: str) -> Callable[[dict[str, Any]], None]:
    rows: dict[str, tuple[int, int, str]] = {}

    def apply(event: dict[str, Any]) -> None:
        balance, payments, _ = rows.get(event["subject"], (0, 0, ""))
        rows[event["subject"]] = (balance + event["data"]["amount"], payments + 1, event["id"])

    return apply


_UPSERT: Final = (
    "INSERT INTO balance VALUES ({0}, {0}, 1, {0}) ON CONFLICT (account) DO UPDATE SET "
    "balance = balance.balance + excluded.balance, payments = balance.payments + 1, last = excluded.last"
)
_TABLE: Final = "CREATE TABLE balance (account text PRIMARY KEY, balance bigint NOT NULL, payments bigint NOT NULL, last text NOT NULL)"


def _to_sqlite(folder: Path, postgres: str) -> Callable[[dict[str, Any]], None]:
    database = sqlite3.connect(folder / "hand.sqlite", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    database.execute(_TABLE)
    statement = _UPSERT.format("?")
    return lambda event: void(database.execute(statement, (event["subject"], event["data"]["amount"], event["id"])))


def _to_postgres(folder: Path, postgres: str) -> Callable[[dict[str, Any]], None]:
    import psycopg

    database = psycopg.connect(postgres, autocommit=True)
    database.execute("DROP TABLE IF EXISTS balance")
    database.execute(_TABLE)
    statement = _UPSERT.format("%s").encode()
    return lambda event: void(database.execute(statement, (event["subject"], event["data"]["amount"], event["id"])))


def void(_: object) -> None:
    """Drop a result."""


# ── sidestream ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _sidestream(store: str, port: int, events: int, folder: Path, postgres: str) -> Run:
    from sidestream.adapters.redis_log import RedisAddress, RedisLog
    from sidestream.applying.applied import BOOKKEEPING
    from sidestream.applying.decoding import Rule
    from sidestream.applying.projector import BATCH_ENTRIES, FOLD_BYTES, Projector
    from sidestream.applying.remembered import KEEP_BYTES
    from sidestream.rebuilding.building import REBUILD_BATCH

    projection = Balances()
    read_models = _read_models(store.partition(" ")[0], folder, postgres)
    generation = read_models.open(read_models.create(1, (*BOOKKEEPING, *projection.tables), ""))
    with generation.snapshot() as reader:  # connects, which is not what is measured
        reader.count(BALANCES)
    batch, keep = (BATCH_ENTRIES, KEEP_BYTES) if "catching" in store else (REBUILD_BATCH, FOLD_BYTES)
    log = RedisLog(RedisAddress(host="127.0.0.1", port=port))
    projector = Projector(Rule(projection, REGISTRY), log, generation, lambda: "", batch, keep_bytes=keep)
    if "catching" in store or "spilling" in store:
        return lambda: _some(_steps(projector), events)
    return lambda: projector.fold().applied


def _steps(projector: Any) -> Iterator[int]:
    while (outcome := projector.step()) is not None:
        yield outcome.applied


def _some(steps: Iterator[int], events: int) -> int:
    done = 0
    for applied in steps:
        done += applied
        if done >= events:
            break
    return done


def _read_models(store: str, folder: Path, postgres: str) -> Any:
    if store == "memory":
        from sidestream.adapters.memory_read_model import MemoryReadModels

        return MemoryReadModels()
    if store == "sqlite":
        from sidestream.adapters.sqlite_read_model import SqliteReadModels

        return SqliteReadModels(folder / "balances")
    from sidestream.adapters.postgres_read_model import PostgresReadModels

    return PostgresReadModels(postgres, "balances")


if __name__ == "__main__":
    main()
