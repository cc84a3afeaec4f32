"""Who publishes in `benchmarks.live`, in a process of its own: `python -m benchmarks.live_publishing HOW GRPC_PORT EVENTS RATE KEYS`.

    paced     so many events a second, as clients would send them, through the direct publisher; every tenth millisecond a probe
    flat      as fast as `publish_many` takes them
    callers   fifty callers, each waits for its event before it sends the next
    sdk       the same fifty, each with one `publish_event` of the Dapr SDK

Prints one JSON object: events per second, the milliseconds until the confirmation, and when each probe was handed over.
"""

import asyncio
import json
import math
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from benchmarks.live_apps import PROBE
from benchmarks.recorded import TOPIC, payments
from sidestream.adapters.dapr_publisher import DaprPublisher
from sidestream.event import CONTENT_TYPE, Counted, NewEvent, encode_event
from sidestream.identifiers import new_id, now
from sidestream.publishing.direct import DirectPublisher

CALLERS: Final = 50
_PROBE_SECONDS: Final = 0.01
Publish = Callable[[NewEvent], Awaitable[object]]


def events(count: int, keys: int) -> Iterator[NewEvent]:
    for account, paid in payments(count, keys):
        yield _event(account, msgspec.json.encode(paid))


def _event(account: str, data: bytes) -> NewEvent:
    return NewEvent(topic=TOPIC, id=new_id(), source="/bank", type="paid", data=data, subject=account, time=now(), ordered=False)


async def paced(publish: Publish, count: int, rate: int, keys: int) -> dict[str, Any]:
    """Hand over what is due every two milliseconds, however long the confirmations take."""
    taken: list[float] = []
    probes: list[float] = []
    failures: list[str] = []

    async def one(event: NewEvent) -> None:
        begin = time.perf_counter()
        try:
            await publish(event)
        except Exception as error:
            failures.append(str(error))
        taken.append(time.perf_counter() - begin)

    waiting, begin, sent, tasks = events(count, keys), time.perf_counter(), 0, set()
    while sent < count:
        at = time.perf_counter() - begin
        due = min(int(at * rate) + 1, count) - sent
        batch = [next(waiting) for _ in range(due)]
        if at >= len(probes) * _PROBE_SECONDS and batch:
            batch[-1] = _event(PROBE, b'{"amount":100}')
            probes.append(time.monotonic())
        for event in batch:
            task = asyncio.create_task(one(event))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        sent += due
        await asyncio.sleep(0.002)
    while tasks:
        await asyncio.wait(tasks)
    seconds = time.perf_counter() - begin
    return {"rate": count / seconds, "failed": len(failures), "probes": probes, **_milliseconds(taken)}


async def flat(publisher: DirectPublisher, count: int, keys: int) -> dict[str, Any]:
    made = list(events(count, keys))
    begin = time.perf_counter()
    await publisher.publish_many(made)
    return {"rate": count / (time.perf_counter() - begin), "failed": 0, "probes": []}


async def callers(publish: Publish, count: int, keys: int) -> dict[str, Any]:
    """Each waits for its event before it sends the next."""
    waiting, taken = iter(list(events(count, keys))), []

    async def caller() -> None:
        for event in waiting:
            begin = time.perf_counter()
            await publish(event)
            taken.append(time.perf_counter() - begin)

    begin = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return {"rate": count / (time.perf_counter() - begin), "failed": 0, "probes": [], **_milliseconds(taken)}


def _milliseconds(taken: Sequence[float]) -> dict[str, float]:
    ordered = sorted(taken)
    return {"p50_ms": 1000 * statistics.median(ordered), "p99_ms": 1000 * ordered[math.ceil(0.99 * len(ordered)) - 1]}


async def _main(how: str, port: int, count: int, rate: int, keys: int) -> dict[str, Any]:
    if how == "sdk":
        from dapr.aio.clients import DaprClient

        numbers = iter(range(1, count + 2))
        async with DaprClient(address=f"127.0.0.1:{port}") as client:

            async def alone(event: NewEvent) -> None:
                wire = encode_event(event, Counted("sdk.1", next(numbers)))
                await client.publish_event("pubsub", TOPIC, wire, data_content_type=CONTENT_TYPE)

            return await callers(alone, count, keys)
    way_out = DaprPublisher("pubsub", port)
    publisher = DirectPublisher(way_out, capacity=200_000, deadline_seconds=30)
    try:
        await publisher.publish(_event("a-first", b'{"amount":100}'))  # connects, which is not what is measured
        if how == "flat":
            return await flat(publisher, count, keys)
        return await (paced(publisher.publish, count, rate, keys) if how == "paced" else callers(publisher.publish, count, keys))
    finally:
        await publisher.close()
        await way_out.close()


if __name__ == "__main__":
    random.seed(1)
    print(json.dumps(asyncio.run(_main(sys.argv[1], *map(int, sys.argv[2:])))))
