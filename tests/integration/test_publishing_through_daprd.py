"""Direct publishing and the relay through a real daprd and a real broker, while these are killed, frozen and started again."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from sidestream.adapters.dapr_publisher import DaprPublisher
from sidestream.adapters.sqlite_events import SqliteEventStore
from sidestream.applying.consistency import Place
from sidestream.errors import PublishFailed
from sidestream.event import Counted, Envelope, NewEvent, decode_event, encode_event
from sidestream.identifiers import new_id
from sidestream.launcher.network import free_ports
from sidestream.launcher.parts import SIDECAR_CAN_PUBLISH
from sidestream.launcher.system import System
from sidestream.ports import Append, Outgoing
from sidestream.publishing.direct import DirectPublisher
from sidestream.publishing.relay import Relay
from tests.waiting import until

AWKWARD = '{"big":9007199254740993,"float":0.12345678901234567,"one":1.0,"nul":"\\u0000","sign":"🗳️"}'.encode()


class Line(msgspec.Struct):
    """A publisher through the sidecar, and the log at its end."""

    system: System
    publisher: DaprPublisher
    client: redis.Redis

    def log(self, topic: str) -> list[Envelope]:
        entries: Any = self.client.xrange(topic)
        return [decode_event(fields[b"data"]) for _, fields in entries]

    async def start_sidecar(self) -> None:
        sidecar = self.system["tested"].sidecar
        await sidecar.start()
        await sidecar.ready(SIDECAR_CAN_PUBLISH)


@pytest.fixture
async def line(sidecar: System) -> AsyncIterator[Line]:
    host, _, port = sidecar.broker_address.partition(":")
    publisher = DaprPublisher("pubsub", sidecar["tested"].entry.grpc_port)
    with redis.Redis(host, int(port)) as client:
        yield Line(sidecar, publisher, client)
    await publisher.close()


def event(subject: str | None = None, *, topic: str = "votes", ordered: bool = True, data: bytes = b"{}") -> NewEvent:
    return NewEvent(topic=topic, id=new_id(), source="/services/votes", type="vote.cast", subject=subject, ordered=ordered, data=data)


def outgoing(made: NewEvent) -> Outgoing:
    return Outgoing(encode_event(made, Counted("0198.1", 1)), made.subject or "", made.id)


async def test_no_value_is_changed_on_the_way_into_the_log(line: Line) -> None:
    await DirectPublisher(line.publisher).publish(event("poll-1-🗳️", data=AWKWARD))
    (found,) = line.log("votes")
    assert json.loads(bytes(found.data), parse_int=str, parse_float=str) == json.loads(AWKWARD, parse_int=str, parse_float=str)
    for text in (b"9007199254740993", b"0.12345678901234567", b":1.0", b"\\u0000", "🗳️".encode()):
        assert text in bytes(found.data)
    assert found.subject == "poll-1-🗳️"


async def test_fifty_callers_are_counted_without_a_gap(line: Line) -> None:
    direct = DirectPublisher(line.publisher)

    async def caller(name: int) -> list[Place]:
        return [await direct.publish(event(f"poll-{name}-{n % 5}")) for n in range(40)]

    places = [place for some in await asyncio.gather(*map(caller, range(50))) for place in some]
    found = line.log("votes")
    assert sorted(place.sequence for place in places) == sorted(envelope.number or 0 for envelope in found) == list(range(1, 2001))
    order: dict[str, list[int]] = {}
    for envelope in found:
        order.setdefault(envelope.stream, []).append(envelope.number or 0)
    assert all(numbers == sorted(numbers) for numbers in order.values())


async def test_a_sidecar_that_is_not_there_is_a_reason_and_no_exception() -> None:
    publisher = DaprPublisher("pubsub", free_ports(1)[0])
    begin = time.monotonic()
    failed = await publisher.publish("votes", [outgoing(event()), outgoing(event())])
    assert set(failed) == {0, 1}
    assert "UNAVAILABLE" in failed[0]
    assert time.monotonic() - begin < 2
    await publisher.close()


async def test_an_unknown_pubsub_is_a_reason_that_names_it(line: Line) -> None:
    publisher = DaprPublisher("nobody", line.system["tested"].entry.grpc_port)
    failed = await publisher.publish("votes", [outgoing(event())])
    assert "nobody" in failed[0]
    await publisher.close()


async def test_the_first_publish_after_a_sidecar_came_back_is_quick(line: Line) -> None:
    assert await line.publisher.publish("votes", [outgoing(event())]) == {}
    await line.system["tested"].sidecar.kill()
    assert "UNAVAILABLE" in (await line.publisher.publish("votes", [outgoing(event())]))[0]
    await line.start_sidecar()
    begin = time.monotonic()
    direct = DirectPublisher(line.publisher)
    while True:
        try:
            await direct.publish(event(ordered=False))
            break
        except PublishFailed:
            await asyncio.sleep(0.02)  # the connection is made in the background
    assert time.monotonic() - begin < 1


async def test_a_frozen_sidecar_ends_in_the_deadline_and_goes_on(line: Line) -> None:
    direct = DirectPublisher(line.publisher, deadline_seconds=0.5)
    await direct.publish(event("x"))
    line.system["tested"].sidecar.pause()
    begin = time.monotonic()
    with pytest.raises(PublishFailed, match="no confirmation within"):
        await direct.publish(event("x"))
    assert time.monotonic() - begin < 1
    line.system["tested"].sidecar.resume()
    await until(lambda: direct.held == 0)
    await direct.publish(event("x"))
    assert list(dict.fromkeys(envelope.number for envelope in line.log("votes"))) == [1, 2, 3]


async def test_a_frozen_broker_ends_in_the_deadline_and_goes_on(line: Line) -> None:
    direct = DirectPublisher(line.publisher, deadline_seconds=0.5)
    await direct.publish(event("x"))
    line.system.broker.pause()
    begin = time.monotonic()
    with pytest.raises(PublishFailed):
        await direct.publish(event("x"))
    assert time.monotonic() - begin < 1
    line.system.broker.resume()
    await until(lambda: direct.held == 0, 15)
    await direct.publish(event("x"))
    assert list(dict.fromkeys(envelope.number for envelope in line.log("votes"))) == [1, 2, 3]


async def test_the_relay_loses_nothing_while_sidecar_and_broker_come_and_go(line: Line, tmp_path: Path) -> None:
    store = SqliteEventStore(tmp_path / "store.sqlite")
    async with Relay(store, line.publisher) as relay:
        for fault in (None, line.system["tested"].sidecar, line.system.broker):
            for n in range(50):
                stream = f"order-{n % 10}"
                await asyncio.to_thread(store.append, [Append(stream, tuple(event(stream, topic="orders") for _ in range(10)))])
                relay.ring()
                if n == 25 and fault:
                    await fault.kill()
            if fault is line.system.broker:
                await line.system.broker.start()
                await line.system.broker.ready()
            elif fault:
                await line.start_sidecar()
            await until(lambda: store.backlog() == {"orders": 0}, 30)
    first = list({envelope.id: envelope for envelope in reversed(line.log("orders"))}.values())[::-1]
    streams: dict[str, list[int]] = {}
    for envelope in first:
        streams.setdefault(envelope.stream, []).append(envelope.streamversion or 0)
    assert len(first) == 1500
    assert {stream: sorted(versions) for stream, versions in streams.items()} == {f"order-{n}": list(range(1, 151)) for n in range(10)}
    seen: dict[str, int] = {}
    for envelope in line.log("orders"):
        version = envelope.streamversion or 0
        assert version <= seen.get(envelope.stream, 0) + 1, "an event overtook the one before it"
        seen[envelope.stream] = max(seen.get(envelope.stream, 0), version)
    store.close()
