"""How fast events are appended: Sidestream's event stores beside the library `eventsourcing`, on SQLite and on PostgreSQL.

    .venv/bin/python -m benchmarks.append [--quick] [--rounds N] [--folder FOLDER] [--only command|ready] [--json FILE]

Two things are measured. `command` is what a service does: one command that decides 1 or 100 events and stores them; the clock
stands over all of it. `ready` is the store alone: the events were made before the clock began. Beside them stands what no store
can beat, one writer that puts ready rows into one table (`append_bare.py`). All take turns on the same disk and the same server,
several rounds, each measurement in a process and a database of its own; medians are reported. Durability is the same: SQLite in
WAL mode with `synchronous=FULL` (what both use by themselves, and checked here), PostgreSQL with `synchronous_commit` and
`fsync` on. How long the disk takes for one small write is measured in every round, because an append of one event by one writer
is little else. With `--folder /dev/shm` the files of SQLite are in memory, where no disk is waited for: what is left is work of
the processor.
"""

import argparse
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any, Final

import psutil  # type: ignore[import-untyped]  # carries no types
import psycopg

from benchmarks.peers import peers_interpreter
from tests.postgres import Postgres, running_postgres

_TARGET: Final = 2.0
_WHAT: Final = {"command": "One command, from the decision to the disk", "ready": "The append alone, its events made before"}
_WORK: Final = {(1, 1): 2000, (8, 1): 4000, (64, 1): 6400, (1, 100): 200, (8, 100): 400, (64, 100): 640}
"""Writers and events an append, and how many appends that makes."""
_ALONE: Final = (1, 100)
"""Events an append of the bare writer."""
_DISK_WRITES: Final = 300


def main() -> int:
    arguments = _arguments()
    share = 8 if arguments.quick else 1
    rounds = arguments.rounds or (3 if arguments.quick else 5)
    contestants = {
        "sidestream": [sys.executable, "-m", "benchmarks.append_contestants"],
        "eventsourcing": [str(peers_interpreter()), str(Path(__file__).with_name("append_peer.py"))],
        "bare": [sys.executable, "-m", "benchmarks.append_bare"],
    }
    with tempfile.TemporaryDirectory(prefix="sidestream-bench-", dir=arguments.folder) as folder, running_postgres() as postgres:
        whats = [arguments.only] if arguments.only else list(_WHAT)
        found = [_round(contestants, whats, Path(folder), postgres, share) for _ in range(rounds)]
    disk_ms = [each.pop("disk_ms") for each in found]
    rows = [row for what in whats for row in _rows(what, found)]
    report = {"environment": _environment(), "rounds": rounds, "disk_ms": disk_ms, "rows": rows, "bare": _bare(found)}
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1))
    print(_text(report))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="an eighth of the appends, three rounds")
    parser.add_argument("--rounds", type=int, metavar="N", help="so many rounds")
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="where the files of SQLite are; the system's folder for such files")
    parser.add_argument("--only", choices=list(_WHAT), help="one of the two; both")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    return parser.parse_args()


