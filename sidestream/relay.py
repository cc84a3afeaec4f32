"""The relay: follows an event store and publishes what stands in it, in order, until the broker has confirmed it.

Nothing is lost: an event counts as published only when it and all before it on its topic are confirmed, and what is not
confirmed goes out again for ever, the very same bytes. A relay that dies, or a second one beside it, can only repeat.
Topics are independent of each other. The relay knows the ports only.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, Self, TypeVar

import msgspec
import structlog

from sidestream.lane import CALL_EVENTS, RETRY_SECONDS, Lane
from sidestream.ports import EventStore, Outgoing, Publisher, StoredEvent

LOOK_AHEAD: Final = 4000
"""Events of a topic on their way at once, at most."""
_SPAN: Final = 10 * LOOK_AHEAD
"""From the oldest unconfirmed event to the newest that was sent, at most: what a crash may repeat behind one that is stuck."""
_PAGE: Final = 1000
_FULL_BYTES: Final = 24 * 1024 * 1024
_MARK_SECONDS: Final = 0.05
"""Marks are written at most this often; what is confirmed but not marked is only repeated after a crash."""

Result = TypeVar("Result")
_log = structlog.get_logger(__name__)


class _Subject(msgspec.Struct, gc=False):
    subject: str | None = None


_subject_of: Final = msgspec.json.Decoder(_Subject).decode


class RelayStatus(msgspec.Struct, frozen=True):
    """How a relay is doing: events per topic that are not marked as published, and why the last attempt failed (empty: it did not)."""

    backlog: Mapping[str, int]
    last_error: str


class Relay:
    """Publishes the events of one store while its block runs: `async with Relay(store, publisher) as relay`.

    Belongs to one event loop; only `ring` may be called from any thread.
    """

    def __init__(
        self,
        store: EventStore,
        publisher: Publisher,
        *,
        sweep_seconds: float = 1.0,
        look_ahead: int = LOOK_AHEAD,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._store = _Asked(store)
        self._publisher = publisher
        self._sweep_seconds = sweep_seconds
        self._look_ahead = look_ahead
        self._retry_seconds = retry_seconds
        self._tracks: dict[str, _Track] = {}
        self._bell = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._backlog: Mapping[str, int] = {}
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
        self._task = asyncio.create_task(self._sweep(), name="relay")

    async def stop(self) -> None:
        """Start nothing new, wait for the calls in flight and mark what they confirmed."""
        self._stopping = True
        self._bell.set()
        for track in self._tracks.values():
            track.halt()
        if self._task is not None:
            await self._task
        await asyncio.gather(*(track.stop() for track in self._tracks.values()))
        self._tracks.clear()

    def ring(self) -> None:
        """Say that something was appended. From any thread; never waits, and does nothing when the relay does not run."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._rung)

    def _rung(self) -> None:
        self._bell.set()
        for track in self._tracks.values():
            track.ring()

    @property
    def status(self) -> RelayStatus:
        """How it is doing; the backlog is that of the last look, at most a sweep ago."""
        errors = (self._store.last_error, *(track.last_error for track in self._tracks.values()))
        return RelayStatus(self._backlog, next(filter(None, errors), ""))

    async def _sweep(self) -> None:
        """Look for topics with a backlog when rung, and every second in any case."""
        while not self._stopping:
            self._bell.clear()
            self._backlog = await self._store.ask(self._store.port.backlog) or self._backlog
            for topic, count in self._backlog.items():
                if count:
                    self._track(topic).ring()
            self._say_what_changed()
            await _rung_or(self._bell, self._sweep_seconds)

    def _track(self, topic: str) -> "_Track":
        if topic not in self._tracks:
            lane = Lane(self._publisher, topic, retry_seconds=self._retry_seconds)
            self._tracks[topic] = _Track(lane, self._store, self._look_ahead)
        return self._tracks[topic]

    def _say_what_changed(self) -> None:
        found = self.status.last_error
        if found and not self._said:
            _log.warning("relay: not confirmed, trying again", error=found, backlog=sum(self._backlog.values()))
        elif self._said and not found:
            _log.info("relay: goes on", backlog=sum(self._backlog.values()))
        self._said = found


class _Asked:
    """The store, asked in a thread. A relay outlives whatever its store answers: the failure is noted and the next sweep asks again."""

    def __init__(self, port: EventStore) -> None:
        self.port = port
        self._errors: dict[str, str] = {}

    @property
    def last_error(self) -> str:
        """Why a question was not answered when it was last asked."""
        return next(iter(self._errors.values()), "")

    async def ask(self, question: Callable[..., Result], *arguments: object) -> Result | None:
        """Return the answer, or None if there was none."""
        try:
            answer = await asyncio.to_thread(question, *arguments)
        except Exception as error:  # StoreAway by contract; a fault in an adapter must not end the relay in silence either
            self._errors[question.__name__] = f"{type(error).__name__}: {error}"
            return None
        self._errors.pop(question.__name__, None)
        return answer


