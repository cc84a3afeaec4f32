"""How fast events are appended: Sidestream's event stores beside the library `eventsourcing`, on SQLite and on PostgreSQL.

    .venv/bin/python -m benchmarks.append [--quick] [--rounds N] [--folder FOLDER] [--json FILE]

Both take turns on the same disk and the same server, several rounds, each measurement in a process and a database of its own;
medians are reported. Durability is the same: SQLite in WAL mode with `synchronous=FULL` (what both use by themselves, and
checked here), PostgreSQL with `synchronous_commit` and `fsync` on. How long the disk takes for one small write is measured in
every round, because an append of one event by one writer is little else. With `--folder /dev/shm` the files of SQLite are in
memory, where no disk is waited for: what is left is work of the processor.
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
from pathlib import Path
from typing import Any, Final

import psutil  # type: ignore[import-untyped]  # carries no types
import psycopg

from benchmarks.peers import peers_interpreter
from tests.postgres import Postgres, running_postgres

_TARGET: Final = 2.0
_WORK: Final = {(1, 1): 2000, (8, 1): 4000, (64, 1): 6400, (1, 100): 200, (8, 100): 400, (64, 100): 640}
"""Writers and events an append, and how many appends that makes."""
_DISK_WRITES: Final = 300


def main() -> int:
    arguments = _arguments()
    share = 8 if arguments.quick else 1
    rounds = arguments.rounds or (3 if arguments.quick else 5)
    contestants = {
        "sidestream": [sys.executable, "-m", "benchmarks.append_contestants"],
        "eventsourcing": [str(peers_interpreter()), str(Path(__file__).with_name("append_peer.py"))],
    }
    with tempfile.TemporaryDirectory(prefix="sidestream-bench-", dir=arguments.folder) as folder, running_postgres() as postgres:
        found = [_round(contestants, Path(folder), postgres, share) for _ in range(rounds)]
    report = {"environment": _environment(), "rounds": rounds, "disk_ms": [each.pop("disk_ms") for each in found], "rows": _rows(found)}
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1))
    print(_text(report))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="an eighth of the appends, three rounds")
    parser.add_argument("--rounds", type=int, metavar="N", help="so many rounds")
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="where the files of SQLite are; the system's folder for such files")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    return parser.parse_args()


def _round(contestants: dict[str, list[str]], folder: Path, postgres: Postgres, share: int) -> dict[str, Any]:
    found: dict[str, Any] = {"disk_ms": _disk_ms(folder)}
    for (writers, events), appends in _WORK.items():
        for database in ("sqlite", "postgres"):
            for name, command in contestants.items():
                numbers = map(str, (writers, events, max(appends // share, writers)))
                found[f"{database} {writers} {events} {name}"] = _measured(command, database, folder, postgres, [*numbers])
    return found


def _measured(command: list[str], database: str, folder: Path, postgres: Postgres, numbers: list[str]) -> dict[str, float]:
    if database == "sqlite":
        with tempfile.TemporaryDirectory(dir=folder) as own:
            return _rates(_run([*command, str(Path(own) / "store.sqlite"), *numbers]), 0.0)
    with postgres.database() as url, psycopg.connect(postgres.url) as connection:
        before = _server_cpu(connection)
        found = _run([*command, url, *numbers])
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


def _rows(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for writers, events in _WORK:
        for database in ("sqlite", "postgres"):
            name = f"{database} {writers} {events}"
            ours, peers = ([each[f"{name} {who}"] for each in found] for who in ("sidestream", "eventsourcing"))
            what = {"database": database, "writers": writers, "events": events, "sidestream": ours, "eventsourcing": peers}
            rows.append(what | {"ratio": _ratio(ours, peers, "rate"), "ratio_per_cpu_second": _ratio(ours, peers, "per_cpu_second")})
    return rows


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
        f"load {environment['load_at_the_end'][0]:.1f}; one small write to the disk: {statistics.median(report['disk_ms']):.2f} ms",
        "",
        "| database | writers | events an append | Sidestream, events/s | eventsourcing, events/s | ratio | at least 2 | ratio by CPU |",
        "|---|---:|---:|---:|---:|---:|---|---:|",
    ]
    for row in report["rows"]:
        ours, peers = (statistics.median(each["rate"] for each in row[who]) for who in ("sidestream", "eventsourcing"))
        met = "met" if row["ratio"] >= _TARGET else "**not met**"
        what, rates = f"{row['database']} | {row['writers']} | {row['events']}", f"{ours:,.0f} | {peers:,.0f}"
        lines.append(f"| {what} | {rates} | {row['ratio']:.2f} | {met} | {row['ratio_per_cpu_second']:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
