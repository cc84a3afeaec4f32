"""How fast a read model is rebuilt: Sidestream's projector, a loop by hand, peers, and the server alone.

    .venv/bin/python -m benchmarks.rebuild [--quick] [--no-peers] [--json FILE] [--page FILE]
    .venv/bin/python -m benchmarks.rebuild --from FILE --page docs/benchmarks-rebuild.md

All but the peers, which have stores of their own with the first of these events in them, read the same events of one embedded
Valkey, all in turn, several rounds; medians are reported, because the ratios of one run on one machine say more than its rates.
Every measurement is a process of its own, so that its peak memory is its own.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from itertools import product
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.peers import peers_interpreter
from benchmarks.recorded import TOPIC, load, payments, wires
from sidestream.launcher.broker import Broker
from tests.postgres import Postgres, running_postgres

_TARGETS: Final = (
    ("rebuild into SQLite against the loop by hand", "sidestream sqlite", "hand sqlite", 15.0),
    ("rebuild into PostgreSQL against the loop by hand", "sidestream postgres", "hand postgres", 100.0),
    ("rebuild into PostgreSQL above the budget", "sidestream postgres spilling", "hand postgres", 30.0),
    ("rebuild into memory against the server's send rate", "sidestream memory", "server", 0.22),
    ("rebuild into SQLite against eventsourcing", "sidestream sqlite", "eventsourcing sqlite", 0.0),
    ("rebuild into PostgreSQL against eventsourcing", "sidestream postgres", "eventsourcing postgres", 0.0),
    ("rebuild into SQLite against eventsource-py", "sidestream sqlite", "eventsource-py sqlite", 0.0),
    ("rebuild into PostgreSQL against eventsource-py", "sidestream postgres", "eventsource-py postgres", 0.0),
)
_MEMORY_MEGABYTES: Final = 64
_PEERS: Final = {"eventsourcing": "rebuild_peer.py", "eventsource-py": "rebuild_peer_eventsource.py"}
_PAGE: Final = """# Benchmarks of the rebuild

Written by `python -m benchmarks.rebuild --page docs/benchmarks-rebuild.md`; `--quick` takes minutes, without it 1M events of 100K keys
are read. Every contestant is a process of its own and all take turns; medians. Rates by the clock hold for the machine and
the hour; the ratios say more. *By hand* is the loop that everybody writes: redis-py, json, a commit per event. *Server* is
how fast the broker sends, looked at by nobody. *Spilling* writes every 50,000 events, as a rebuild does above its memory
budget.

**Peers** project the first fiftieth of the events out of stores of their own, event by event, as their documentation does:
*eventsourcing* with row and tracking in one transaction, *eventsource-py* with the row in one and its checkpoint in the next (it
reads its feed before it begins, and by its `ProjectionCoordinator`). Protean 0.18 installs, and is left out: its own store is
in memory and slows down with its length (400 events saved and projected in 17 s, 1,000 not within a minute, on two busy
processors), and the other one, Message DB, is a product apart.

**Durability.** SQLite: WAL and `synchronous=NORMAL` for all but eventsourcing, which leaves `FULL` and has no setting for it.
PostgreSQL: as it comes, `synchronous_commit=on`, for all.

