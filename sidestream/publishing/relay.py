"""The relay: follows an event store and publishes what stands in it, in order, until the broker has confirmed it.

Nothing is lost: an event counts as published only when it and all before it on its topic are confirmed, and what is not
confirmed goes out again for ever, the very same bytes. One relay at a time leads, by a lease in the store; one that dies, or
an old one that wakes beside its successor, can only repeat. Topics are independent of each other. It knows the ports only.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final, Self

import structlog

from sidestream.ports import Announcing, Outbox, Publisher
from sidestream.publishing.lane import RETRY_SECONDS, Lane
from sidestream.publishing.leading import LEASE_SECONDS, Leadership
from sidestream.publishing.relay_status import RelayStatus, TopicStatus
from sidestream.publishing.track import LOOK_AHEAD, Asked, Done, Track, rung_or

_LISTEN_SECONDS: Final = 1.0
"""How long one look for what other processes append takes at most, and so how long it may hold up the end."""

_AGE_SECONDS: Final = 1.0
"""How often to look how old the oldest event is that waits, at most: under load the backlog is looked at for every append."""

_log = structlog.get_logger(__name__)


def _nothing_to_check() -> None:
    """Trust the store: for one that was never restored from a copy."""


class Relay:
    """Publishes the events of one store while its block runs: `async with Relay(store, publisher) as relay`.

    `on_lead` is called in a thread each time this relay takes over, before it publishes anything; while it raises, nothing is
    published. Belongs to one event loop; only `ring` may be called from any thread.
    """

    def __init__(
        self,
        store: Outbox,
        publisher: Publisher,
        *,
        sweep_seconds: float = 1.0,
        look_ahead: int = LOOK_AHEAD,
        retry_seconds: float = RETRY_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
        on_lead: Callable[[], object] = _nothing_to_check,
    ) -> None:
        self._store = Asked(store)
        self._leadership = Leadership(store, self._store.ask, lease_seconds)
        self._on_lead = on_lead
        self._publisher = publisher
        self._sweep_seconds = sweep_seconds
        self._look_ahead = look_ahead
        self._retry_seconds = retry_seconds
        self._tracks: dict[str, Track] = {}
        self._bell = asyncio.Event()
        self._stopping = False
        self._leads = False
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._backlog: Mapping[str, int] = {}
        self._oldest_ms: Mapping[str, int] = {}
        self._aged_at = float("-inf")
        self._done: defaultdict[str, Done] = defaultdict(Done)
        self._said = ""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Begin to follow the store."""
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        self._tasks = [asyncio.create_task(self._sweep(), name="relay")]
        if isinstance(self._store.port, Announcing):
            self._tasks.append(asyncio.create_task(self._listen(self._store.port), name="relay listens"))

    async def stop(self) -> None:
        """Start nothing new, wait for the calls in flight, mark what they confirmed, and let another one lead."""
        self._stopping = True
        self._bell.set()
        for track in self._tracks.values():
            track.halt()
        await asyncio.gather(*self._tasks)
        await self._stand_back()

    def ring(self) -> None:
        """Say that something was appended. From any thread; never waits, and does nothing when the relay does not run."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._rung)

    def _rung(self) -> None:
        self._bell.set()
        for track in self._tracks.values():
            track.ring()

    @property
    def cannot_write(self) -> str:
        """Why the store did not take a write when it was last asked for the lease; empty: it did.

        Every relay asks, the one that does not lead too, about once a second: so this costs no write of its own.
        """
        return self._store.error_of(self._leadership.take)

    @property
    def status(self) -> RelayStatus:
        """How it is doing; the backlog is that of the last look, at most a sweep ago."""
        topics = {topic: self._status_of(topic, count) for topic, count in self._backlog.items()}
        return RelayStatus(topics, self._store.last_error, self._leads)

    def _status_of(self, topic: str, backlog: int) -> TopicStatus:
        recorded_ms = self._oldest_ms.get(topic) if backlog else None
        age = max(time.time() - recorded_ms / 1000, 0.0) if recorded_ms is not None else 0.0
        track, done = self._tracks.get(topic), self._done[topic]
        return TopicStatus(backlog, age, track.last_error if track else "", done.published, done.repeats)

    async def _sweep(self) -> None:
        """Look for topics with a backlog when rung, and every second in any case."""
        while not self._stopping:
            self._bell.clear()
            self._backlog = await self._store.ask(self._store.port.backlog) or self._backlog
            if await self._lead():
                self._publish_backlog()
            self._say_what_changed()
            await self._look_how_old()
            await rung_or(self._bell, self._sweep_seconds)

    async def _look_how_old(self) -> None:
        """Note when the oldest event of each topic that waits was recorded; a relay that does not lead looks too."""
        now = asyncio.get_running_loop().time()
        if now - self._aged_at < _AGE_SECONDS:
            return
        self._aged_at = now
        waiting = [topic for topic, count in self._backlog.items() if count]
        pages = {topic: await self._store.ask(self._store.port.unpublished, topic, 1) for topic in waiting}
        if None not in pages.values():  # a store that does not answer makes nothing younger
            self._oldest_ms = {topic: page[0].recorded_ms for topic, page in pages.items() if page}

    def _publish_backlog(self) -> None:
        for topic, count in self._backlog.items():
            if count:
                self._track(topic).ring()

    def _track(self, topic: str) -> Track:
        if topic not in self._tracks:
            lane = Lane(self._publisher, topic, retry_seconds=self._retry_seconds)
            self._tracks[topic] = Track(lane, self._store, self._look_ahead, self._done[topic])
        return self._tracks[topic]

    async def _listen(self, store: Announcing) -> None:
        """Ring when another process has appended."""
        while not self._stopping:
            if await self._store.ask(store.wait_for_append, _LISTEN_SECONDS):
                self._rung()
            elif self._store.failed(store.wait_for_append):
                await asyncio.sleep(self._sweep_seconds)

    # ── leading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _lead(self) -> bool:
        """Whether this relay is the one that publishes; take over what another one left, or stand back."""
        if not await self._leadership.renew():
            await self._stand_back()
        elif not self._leads:
            await self._store.ask(self._on_lead)
            self._leads = not self._store.failed(self._on_lead)
        return self._leads

    async def _stand_back(self) -> None:
        """Wait for the calls in flight, forget what was read, and give up the lease if it is still ours."""
        await asyncio.gather(*(track.stop() for track in self._tracks.values()))
        self._tracks.clear()
        if self._leads or self._leadership.held:
            await self._leadership.give_up()
        self._leads = False

    def _say_what_changed(self) -> None:
        found = self.status.last_error
        if found and not self._said:
            _log.warning("relay: not confirmed, trying again", error=found, backlog=sum(self._backlog.values()))
        elif self._said and not found:
            _log.info("relay: goes on", backlog=sum(self._backlog.values()))
        self._said = found
