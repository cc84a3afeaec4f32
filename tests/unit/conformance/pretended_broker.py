"""A broker that is wrong in just one way, and the stage of a check on it: in this process, with the probe app's own recorder."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import msgspec

from sidestream.adapters.memory_log import MemoryLog
from sidestream.conformance.app import Recorder, Subscribed
from sidestream.conformance.deliveries import Deliveries
from sidestream.conformance.events import ERROR, HANG
from sidestream.conformance.stage import Fresh, Size, Stage
from sidestream.conformance.topics import Topics
from sidestream.ports import Outgoing

Wires = list[bytes]
PREFIX = "sidestream-check-unit"


def as_it_is(wires: Wires) -> Wires:
    return wires


class PretendedBroker:
    """Confirms what it is given; what it records and delivers of it is up to the test.

    Attributes:
        records, delivers: what becomes of the events of a call.
        redelivers: how often an event that was answered with an error, or not at all, comes again.
        dead_letters: whether what is given up goes to the dead-letter topic.
        refuses: what every call is answered with instead, where it is set.
    """

    def __init__(self, record: Path) -> None:
        self.log = MemoryLog()
        self.records: Callable[[Wires], Wires] = as_it_is
        self.delivers: Callable[[Wires], Wires] = as_it_is
        self.redelivers = 0
        self.dead_letters = False
        self.refuses = ""
        self.published = 0
        self._recorder = Recorder(record)
        self._held: list[tuple[str, bytes]] = []

    async def publish(self, topic: str, events: Sequence[Outgoing]) -> Mapping[int, str]:
        self.published += len(events)
        if self.refuses:
            return dict.fromkeys(range(len(events)), self.refuses)
        wires = [each.wire for each in events]
        if recorded := self.records(list(wires)):
            self.log.record(topic, recorded)
        self._deliver(topic, self.delivers(list(wires)))
        return {}

    async def close(self) -> None: ...

    def deliver_what_is_held(self) -> None:
        """What a broker does that keeps what was not answered."""
        held, self._held = self._held, []
        for topic, wire in held:
            self._deliver(topic, [wire])

    def _deliver(self, topic: str, wires: Wires) -> None:
        for wire, answer in zip(wires, self._recorder.take(Subscribed(topic), wires), strict=True):
            if answer == HANG:
                self._held.append((topic, wire))
            if answer == ERROR:
                self._after_an_error(topic, wire)

    def _after_an_error(self, topic: str, wire: bytes) -> None:
        for _ in range(self.redelivers):
            if self._recorder.take(Subscribed(topic), [wire]) != [ERROR]:
                return
        if self.dead_letters:
            dead = f"{PREFIX}-dead"
            self._recorder.take(Subscribed(dead, answers_ok=True), [wire])


class Hand:
    """Kills nothing; what happens when it is back is up to the test."""

    kind: Literal["killed", "paused"] = "paused"

    def __init__(self, when_back: Callable[[], None]) -> None:
        self.when_back = when_back
        self.killed = 0

    async def kill(self) -> None:
        self.killed += 1

    async def away(self) -> None:
        self.killed += 1

    async def back(self) -> None:
        self.when_back()


def stage_on(broker: PretendedBroker, record: Path, *, log: bool = True, keeps: bool = False, quiet: float = 0.05) -> Stage:
    """A stage on a pretended broker; `keeps`: what was held is delivered again after a kill."""

    @asynccontextmanager
    async def fresh(topic: str) -> AsyncIterator[Fresh]:
        yield Fresh(broker, Deliveries(record))

    hand = Hand(broker.deliver_what_is_held if keeps else lambda: None)
    return Stage(
        topics=Topics(PREFIX, quick=False),
        size=Size(few=20, many=400, calls=2),
        quiet=quiet,
        pubsub="pubsub",
        sidecar_url="http://127.0.0.1:1",
        publisher=broker,
        deliveries=Deliveries(record),
        log=broker.log if log else None,
        app=hand,
        sidecar=hand,
        broker=hand,
        fresh=fresh,
    )


def with_number(wires: Wires, n: int) -> Wires:
    """Those of the events that carry this number."""
    return [wire for wire in wires if msgspec.json.decode(wire)["data"]["n"] == n]
