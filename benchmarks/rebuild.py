"""How fast a read model is rebuilt: Sidestream's projector, a loop by hand, and the server alone.

    .venv/bin/python -m benchmarks.rebuild [--quick] [--json]

All read the same events of one embedded Valkey, all in turn, several rounds; medians are reported, because the ratios of
one run on one machine say more than its rates. Every measurement is a process of its own, so that its peak memory is its own.
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
from pathlib import Path
from typing import Any, Final

from benchmarks.recorded import TOPIC, load, wires
from sidestream.launcher.broker import Broker
from tests.postgres import running_postgres

_TARGETS: Final = (
    ("rebuild into SQLite against the loop by hand", "sidestream sqlite", "hand sqlite", 15.0),
    ("rebuild into PostgreSQL against the loop by hand", "sidestream postgres", "hand postgres", 100.0),
    ("rebuild into PostgreSQL above the budget", "sidestream postgres spilling", "hand postgres", 30.0),
    ("rebuild into memory against the server's send rate", "sidestream memory", "server", 0.22),
)
_MEMORY_MEGABYTES: Final = 64


def main() -> int:
    arguments = _arguments()
    events, keys, rounds = (200_000, 20_000, 3) if arguments.quick else (1_000_000, 100_000, 5)
    with tempfile.TemporaryDirectory(prefix="sidestream-bench-") as folder, running_postgres() as postgres:
        measured = asyncio.run(_measure(Path(folder), postgres.url, events, keys, rounds))
    report = {"environment": _environment(), "events": events, "keys": keys, "rounds": rounds, "measured": measured}
    report["ratios"] = [_ratio(measured, *target) for target in _TARGETS]
    report["memory"] = _memory(measured)
    print(json.dumps(report, indent=1) if arguments.json else _text(report))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the events, three rounds")
    parser.add_argument("--json", action="store_true", help="print everything that was measured")
    return parser.parse_args()


async def _measure(folder: Path, postgres: str, events: int, keys: int, rounds: int) -> dict[str, Any]:
    broker = Broker.prepare(folder / "broker", "everysec", on_line=lambda line: None)
    await broker.start()
    try:
        await broker.ready()
        await asyncio.to_thread(load, broker.port, TOPIC, wires(events, keys))
        return await asyncio.to_thread(_rounds, folder, broker.port, postgres, events, rounds)
    finally:
        await broker.stop()


def _rounds(folder: Path, port: int, postgres: str, events: int, rounds: int) -> dict[str, Any]:
    found: dict[str, list[dict[str, float]]] = {}
    own = [sys.executable, "-m", "benchmarks.contestants"]
    for _ in range(rounds):
        for name, some in _contestants(events).items():
            found.setdefault(name, []).append(_run([*own, name, str(port), str(some), str(folder), postgres]))
    return {name: _summary(results) for name, results in found.items()}


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
        lines.append(f"| {name} | {one['rate']:,.0f} | {one['per_cpu_second']:,.0f} | {one['grown_mb']:.0f} |")
    lines += ["", "| ratio | by the clock | per second of CPU | at least | |", "|---|---:|---:|---:|---|"]
    for one in report["ratios"]:
        verdict = "met" if one["met"] else "**not met**"
        lines.append(f"| {one['what']} | {one['ratio']:.2f} | {one['ratio_per_cpu_second']:.2f} | {one['target']:g} | {verdict} |")
    memory = report["memory"]
    verdict = "met" if memory["met"] else "**not met**"
    lines.append(f"| memory of a rebuild, MB, at most | {memory['grown_mb']:.0f} | | {memory['target_mb']} | {verdict} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
