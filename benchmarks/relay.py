"""How fast the relay is, and how soon what was committed stands in the log, through a real sidecar.

    .venv/bin/python -m benchmarks.relay [--quick] [--json]

Throughput: a store of events of 2,000 streams is emptied by the relay, in turn with raw bulk publishes of the same bytes
through the same daprd (400 a call, 4 calls in flight, no order, no store), and with one hot stream, whose events go out one
after another. Delay: 2,000 appends a second; from the return of `append` to the entry in the broker, whose clock is ours.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from sidestream.adapters.dapr_publisher import DaprPublisher
from sidestream.adapters.redis_log import RedisAddress, RedisLog
from sidestream.adapters.sqlite_events import SqliteEventStore
from sidestream.event import NewEvent, decode_event
from sidestream.identifiers import new_id
from sidestream.ports import Append, Outgoing, StoredEvent
from sidestream.publishing.relay import Relay
from tests.parts import running_sidecar

_STREAMS: Final = 2000
_CALL: Final = 400
_IN_FLIGHT: Final = 4
_PACE: Final = 2000
_TICK_SECONDS: Final = 0.01
_TARGET_RATIO: Final = 0.7
_TARGET_P99_MS: Final = 50.0
_DATA: Final = b'{"amount":123,"currency":"EUR","note":"' + b"x" * 60 + b'"}'


def main() -> int:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="sidestream-bench-") as folder:
        report = asyncio.run(_measure(Path(folder), *((20_000, 3, 5) if arguments.quick else (60_000, 5, 20))))
    print(json.dumps(report, indent=1) if arguments.json else _text(report))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer events and rounds")
    parser.add_argument("--json", action="store_true", help="print everything that was measured")
    return parser.parse_args()


async def _measure(folder: Path, events: int, rounds: int, seconds: int) -> dict[str, Any]:
    async with running_sidecar(folder / "system") as system:
        grpc_port, broker_port = system["tested"].entry.grpc_port, system.broker.port
        publisher = DaprPublisher("pubsub", grpc_port)
        log = RedisLog(RedisAddress(host="127.0.0.1", port=broker_port))
        rates: dict[str, list[float]] = {"relay": [], "raw": [], "hot": []}
        for number in range(rounds):
            store = _filled(folder / f"{number}.sqlite", events, _STREAMS, f"relayed-{number}")
            rates["relay"].append(events / await _relayed(store, publisher))
            rates["raw"].append(events / await _raw(store.read_topic(f"relayed-{number}", 0, events), publisher, f"raw-{number}"))
            hot = _filled(folder / f"hot-{number}.sqlite", events // 20, 1, f"hot-{number}")
            rates["hot"].append(events // 20 / await _relayed(hot, publisher))
        delays = await _delays(SqliteEventStore(folder / "paced.sqlite"), publisher, log, seconds)
        await publisher.close()
    return _report(events, rates, delays)


def _event(topic: str, number: int, streams: int) -> tuple[str, NewEvent]:
    stream = f"order-{number % streams:05d}"
    return stream, NewEvent(topic=topic, id=new_id(), source="/services/orders", type="order.noted", subject=stream, data=_DATA)


def _filled(path: Path, events: int, streams: int, topic: str) -> SqliteEventStore:
    store = SqliteEventStore(path)
    for begin in range(0, events, 1000):
        made = [_event(topic, number, streams) for number in range(begin, min(begin + 1000, events))]
        store.append([Append(stream, (event,)) for stream, event in made])
    return store


async def _relayed(store: SqliteEventStore, publisher: DaprPublisher) -> float:
    """Return the seconds until everything in the store is marked as published."""
    begin = time.perf_counter()
    async with Relay(store, publisher):
        await _emptied(store)
    return time.perf_counter() - begin


async def _emptied(store: SqliteEventStore) -> None:
    while any(store.backlog().values()):  # noqa: ASYNC110 - the store is asked, as anybody would who looks from outside
        await asyncio.sleep(_TICK_SECONDS)


async def _raw(stored: Sequence[StoredEvent], publisher: DaprPublisher, topic: str) -> float:
    calls = [stored[begin : begin + _CALL] for begin in range(0, len(stored), _CALL)]
    gate = asyncio.Semaphore(_IN_FLIGHT)

    async def call(events: Sequence[StoredEvent]) -> None:
        async with gate:
            failed = await publisher.publish(topic, [Outgoing(each.wire, each.stream or "", each.event_id) for each in events])
            assert not failed, failed

    begin = time.perf_counter()
    await asyncio.gather(*map(call, calls))
    return time.perf_counter() - begin


async def _delays(store: SqliteEventStore, publisher: DaprPublisher, log: RedisLog, seconds: int) -> list[float]:
    """Append at a steady pace; return the milliseconds from each commit to its entry in the broker."""
    committed: dict[str, float] = {}
    async with Relay(store, publisher) as relay:
        begin, number = time.perf_counter(), 0
        while number < _PACE * seconds:
            due = min(int((time.perf_counter() - begin) * _PACE), _PACE * seconds)
            made = [_event("paced", each, _STREAMS) for each in range(number, due)]
            if made:
                await asyncio.to_thread(store.append, [Append(stream, (event,)) for stream, event in made])
                committed.update((event.id, time.time() * 1000) for _, event in made)
                relay.ring()
            number = due
            await asyncio.sleep(_TICK_SECONDS / 4)
        await _emptied(store)
    entries = log.read("paced", None, 10 * _PACE * seconds)
    recorded = {decode_event(entry.data).id: entry.recorded_ms for entry in reversed(entries)}
    return sorted(max(recorded[name] - at, 0.0) for name, at in committed.items())


def _report(events: int, rates: dict[str, list[float]], delays: list[float]) -> dict[str, Any]:
    medians = {name: statistics.median(found) for name, found in rates.items()}
    ratio = statistics.median(one / other for one, other in zip(rates["relay"], rates["raw"], strict=True))
    p50, p99 = (delays[int(len(delays) * part)] for part in (0.5, 0.99))
    return {
        "environment": {"python": platform.python_version(), "cpus": os.cpu_count(), "load_at_the_end": os.getloadavg()},
        "events": events,
        "rates": rates,
        "medians": medians,
        "ratio": {"relay against raw bulk": ratio, "target": _TARGET_RATIO, "met": ratio >= _TARGET_RATIO},
        "delay": {"p50_ms": p50, "p99_ms": p99, "target_ms": _TARGET_P99_MS, "met": p99 <= _TARGET_P99_MS, "events": len(delays)},
    }


def _text(report: dict[str, Any]) -> str:
    environment, ratio, delay = report["environment"], report["ratio"], report["delay"]
    return "\n".join(
        [
            f"{report['events']:,} events of {_STREAMS:,} streams; Python {environment['python']}, {environment['cpus']} processors, "
            f"load {environment['load_at_the_end'][0]:.1f}",
            "",
            "| what | events/s, median |",
            "|---|---:|",
            *(f"| {name} | {rate:,.0f} |" for name, rate in report["medians"].items()),
            "",
            f"relay against raw bulk: {ratio['relay against raw bulk']:.2f} (at least {ratio['target']}: {_verdict(ratio)})",
            f"from commit to broker at {_PACE:,}/s: p50 {delay['p50_ms']:.0f} ms, p99 {delay['p99_ms']:.0f} ms "
            f"(at most {delay['target_ms']:.0f}: {_verdict(delay)})",
        ]
    )


def _verdict(found: dict[str, Any]) -> str:
    return "met" if found["met"] else "not met"


if __name__ == "__main__":
    raise SystemExit(main())