def _round(contestants: dict[str, list[str]], whats: list[str], folder: Path, postgres: Postgres, share: int) -> dict[str, Any]:
    found: dict[str, Any] = {"disk_ms": _disk_ms(folder)}
    for what, ((writers, events), appends), database in product(whats, _WORK.items(), ("sqlite", "postgres")):
        for name in ("sidestream", "eventsourcing"):
            work = [what, *map(str, (writers, events, max(appends // share, writers)))]
            found[f"{what} {database} {writers} {events} {name}"] = _measured(contestants[name], database, folder, postgres, work)
    for events, database in product(_ALONE, ("sqlite", "postgres")):
        work = [str(events), str(_WORK[1, events] // share)]
        found[f"bare {database} {events}"] = _measured(contestants["bare"], database, folder, postgres, work)
    return found


def _measured(command: list[str], database: str, folder: Path, postgres: Postgres, work: list[str]) -> dict[str, float]:
    if database == "sqlite":
        with tempfile.TemporaryDirectory(dir=folder) as own:
            return _rates(_run([*command, str(Path(own) / "store.sqlite"), *work]), 0.0)
    with postgres.database() as url, psycopg.connect(postgres.url) as connection:
        before = _server_cpu(connection)
        found = _run([*command, url, *work])
        return _rates(found, _server_cpu(connection) - before)


def _run(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _rates(found: dict[str, float], server_cpu_seconds: float) -> dict[str, float]:
    cpu_seconds = found["cpu_seconds"] + server_cpu_seconds
    return {"rate": found["events"] / found["seconds"], "per_cpu_second": found["events"] / cpu_seconds}


def _server_cpu(connection: psycopg.Connection[Any]) -> float:
    """Seconds of CPU of the server and of every backend that has ended; of those that run, ours has the least to do."""
    server = psutil.Process(connection.info.backend_pid).parent()
    found = server.cpu_times()
    return float(found.user + found.system + found.children_user + found.children_system)


def _disk_ms(folder: Path) -> float:
    """How long the disk takes for one small write that must not be lost."""
    with (folder / "probe").open("wb", buffering=0) as probe:
        begin = time.perf_counter()
        for _ in range(_DISK_WRITES):
            probe.write(b"x" * 4096)
            os.fdatasync(probe.fileno())
        return (time.perf_counter() - begin) / _DISK_WRITES * 1000


def _rows(what: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for (writers, events), database in product(_WORK, ("sqlite", "postgres")):
        name = f"{what} {database} {writers} {events}"
        ours, peers = ([each[f"{name} {who}"] for each in found] for who in ("sidestream", "eventsourcing"))
        row = {"what": what, "database": database, "writers": writers, "events": events, "sidestream": ours, "eventsourcing": peers}
        rows.append(row | {"ratio": _ratio(ours, peers, "rate"), "ratio_per_cpu_second": _ratio(ours, peers, "per_cpu_second")})
    return rows


def _bare(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"database": database, "events": events, "rate": statistics.median(each[f"bare {database} {events}"]["rate"] for each in found)}
        for events, database in product(_ALONE, ("sqlite", "postgres"))
    ]


def _ratio(ours: list[dict[str, float]], peers: list[dict[str, float]], by: str) -> float:
    """Compare round by round, so that both had the same neighbours."""
    return statistics.median(own[by] / peer[by] for own, peer in zip(ours, peers, strict=True))


def _environment() -> dict[str, Any]:
    with sqlite3.connect(":memory:") as connection:
        synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "cpus": os.cpu_count(),
        "sqlite": sqlite3.sqlite_version,
        "sqlite_synchronous_by_default": synchronous,
        "load_at_the_end": os.getloadavg(),
    }


def _text(report: dict[str, Any]) -> str:
    environment = report["environment"]
    lines = [
        f"{report['rounds']} rounds, Python {environment['python']}, {environment['cpus']} processors, "
        f"load {environment['load_at_the_end'][0]:.1f}; one small write to the disk: {statistics.median(report['disk_ms']):.2f} ms"
    ]
    for what, title in _WHAT.items():
        if rows := [row for row in report["rows"] if row["what"] == what]:
            lines += ["", f"{title}:", "", *_table(rows)]
    lines += ["", "One writer of ready rows into one table without an index:", ""]
    lines += [f"- {bare['database']}, {bare['events']} an append: {bare['rate']:,.0f} events/s" for bare in report["bare"]]
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| database | writers | events an append | Sidestream, events/s | eventsourcing, events/s | ratio | at least 2 | ratio by CPU |",
        "|---|---:|---:|---:|---:|---:|---|---:|",
    ]
    for row in rows:
        ours, peers = (statistics.median(each["rate"] for each in row[who]) for who in ("sidestream", "eventsourcing"))
        met = "met" if row["ratio"] >= _TARGET else "**not met**"
        what, rates = f"{row['database']} | {row['writers']} | {row['events']}", f"{ours:,.0f} | {peers:,.0f}"
        lines.append(f"| {what} | {rates} | {row['ratio']:.2f} | {met} | {row['ratio_per_cpu_second']:.2f} |")
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