class _Track:
    """One topic on its way: how far it is read, what of it is confirmed, and up to where it is marked."""

    def __init__(self, lane: Lane, store: _Asked, look_ahead: int) -> None:
        self._lane = lane
        self._topic = lane.topic
        self._store = store
        self._look_ahead = look_ahead
        self._read_to = self._confirmed_to = self._marked_to = 0
        self._confirmed: dict[int, int] = {}
        self._bytes = 0
        self._marked_at = 0.0
        self._hungry = True
        self._stopping = False
        self._bell = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"relay {lane.topic}")

    @property
    def last_error(self) -> str:
        return self._lane.last_error

    def ring(self) -> None:
        self._hungry = True
        self._bell.set()

    def halt(self) -> None:
        self._stopping = True
        self._lane.halt()
        self._bell.set()

    async def stop(self) -> None:
        self.halt()
        await self._task
        await self._lane.stop()
        await self._mark()

    async def _run(self) -> None:
        while not self._stopping:
            self._bell.clear()
            read = self._has_room() and await self._read()
            if self._mark_due() <= 0:
                await self._mark()
            if not read:
                await _rung_or(self._bell, self._mark_due() if self._confirmed_to > self._marked_to else None)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _has_room(self) -> bool:
        """Whether to read: there may be something, and what is on its way is down to half."""
        if not self._hungry or self._bytes > _FULL_BYTES // 2 or self._read_to - self._confirmed_to > _SPAN:
            return False
        return self._lane.load <= self._look_ahead // 2

    async def _read(self) -> bool:
        """Read a page and hand it to the lane; return whether there was one. A ring meanwhile makes hungry again."""
        self._hungry = False
        limit = min(_PAGE, self._look_ahead)
        events = await self._store.ask(self._store.port.unpublished, self._topic, limit, self._read_to)
        for event in events or ():
            self._offer(event)
        self._hungry = self._hungry or bool(events)
        return bool(events)

    def _offer(self, event: StoredEvent) -> None:
        if event.sequence > self._read_to + 1:  # another relay has marked these meanwhile
            self._confirm(self._read_to + 1, event.sequence - 1)
        self._read_to = event.sequence
        self._bytes += len(event.wire)
        self._lane.offer(_RelayParcel(self, event))

    # ── confirming and marking ───────────────────────────────────────────────────────────────────────────────────────

    def confirmed(self, event: StoredEvent) -> None:
        self._bytes -= len(event.wire)
        self._confirm(event.sequence, event.sequence)
        self._bell.set()

    def _confirm(self, first: int, last: int) -> None:
        """Note that these stand in the log; only what has no hole before it may be marked."""
        self._confirmed[first] = last
        while (end := self._confirmed.pop(self._confirmed_to + 1, None)) is not None:
            self._confirmed_to = end

    def _mark_due(self) -> float:
        """Return in how many seconds the next mark may be written."""
        return self._marked_at + _MARK_SECONDS - asyncio.get_running_loop().time()

    async def _mark(self) -> None:
        reached = self._confirmed_to
        if reached == self._marked_to:
            return
        self._marked_at = asyncio.get_running_loop().time()
        if await self._store.ask(self._mark_in_store, reached):
            self._marked_to = reached

    def _mark_in_store(self, sequence: int) -> bool:
        self._store.port.mark_published(self._topic, sequence)
        return True


class _RelayParcel:
    """One stored event on its way; it is sent until it is confirmed."""

    __slots__ = ("_event", "_subject", "_track", "failures", "key", "room", "sent", "settled", "size")

    def __init__(self, track: _Track, event: StoredEvent) -> None:
        self._track = track
        self._event = event
        self._subject = event.stream or _subject_of(event.wire).subject or ""
        self.key = self._subject if event.ordered and self._subject else None
        self.size = len(event.wire)
        self.sent = self.settled = False
        self.failures = 0
        self.room = CALL_EVENTS

    def outgoing(self) -> Outgoing:
        """Return the stored bytes."""
        return Outgoing(self._event.wire, self._subject, self._event.event_id)

    def confirmed(self) -> None:
        """See `sidestream.lane.Parcel`."""
        self._track.confirmed(self._event)

    def unconfirmed(self, reason: str) -> bool:
        """Send it again, whatever the reason."""
        return True


async def _rung_or(bell: asyncio.Event, seconds: float | None) -> None:
    """Wait for the bell, at most so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await bell.wait()
