"""What a probe stands on: a sidecar to publish through, an app that is delivered to, the log, and hands that may kill the parts."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import httpx

from sidestream.conformance.deliveries import Deliveries
from sidestream.conformance.events import event
from sidestream.conformance.results import Verdict
from sidestream.conformance.topics import Topics
from sidestream.errors import LogUnavailable, PublishFailed
from sidestream.event import CONTENT_TYPE
from sidestream.ports import EventLog, LogEntry, Outgoing, Publisher

LISTENING: Final = "listening"
_PAGE: Final = 1000
_LISTEN_SECONDS: Final = 90.0


class Killable(Protocol):
    """A process of the stage."""

    async def kill(self) -> None:
        """End it with SIGKILL."""
        ...

    async def back(self) -> None:
        """Start it again and wait until it answers."""
        ...


class Outage(Protocol):
    """A way to take the broker away for a while."""

    kind: Literal["killed", "paused"]

    async def away(self) -> None:
        """Take it away."""
        ...

    async def back(self) -> None:
        """Let it answer again."""
        ...


@dataclass(frozen=True)
class Size:
    """How much is published.

    Attributes:
        few: events where each is waited for.
        many: events of a rate.
        calls: bulk calls whose order is looked at.
    """

    few: int
    many: int
    calls: int


@dataclass(frozen=True)
class Loss:
    """What a lost delivery is called, how bad it is, and what it means."""

    what: str
    verdict: Verdict
    meaning: str


_LOST_BELL: Final = Loss(
    "bells", "note", "A bell may be lost: the projection finds the event in the log at its next sweep, a second later at most."
)
_LOST_EVENT: Final = Loss("events", "bad", "Projections here live on deliveries: one that is lost is an event that they never count.")
QUICK: Final = Size(few=100, many=2_000, calls=5)
FULL: Final = Size(few=500, many=20_000, calls=20)


@dataclass(frozen=True)
class Fresh:
    """An app that was never there before: its own sidecar, its own consumer."""

    publisher: Publisher
    deliveries: Deliveries


@dataclass(frozen=True)
class Stage:
    """Everything a probe may use.

    Attributes:
        log: None where the broker has none that can be read.
        quiet: seconds without an arrival after which what is missing counts as lost.
        broker: None where it may not be touched.
        fresh: starts another app that subscribes to a topic.
    """

    topics: Topics
    size: Size
    quiet: float
    pubsub: str
    sidecar_url: str
    publisher: Publisher
    deliveries: Deliveries
    log: EventLog | None
    app: Killable
    sidecar: Killable
    broker: Outage | None
    fresh: Callable[[str], AbstractAsyncContextManager[Fresh]]

    @property
    def loss(self) -> "Loss":
        """What it means when a delivery is lost: little where the log is read, else an event that nobody counts."""
        return _LOST_EVENT if self.log is None else _LOST_BELL

    async def publish(self, topic: str, events: Sequence[Outgoing]) -> None:
        """Publish in one bulk call; raises PublishFailed when one of them is not confirmed."""
        refused = await self.publisher.publish(self.topics[topic], events)
        if refused:
            raise PublishFailed(f"topic {topic}: expected {len(events)} confirmed, {len(refused)} are not: {next(iter(refused.values()))}")

    async def try_to_publish(self, topic: str, events: Sequence[Outgoing]) -> list[int]:
        """Publish in one bulk call; return the indices of what was confirmed."""
        refused = await self.publisher.publish(self.topics[topic], events)
        return [index for index in range(len(events)) if index not in refused]

    async def publish_one(self, client: httpx.AsyncClient, topic: str, sent: Outgoing) -> None:
        """Publish by HTTP, as any client would; raises PublishFailed."""
        url = f"{self.sidecar_url}/v1.0/publish/{self.pubsub}/{self.topics[topic]}"
        try:
            answer = await client.post(url, content=sent.wire, headers={"content-type": CONTENT_TYPE})
        except httpx.HTTPError as problem:
            raise PublishFailed(f"topic {topic}: {type(problem).__name__} {problem}") from problem
        if answer.status_code >= httpx.codes.BAD_REQUEST:
            raise PublishFailed(f"topic {topic}: {answer.status_code} {answer.text}")

    async def recorded(self, topic: str) -> list[bytes]:
        """Return everything the log holds of a topic, in its order; a broker that was away is waited for."""
        assert self.log is not None
        return await asyncio.to_thread(_read_all, self.log, self.topics[topic], time.monotonic() + self.quiet)

    async def listen(self) -> None:
        """Wait until every subscription delivers: daprd is healthy before its readers are."""
        wanted = {subscribed.topic for subscribed in self.topics.subscribed(raw=False)}
        await listen(self.publisher, self.deliveries, wanted)


async def listen(publisher: Publisher, deliveries: Deliveries, wanted: set[str]) -> None:
    """Publish events of no meaning to these topics until each has delivered one.

    Raises:
        PublishFailed: one did not in time.
    """
    end, number = time.monotonic() + _LISTEN_SECONDS, 0
    while missing := wanted - {each.topic for each in deliveries.of(LISTENING)}:
        if time.monotonic() > end:
            raise PublishFailed(f"expected a delivery on {', '.join(sorted(missing))} within {_LISTEN_SECONDS:g} s, found none.")
        for topic in sorted(missing):
            await publisher.publish(topic, [event(LISTENING, number, event_id=f"{topic}-{LISTENING}-{number}")])
        number += 1
        await deliveries.until(lambda: wanted <= {each.topic for each in deliveries.of(LISTENING)}, 1.0)


def _read_all(log: EventLog, topic: str, end: float) -> list[bytes]:
    while True:
        try:
            return [entry.data for entry in _entries(log, topic)]
        except LogUnavailable:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def _entries(log: EventLog, topic: str) -> list[LogEntry]:
    found = list(log.read(topic, None, _PAGE))
    while page := log.read(topic, found[-1].position, _PAGE)[1:] if found else ():
        found += page
    return found
