"""Publishing facts that need no event store, directly.

Concurrent callers share bulk calls, and everything is counted: a producer per process, a gapless number per topic. A caller
gets its place when the event stands in the log, else PublishFailed. An ordered event whose outcome is unknown is sent again
in the background, the very same bytes, until it is confirmed; meanwhile later events of its subject are refused, so that none
overtakes it. What must survive the death of the process goes through an event store instead.
"""

import asyncio
import os
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from typing import Final

from sidestream.applying.consistency import Place
from sidestream.errors import PublishFailed, StandsStill, SubjectOnHold
from sidestream.event import Counted, NewEvent, encode_event
from sidestream.identifiers import new_id
from sidestream.ports import Outgoing, Publisher
from sidestream.publishing.lane import CALL_EVENTS, RETRY_SECONDS, Lane
from sidestream.publishing.standstill import StandingPublisher

_MANY: Final = 2000
"""`publish_many` has at most this many events on their way."""


class DirectPublisher:
    """Publishes and waits for the confirmation. Belongs to one event loop, and begins anew in a forked process."""

    def __init__(
        self,
        publisher: Publisher,
        *,
        deadline_seconds: float = 5.0,
        capacity: int = 20_000,
        linger_seconds: float = 0.001,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._publisher = publisher
        self._deadline_seconds = deadline_seconds
        self._capacity = capacity
        self._linger_seconds = linger_seconds
        self._retry_seconds = retry_seconds
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        """Start to count: a process must never use a number that its parent has used."""
        self._process = os.getpid()
        self._producer = f"{new_id()}.1"
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._lanes: dict[str, Lane] = {}
        self._unsent: defaultdict[str, int] = defaultdict(int)
        self._held: dict[tuple[str, str], str] = {}
        self._deadlines: OrderedDict[_DirectParcel, float] = OrderedDict()
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def producer(self) -> str:
        """Who counts: `<uuid>.<epoch>`, another one in every process."""
        if self._process != os.getpid():
            self._begin()
        return self._producer

    @property
    def waiting(self) -> int:
        """How many events wait, are on their way, or are held."""
        return sum(lane.load for lane in self._lanes.values())

    @property
    def held(self) -> int:
        """How many subjects are on hold because an event of theirs is unconfirmed."""
        return len(self._held)

    @property
    def last_error(self) -> str:
        """Why the last call to the broker failed; empty when it went well."""
        return next((lane.last_error for lane in self._lanes.values() if lane.last_error), "")

    async def publish(self, event: NewEvent) -> Place:
        """Publish one event and return its place in the count when it is confirmed.

        Raises:
            InvalidEvent: it must not enter the log; no number was spent.
            SubjectOnHold: an earlier event of its subject is unconfirmed.
            PublishFailed: not confirmed within the deadline, or too much is waiting already.
        """
        parcel = self._prepare(event, 1)
        self._offer(parcel)
        try:
            return await parcel.outcome
        except asyncio.CancelledError:
            self._give_up(parcel, "its caller left")
            raise

    async def publish_many(self, events: Sequence[NewEvent]) -> tuple[Place, ...]:
        """Publish events and return their places, in the order given; those of one subject stand in the log in that order.

        Raises:
            InvalidEvent: one of them must not enter the log; none was sent.
            PublishFailed: at least one was not confirmed, the message says how many; the others stand in the log.
        """
        parcels = [self._prepare(event, ahead) for ahead, event in enumerate(events, 1)]
        for begin in range(0, len(parcels), _MANY):
            some = parcels[begin : begin + _MANY]
            await self._publish_some(some)
            failures = [failure for parcel in some if (failure := parcel.outcome.exception())]
            if failures:
                confirmed = begin + len(some) - len(failures)
                raise PublishFailed(f"{confirmed} of {len(events)} events are confirmed. The first of the others: {failures[0]}")
        return tuple(parcel.outcome.result() for parcel in parcels)

    async def _publish_some(self, parcels: Sequence["_DirectParcel"]) -> None:
        for parcel in parcels:
            self._offer(parcel)
        try:
            await asyncio.wait([parcel.outcome for parcel in parcels])
        except asyncio.CancelledError:
            for parcel in parcels:
                self._give_up(parcel, "its caller left")
            raise

    async def close(self) -> None:
        """Send what waits, for as long as the deadline; then give up what is not confirmed."""
        self._closed = True
        lanes = tuple(self._lanes.values())
        try:
            async with asyncio.timeout(self._deadline_seconds):
                await asyncio.gather(*(lane.drained() for lane in lanes))
        except TimeoutError:
            pass
        await asyncio.gather(*(lane.stop() for lane in lanes))

    # ── admission ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _prepare(self, event: NewEvent, ahead: int) -> "_DirectParcel":
        """Encode an event with the number it gets if all that waits goes out before it, `ahead` - 1 more too.

        Numbers are given at sending, so that none is spent on what never leaves; then only a wrong guess is encoded again.
        Every number has as many digits, so what is valid now is valid then.
        """
        counted = Counted(self.producer, self._counts[event.topic] + self._unsent[event.topic] + ahead)
        return _DirectParcel(self, event, counted, encode_event(event, counted))

    def _offer(self, parcel: "_DirectParcel") -> None:
        """Hand an event to its lane, or refuse it in its outcome."""
        refusal = self._refusal(parcel)
        if refusal is not None:
            parcel.refuse(refusal)
            return
        topic = parcel.event.topic
        if topic not in self._lanes:
            linger, retry = self._linger_seconds, self._retry_seconds
            self._lanes[topic] = Lane(self._publisher, topic, linger_seconds=linger, retry_seconds=retry)
        self._unsent[topic] += 1
        self._set_deadline(parcel)
        self._lanes[topic].offer(parcel)

    def _refusal(self, parcel: "_DirectParcel") -> PublishFailed | None:
        event = parcel.event
        if self._closed:
            return PublishFailed(f"event {event.id}: the publisher is closed. Nothing was sent.")
        if isinstance(self._publisher, StandingPublisher) and (standing := self._publisher.stands_still()):
            return StandsStill(f"event {event.id}: {standing} Nothing was sent; try again.")
        if self.waiting >= self._capacity:
            return PublishFailed(f"event {event.id}: {self._capacity} events are waiting already. Nothing was sent; try again later.")
        if parcel.key is not None and (reason := self._held.get((event.topic, parcel.key))):
            return _on_hold(event, reason)
        return None

    # ── outcome ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _set_deadline(self, parcel: "_DirectParcel") -> None:
        """All have the same deadline, so they expire in the order they came: one alarm for the oldest is enough."""
        loop = asyncio.get_running_loop()
        self._deadlines[parcel] = due = loop.time() + self._deadline_seconds
        if self._alarm is None:
            self._alarm = loop.call_at(due, self._expire)

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        self._alarm = None
        while self._deadlines:
            parcel, due = next(iter(self._deadlines.items()))
            if due > loop.time():
                self._alarm = loop.call_at(due, self._expire)
                return
            del self._deadlines[parcel]
            self._give_up(parcel, f"no confirmation within {self._deadline_seconds} s")

    def _give_up(self, parcel: "_DirectParcel", reason: str) -> None:
        """Nobody waits any longer. What was never sent is forgotten, without a number; of what was sent the outcome is unknown."""
        event = parcel.event
        self._deadlines.pop(parcel, None)
        if parcel.settled or event.topic not in self._lanes:
            return
        if self._lanes[event.topic].withdraw(parcel):
            self._unsent[event.topic] -= 1
            parcel.refuse(PublishFailed(f"event {event.id} on {event.topic}: not sent, {reason}. Try again later."))
            return
        self.hold(parcel, reason)
        parcel.refuse(_unknown(event, reason))

    def count(self, topic: str) -> Counted:
        """Spend the next number of a topic."""
        self._counts[topic] += 1
        self._unsent[topic] -= 1
        return Counted(self._producer, self._counts[topic])

    def hold(self, parcel: "_DirectParcel", reason: str) -> None:
        """Refuse later events of the subject, those that wait already too, until this one is confirmed."""
        if parcel.key is None:
            return
        self._held[parcel.event.topic, parcel.key] = f"event {parcel.event.id} is unconfirmed: {reason}"
        for other in self._lanes[parcel.event.topic].withdraw_behind(parcel):
            if isinstance(other, _DirectParcel):
                self._unsent[other.event.topic] -= 1
                self._deadlines.pop(other, None)
                other.refuse(_on_hold(other.event, reason))

    def release(self, parcel: "_DirectParcel") -> None:
        """The event is confirmed: its subject goes on."""
        self._deadlines.pop(parcel, None)
        if parcel.key is not None:
            self._held.pop((parcel.event.topic, parcel.key), None)


class _DirectParcel:
    """One event, and the caller who waits for it."""

    __slots__ = ("_counted", "_outgoing", "_owner", "_wire", "event", "failures", "key", "outcome", "room", "sent", "settled", "size")

    def __init__(self, owner: DirectPublisher, event: NewEvent, counted: Counted, wire: bytes) -> None:
        self._owner = owner
        self._counted = counted
        self._wire = wire
        self._outgoing: Outgoing | None = None
        self.event = event
        self.key = event.subject if event.ordered and event.subject else None
        self.size = len(wire)
        self.sent = self.settled = False
        self.failures = 0
        self.room = CALL_EVENTS
        self.outcome: asyncio.Future[Place] = asyncio.get_running_loop().create_future()

    def outgoing(self) -> Outgoing:
        """Return the wire; the number is given at the first sending."""
        if self._outgoing is None:
            counted = self._owner.count(self.event.topic)
            if counted != self._counted:
                self._counted, self._wire = counted, encode_event(self.event, counted)
            self._outgoing = Outgoing(self._wire, self.event.subject or "", self.event.id)
        return self._outgoing

    def confirmed(self) -> None:
        """Tell the caller."""
        self._owner.release(self)
        if not self.outcome.done():
            self.outcome.set_result(Place(self.event.topic, self._counted.producer, self._counted.sequence))

    def unconfirmed(self, reason: str) -> bool:
        """Tell the caller, and keep sending what nothing may overtake."""
        self._owner.hold(self, reason)
        self.refuse(_unknown(self.event, reason))
        return self.key is not None

    def refuse(self, error: PublishFailed) -> None:
        """Tell the caller, if it still waits."""
        if not self.outcome.done():
            self.outcome.set_exception(error)
            self.outcome.exception()  # a caller who has left does not ask for it


def _unknown(event: NewEvent, reason: str) -> PublishFailed:
    return PublishFailed(f"event {event.id} on {event.topic}: expected a confirmation, found: {reason}. It may stand in the log or not.")


def _on_hold(event: NewEvent, reason: str) -> SubjectOnHold:
    return SubjectOnHold(f"event {event.id}: subject {event.subject} is on hold, {reason}. Nothing was sent; try again later.")
