"""How fast events travel from a publisher through a real daprd and broker into a read model, beside what Dapr alone offers.

    .venv/bin/python -m benchmarks.live [--quick] [--json FILE] [--page FILE]

Paced and flat out: until the confirmation, until the event can be read, and how many were lost; catching up with events that
wait; fifty callers. All contestants in turn, several rounds, medians: the ratios of one run on one machine say more than rates.
"""

import argparse
import asyncio
import json
import math
import os
import platform
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from benchmarks.live_page import page
from benchmarks.live_systems import Line, Watch, running
from benchmarks.recorded import load, wires

_QUIET_SECONDS: Final = 20.0
"""A reader that takes nothing for so long has lost what is missing."""
_folders = count(1)
Found = dict[str, Any]


class Size(msgspec.Struct, frozen=True):
    """How much is measured."""

    seconds: int = 20
    rates: tuple[int, ...] = (1_000, 5_000, 10_000)
    textbook_rate: int = 1_000
    flat: int = 60_000
    waiting: int = 200_000
    called: int = 20_000
    keys: int = 100_000
    rounds: int = 3


QUICK: Final = Size(seconds=2, rates=(1_000, 5_000), flat=10_000, waiting=20_000, called=2_000, keys=20_000, rounds=1)


def main() -> int:
    arguments = _arguments()
    size = QUICK if arguments.quick else Size()
    begin = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="sidestream-live-") as folder:
        measured = asyncio.run(_measure(Path(folder), size))
    environment = {**_environment(), "load_before": begin, "load_after": os.getloadavg()}
    report = {"environment": environment, "size": msgspec.to_builtins(size), "measured": measured}
    text = page(report)
    print(text)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    if arguments.page:
        arguments.page.write_text(text + "\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the events, one round: to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the page: docs/benchmarks-live.md")
    return parser.parse_args()


def _environment() -> Found:
    system = f"{platform.system()} {platform.release()}"
    return {"python": platform.python_version(), "system": system, "cpus": os.cpu_count()}


async def _measure(folder: Path, size: Size) -> Found:
    """All in turn, round by round; each round's results stay, the page takes the medians."""
    found: Found = {"paced": [], "flat": [], "waiting": [], "callers": []}
    for number in range(size.rounds):
        for reader in ("one projection", "three projections", "bare bulk subscriber", "textbook subscriber"):
            await _travel(folder / str(next(_folders)), reader, size, found)
        for reader in ("one projection", "one projection, inbox", "bare bulk subscriber", "textbook subscriber"):
            found["waiting"].append(await _catch_up(folder / str(next(_folders)), reader, size))
        found["callers"] += await _fifty_callers(folder / str(next(_folders)), size)
        print(f"round {number + 1} of {size.rounds} done", flush=True)
    return found


# ── on its way ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def _travel(folder: Path, reader: str, size: Size, found: Found) -> None:
    """Paced, at every rate, and flat out; the textbook only at the rate it can bear."""
    textbook = reader.startswith("textbook")
    async with running(folder, reader) as line:
        await _warm_up(line, size)
        for rate in (size.textbook_rate,) if textbook else size.rates:
            found["paced"].append({"reader": reader, "asked": rate, **await _paced(line, rate, size)})
        found["flat"].append({"reader": reader, **await _flat_out(line, size.flat // (10 if textbook else 1), size)})


async def _warm_up(line: Line, size: Size) -> None:
    """The first events pay for imports and connections; the probe's row is there afterwards."""
    await line.publish("paced", 500, 500, size.keys)
    await _all_there(line, 0, 501)


async def _paced(line: Line, rate: int, size: Size) -> Found:
    events, before = rate * size.seconds, await line.seen()
    probed = [len((await line.told(name))["probes"]) for name in line.subscribers]
    with Watch([line.file(name) for name in line.projections]) as watch:
        published = await line.publish("paced", events, rate, size.keys)
        arrived = await _all_there(line, before, events + 1)
        await asyncio.sleep(0.05)  # the watch looks a last time
    sent = published.pop("probes")
    told = [(await line.told(name))["probes"][begin:] for name, begin in zip(line.subscribers, probed, strict=True)]
    seen = [max(times) for times in zip(*told, strict=False)] if told else watch.visible
    taken = sorted(1000 * (at - begin) for begin, at in zip(sent, seen, strict=False))
    return {**published, **_quantiles(taken), "lost": events + 1 - published["failed"] - arrived, "probes": len(taken)}


def _quantiles(taken: Sequence[float]) -> Found:
    if not taken:
        raise SystemExit("benchmarks.live: no probe arrived; look at the logs of the readers")
    return {"visible_p50_ms": statistics.median(taken), "visible_p99_ms": taken[math.ceil(0.99 * len(taken)) - 1]}


async def _flat_out(line: Line, events: int, size: Size) -> Found:
    before = await line.seen()
    published = await line.publish("flat", events, 0, size.keys)
    answered = time.perf_counter()
    arrived = await _all_there(line, before, events + 1)
    behind = time.perf_counter() - answered
    return {"rate": published["rate"], "events": events, "lost": events + 1 - arrived, "behind_seconds": behind}


async def _all_there(line: Line, before: int, events: int) -> int:
    """Wait until so many more have arrived, or nothing comes any longer; return how many have."""
    found, last = 0, time.monotonic()
    while found < events and time.monotonic() - last < _QUIET_SECONDS:
        now = await line.seen() - before
        if now != found:
            found, last = now, time.monotonic()
        await asyncio.sleep(0.01)
    return found


# ── waiting ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _catch_up(folder: Path, reader: str, size: Size) -> Found:
    """Events wait in the log; the reader starts. Measured from what it had first to what it had last."""
    events = size.waiting // (10 if reader.startswith("textbook") else 1)
    async with running(folder, reader) as line:
        await line.stop_readers()
        await asyncio.to_thread(load, line.port, "payments", wires(events, size.keys))
        async with asyncio.TaskGroup() as group:  # a reader that does not start ends the wait for it
            group.create_task(line.start_readers())
            draining = group.create_task(_draining(line, events))
        taken = draining.result()
        if line.subscribers:
            told = await line.told(line.subscribers[0])
            taken = (told["events"] - told["first_batch"]) / (told["last"] - told["first"])
    return {"reader": reader, "events": events, "rate": taken}


async def _draining(line: Line, events: int) -> float:
    """Return events per second between the first look that found some and the one that found all."""
    first, began = 0, 0.0
    while True:
        try:
            found = await line.seen()
        except (OSError, httpx.TransportError, sqlite3.OperationalError) as error:  # not started yet
            found = _gone(error) if first else 0
        if found and not first:
            first, began = found, time.perf_counter()
        if found >= events:
            return (found - first) / max(time.perf_counter() - began, 1e-6)
        await asyncio.sleep(0.005)


def _gone(error: Exception) -> int:
    raise SystemExit(f"benchmarks.live: a reader went away: {error}")


# ── fifty callers ────────────────────────────────────────────────────────────────────────────────────────────────────


async def _fifty_callers(folder: Path, size: Size) -> list[Found]:
    async with running(folder, "nobody") as line:
        ours = await line.publish("callers", 5 * size.called, 0, size.keys)
        theirs = await line.publish("sdk", size.called, 0, size.keys)
    return [{"how": "callers", **ours}, {"how": "sdk", **theirs}]


if __name__ == "__main__":
    raise SystemExit(main())