"""


def main() -> int:
    arguments = _arguments()
    report = json.loads(arguments.read.read_text()) if arguments.read else _report(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    if arguments.page:
        arguments.page.write_text(f"{_PAGE}{_text(report)}\n")
    print(_text(report))
    return 0


def _report(arguments: argparse.Namespace) -> dict[str, Any]:
    events, keys, rounds = (200_000, 20_000, 3) if arguments.quick else (1_000_000, 100_000, 5)
    peers = None if arguments.no_peers else peers_interpreter()
    with tempfile.TemporaryDirectory(prefix="sidestream-bench-") as folder, running_postgres() as postgres:
        measured = asyncio.run(_measure(Place(Path(folder), postgres, peers), events, keys, rounds))
    report = {"environment": _environment(), "events": events, "keys": keys, "rounds": rounds, "measured": measured}
    report["ratios"] = [_ratio(measured, *target) for target in _TARGETS if target[2] in measured]
    report["memory"] = _memory(measured)
    return report


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the events, three rounds")
    parser.add_argument("--no-peers", action="store_true", help="leave out the libraries of benchmarks/peers.txt")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the page, docs/benchmarks-rebuild.md")
    parser.add_argument("--from", type=Path, metavar="FILE", dest="read", help="measure nothing, read what --json wrote")
    return parser.parse_args()


class Place(NamedTuple):
    """Where is measured: a folder, a database server, and the interpreter of the peers, if they take part."""

    folder: Path
    postgres: Postgres
    peers: Path | None


async def _measure(place: Place, events: int, keys: int, rounds: int) -> dict[str, Any]:
    broker = Broker.prepare(place.folder / "broker", "everysec", on_line=lambda line: None)
    await broker.start()
    try:
        await broker.ready()
        await asyncio.to_thread(load, broker.port, TOPIC, wires(events, keys))
        return await asyncio.to_thread(_rounds, place, broker.port, events, rounds)
    finally:
        await broker.stop()


def _rounds(place: Place, port: int, events: int, rounds: int) -> dict[str, Any]:
    found: dict[str, list[dict[str, float]]] = {}
    own = [sys.executable, "-m", "benchmarks.contestants"]
    for _ in range(rounds):
        for name, some in _contestants(events).items():
            found.setdefault(name, []).append(_run([*own, name, str(port), str(some), str(place.folder), place.postgres.url]))
        for peer, store in product(_PEERS, ("sqlite", "postgres")) if place.peers else ():
            found.setdefault(f"{peer} {store}", []).append(_run_peer(place, peer, store, events // 50))
    return {name: _summary(results) for name, results in found.items()}


def _run_peer(place: Place, peer: str, store: str, events: int) -> dict[str, float]:
    """Let a peer project into a new database: it has a store of its own, with about ten events of each key."""
    script, paid = str(Path(__file__).with_name(_PEERS[peer])), place.folder / "payments"
    by_account = sorted(payments(events, events // 10), key=itemgetter(0))
    paid.write_text("".join(f"{account} {event.amount}\n" for account, event in by_account))
    with tempfile.TemporaryDirectory(dir=place.folder) as folder, place.postgres.database() as url:
        database = url if store == "postgres" else f"{folder}/peer.sqlite"
        return _run([str(place.peers), script, database, str(paid)])


def _contestants(events: int) -> dict[str, int]:
    """Return who takes part, and how many events each reads: the slow ones fewer, their rate is what counts."""
    return {
        "server": events,
        "hand memory": events // 4,
        "hand sqlite": events // 20,
        "hand postgres": events // 100,
        "sidestream memory": events,
        "sidestream sqlite": events,
        "sidestream sqlite catching up": events // 2,
        "sidestream postgres": events,
        "sidestream postgres spilling": events // 4,
    }


def _run(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[2:])}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _summary(results: list[dict[str, float]]) -> dict[str, Any]:
    rates = [result["rate"] for result in results]
    cpu = statistics.median(result["per_cpu_second"] for result in results)
    grown = statistics.median(result["grown_mb"] for result in results)
    return {"rate": statistics.median(rates), "rates": rates, "per_cpu_second": cpu, "grown_mb": grown}


def _ratio(measured: dict[str, Any], what: str, one: str, other: str, target: float) -> dict[str, Any]:
    """Compare by the clock. On a machine that is busy with other things the ratio per second of CPU says more."""
    ratio, per_cpu = (measured[one][by] / measured[other][by] for by in ("rate", "per_cpu_second"))
    return {"what": what, "ratio": ratio, "ratio_per_cpu_second": per_cpu, "target": target, "met": ratio >= target}


def _memory(measured: dict[str, Any]) -> dict[str, Any]:
    grown = max(measured[name]["grown_mb"] for name in ("sidestream sqlite", "sidestream postgres"))
    return {"grown_mb": grown, "target_mb": _MEMORY_MEGABYTES, "met": grown <= _MEMORY_MEGABYTES}


def _environment() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "cpus": os.cpu_count(),
        "load_at_the_end": os.getloadavg(),
    }


def _text(report: dict[str, Any]) -> str:
    environment = report["environment"]
    lines = [
        f"{report['events']:,} events, {report['keys']:,} keys, median of {report['rounds']} rounds; Python {environment['python']}, "
        f"{environment['cpus']} processors, load {environment['load_at_the_end'][0]:.1f}",
        "",
        "| what | events/s | per second of CPU | memory over the interpreter, MB |",
        "|---|---:|---:|---:|",
    ]
    for name, one in report["measured"].items():
        grown = f"{one['grown_mb']:.0f}" if one["grown_mb"] else "not measured"
        lines.append(f"| {name} | {one['rate']:,.0f} | {one['per_cpu_second']:,.0f} | {grown} |")
    lines += ["", "| ratio | by the clock | per second of CPU | at least | |", "|---|---:|---:|---:|---|"]
    for one in report["ratios"]:
        verdict = ("met" if one["met"] else "**not met**") if one["target"] else ""
        target = f"{one['target']:g}" if one["target"] else ""
        lines.append(f"| {one['what']} | {one['ratio']:.2f} | {one['ratio_per_cpu_second']:.2f} | {target} | {verdict} |")
    memory = report["memory"]
    verdict = "met" if memory["met"] else "**not met**"
    lines.append(f"| memory of a rebuild, MB, at most | {memory['grown_mb']:.0f} | | {memory['target_mb']} | {verdict} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
