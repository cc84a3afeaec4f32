"""Every publisher keeps the promises of `sidestream.ports.Publisher`:
what is not named as unconfirmed stands in the log, value by value."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
import redis

from sidestream.adapters.dapr_publisher import DaprPublisher
from sidestream.adapters.memory_log import MemoryLog, MemoryPublisher
from sidestream.event import MAX_EVENT_BYTES, Counted, Envelope, NewEvent, decode_event, encode_event
from sidestream.identifiers import new_id
from sidestream.ports import Outgoing, Publisher
from tests.parts import running_sidecar

AWKWARD = '{"big":9007199254740993,"float":0.12345678901234567,"one":1.0,"nul":"\\u0000","sign":"🗳️","html":"<&>"}'.encode()


class Door(msgspec.Struct):
    """A publisher, and a look at the log behind it."""

    publisher: Publisher
    recorded: Callable[[str], Sequence[bytes]]


@pytest_asyncio.fixture(scope="module", params=["memory", "dapr"], loop_scope="module")
async def door(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    if request.param == "memory":
        log = MemoryLog()
        yield Door(MemoryPublisher(log), lambda topic: [entry.data for entry in log.read(topic, None, 9999)])
        return
    folder: Path = tmp_path_factory.mktemp("publisher")
    async with running_sidecar(folder) as system:
        host, _, port = system.broker_address.partition(":")
        client: Any = redis.Redis(host, int(port))
        publisher = DaprPublisher("pubsub", system["tested"].entry.grpc_port)
        yield Door(publisher, lambda topic: [fields[b"data"] for _, fields in client.xrange(topic)])
        await publisher.close()
        client.close()


def outgoing(number: int, subject: str | None = "order-1", data: bytes = b"{}") -> Outgoing:
    event = NewEvent(topic="orders", id=new_id(), source="/services/orders", type="order.placed", subject=subject, data=data)
    return Outgoing(encode_event(event, Counted("0198.1", number, number)), subject or "", event.id)


def as_written(data: bytes) -> object:
    """Return the data with every number as its text: a sidecar may sort keys and escape characters, but not touch a value."""
    return json.loads(data, parse_int=str, parse_float=str)


def read(door: Door, topic: str) -> list[Envelope]:
    return [decode_event(data) for data in door.recorded(topic)]


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_what_is_confirmed_stands_in_the_log(door: Door) -> None:
    events = [outgoing(number) for number in range(1, 251)]
    assert await door.publisher.publish("several", events) == {}
    assert {envelope.id for envelope in read(door, "several")} == {event.event_id for event in events}


async def test_nothing_is_no_call(door: Door) -> None:
    assert await door.publisher.publish("nothing", []) == {}
    assert door.recorded("nothing") == []


async def test_data_and_attributes_arrive_as_they_were_sent(door: Door) -> None:
    sent = outgoing(9007199254740993, "poll-🗳️", AWKWARD)
    assert await door.publisher.publish("awkward", [sent]) == {}
    (found,) = read(door, "awkward")
    expected = decode_event(sent.wire)
    assert as_written(bytes(found.data)) == as_written(AWKWARD)
    for attribute in ("id", "source", "type", "subject", "producer", "sequence", "streamversion", "datacontenttype"):
        assert getattr(found, attribute) == getattr(expected, attribute)


async def test_an_event_without_subject_or_data_passes(door: Door) -> None:
    event = NewEvent(topic="bare", id="1", source="s", type="t")
    assert await door.publisher.publish("bare", [Outgoing(encode_event(event, Counted("p", 1)), "", "1")]) == {}
    assert [(found.id, found.subject) for found in read(door, "bare")] == [("1", None)]


async def test_a_bulk_larger_than_one_call_is_cut(door: Door) -> None:
    events = [outgoing(number, data=b'"' + b"x" * 100_000 + b'"') for number in range(1, 121)]
    assert await door.publisher.publish("large", events) == {}
    assert len(door.recorded("large")) == 120


async def test_the_largest_event_passes(door: Door) -> None:
    room = MAX_EVENT_BYTES - len(outgoing(1, "s" * 500, b'""').wire)
    largest = outgoing(1, "s" * 500, b'"' + b"x" * room + b'"')
    assert len(largest.wire) == MAX_EVENT_BYTES
    assert await door.publisher.publish("largest", [largest, outgoing(2)]) == {}
    assert {envelope.id for envelope in read(door, "largest")} >= {largest.event_id}


async def test_the_same_event_may_be_published_again(door: Door) -> None:
    event = outgoing(1)
    assert await door.publisher.publish("again", [event]) == await door.publisher.publish("again", [event]) == {}
    assert [envelope.id for envelope in read(door, "again")] == [event.event_id] * 2
