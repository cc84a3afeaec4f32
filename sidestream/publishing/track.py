"""One topic on its way from an event store to the log: how far it is read, what of it is confirmed, up to where it is marked.

Belongs to the relay, which makes one for each topic that has a backlog. The order within a stream is the lane's promise; this
module keeps the other one: an event counts as published only when it and all before it are confirmed.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

import msgspec

from sidestream.ports import Outbox, Outgoing, StoredEvent
from sidestream.publishing.lane import CALL_EVENTS, Lane

LOOK_AHEAD: Final = 4000
"""Events of a topic on their way at once, at most."""
SPAN: Final = 10 * LOOK_AHEAD
"""From the oldest unconfirmed event to the newest that was sent, at most: what a crash may repeat behind one that is stuck."""
_PAGE: Final = 1000
_FULL_BYTES: Final = 24 * 1024 * 1024
_MARK_SECONDS: Final = 0.05
"""Marks are written at most this often; what is confirmed but not marked is only repeated after a crash."""

Result = TypeVar("Result")


class _Subject(msgspec.Struct, gc=False):
    subject: str | None = None


_subject_of: Final = msgspec.json.Decoder(_Subject).decode


class Asked:
    """The store, asked in a thread. A relay outlives whatever its store answers: the failure is noted and the next sweep asks again."""

    def __init__(self, port: Outbox) -> None:
        self.port = port
        self._errors: dict[str, str] = {}

    @property
    def last_error(self) -> str:
        """Why a question was not answered when it was last asked."""
        return next(iter([*self._errors.values()]), "")  # a copy: whoever asks may be another thread

    async def ask(self, question: Callable[..., Result], *arguments: object) -> Result | None:
        """Return the answer, or None if there was none."""
        try:
            answer = await asyncio.to_thread(question, *arguments)
        except Exception as error:  # StoreAway by contract; a fault in an adapter must not end the relay in silence either
            self._errors[_name(question)] = f"{type(error).__name__}: {error}"
            return None
        self._errors.pop(_name(question), None)
        return answer

    def error_of(self, question: Callable[..., object]) -> str:
        """Return why this was not answered when it was last asked; empty: it was, or nobody has asked yet."""
        return self._errors.get(_name(question), "")

    def failed(self, question: Callable[..., object]) -> bool:
        """Whether this was not answered when it was last asked."""
        return _name(question) in self._errors


def _name(question: Callable[..., object]) -> str:
    return getattr(question, "__qualname__", repr(question))


class Done(msgspec.Struct):
    """What was done for a topic since the process began; outlives the tracks that do it."""

    published: int = 0
    repeats: int = 0


class Track:
    """One topic on its way: how far it is read, what of it is confirmed, and up to where it is marked.

    `last_error` is why the first of those that are not confirmed was not; it stays while that one is stuck, though others pass it.
    """

    def __init__(self, lane: Lane, store: Asked, look_ahead: int, done: Done) -> None:
        self._lane = lane
        self._done = done
        self._unconfirmed: dict[int, str] = {}
        self.last_error = ""
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

    def ring(self) -> None:
        """Say that there may be more to read."""
        self._hungry = True
        self._bell.set()

    def halt(self) -> None:
        """Start nothing new."""
        self._stopping = True
        self._lane.halt()
        self._bell.set()

    async def stop(self) -> None:
        """Wait for the calls in flight and mark what they confirmed."""
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
                await rung_or(self._bell, self._mark_due() if self._confirmed_to > self._marked_to else None)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _has_room(self) -> bool:
        """Whether to read: there may be something, and what is on its way is down to half."""
        if not self._hungry or self._bytes > _FULL_BYTES // 2 or self._read_to - self._confirmed_to > SPAN:
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
        """Take note that an event stands in the log."""
        self._done.published += 1
        if self._unconfirmed.pop(event.sequence, None) is not None:
            self.last_error = next(iter(self._unconfirmed.values()), "")
        self._bytes -= len(event.wire)
        self._confirm(event.sequence, event.sequence)
        self._bell.set()

    def unconfirmed(self, event: StoredEvent, reason: str) -> None:
        """Take note that an event goes out again, and why."""
        if event.sequence not in self._unconfirmed:
            self._done.repeats += 1  # an event counts once, however often it goes out before it is confirmed
        self._unconfirmed[event.sequence] = reason
        self.last_error = next(iter(self._unconfirmed.values()))

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

    def __init__(self, track: Track, event: StoredEvent) -> None:
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
        """See `sidestream.publishing.lane.Parcel`."""
        self._track.confirmed(self._event)

    def unconfirmed(self, reason: str) -> bool:
        """Send it again, whatever the reason."""
        self._track.unconfirmed(self._event, reason)
        return True


async def rung_or(bell: asyncio.Event, seconds: float | None) -> None:
    """Wait for the bell, at most so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await bell.wait()
