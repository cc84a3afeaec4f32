"""The way of one topic's events to the broker, shared by the relay and the direct publisher.

A lane sends many events at once, but never two of one key: the next event of a key goes out when the one before is confirmed.
So the first occurrences of the events of a key stand in the log in the order they were offered, although a bulk publish keeps
no order. It is design.md's wave, taken key by key: no key waits for another one's call. What is not confirmed goes out again,
the same bytes, as long as its parcel says so. Everything runs on one event loop; nothing here knows a clock or a store.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from sidestream.ports import Outgoing, Publisher

CALL_EVENTS: Final = 400
"""Events in one bulk call: more gain little throughput and cost latency (measured)."""
CALL_BYTES: Final = 3 * 1024 * 1024
CALLS_IN_FLIGHT: Final = 4
RETRY_SECONDS: Final = 0.05
"""The pause before the first repeat; it doubles up to forty times as much, 2 s."""
_OUTAGE: Final = 3
"""This many failed calls in a row are the sidecar's fault, not one event's."""


class Parcel(Protocol):
    """One event on its way.

    Attributes:
        key: within what it keeps its order; None: it does not matter.
        size: about how many bytes it has.
        sent: whether it has gone out at least once; set by the lane.
        failures: how often it was not confirmed; set by the lane.
        room: how many events its next call may hold; CALL_EVENTS at first, set by the lane.
        settled: whether the lane has let go of it.
    """

    key: str | None
    size: int
    sent: bool
    failures: int
    room: int
    settled: bool

    def outgoing(self) -> Outgoing:
        """Return what is to be sent; every time the same bytes."""
        ...

    def confirmed(self) -> None:
        """Take note that the event stands in the log."""
        ...

    def unconfirmed(self, reason: str) -> bool:
        """Take note that it may stand in the log or not; return whether to send it again."""
        ...


class Lane:
    """Sends parcels of one topic; an object of one event loop.

    `load` is how many parcels it holds, `last_error` why the last failed call failed, empty when the last call went well.
    """

    def __init__(self, publisher: Publisher, topic: str, *, linger_seconds: float = 0.0, retry_seconds: float = RETRY_SECONDS) -> None:
        self.topic = topic
        self.load = 0
        self.last_error = ""
        self._publisher = publisher
        self._linger_seconds = linger_seconds
        self._retry_seconds = retry_seconds
        self._ready: deque[Parcel] = deque()
        self._behind: dict[str, deque[Parcel] | None] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._failed_calls = 0
        self._outages = 0
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        self._empty = asyncio.Event()
        self._empty.set()

    # ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def offer(self, parcel: Parcel) -> None:
        """Take a parcel; it goes out after what was offered before it under its key."""
        self.load += 1
        self._empty.clear()
        key = parcel.key
        if key is None or key not in self._behind:
            if key is not None:
                self._behind[key] = None
            self._make_ready(parcel)
            return
        queue = self._behind[key]
        if queue is None:
            queue = self._behind[key] = deque()
        queue.append(parcel)

    def withdraw(self, parcel: Parcel) -> bool:
        """Let go of a parcel that was never sent; return False where it is too late for that."""
        if parcel.sent or parcel.settled:
            return False
        self._let_go(parcel)
        return True

    def withdraw_behind(self, parcel: Parcel) -> Sequence[Parcel]:
        """Let go of all parcels that wait behind this one, and return them."""
        if parcel.key is None or parcel.settled:
            return ()
        waiting = [other for other in self._behind.get(parcel.key) or () if not other.settled]
        self._behind[parcel.key] = None
        for other in waiting:
            self._let_go(other)
        return waiting

    def _let_go(self, parcel: Parcel) -> None:
        parcel.settled = True
        self.load -= 1
        if not self.load:
            self._empty.set()

    # ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _make_ready(self, parcel: Parcel) -> None:
        self._ready.append(parcel)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._linger_seconds, self._ring)
        if len(self._ready) == CALL_EVENTS:
            asyncio.get_running_loop().call_soon(self._pump)

    def _ring(self) -> None:
        self._timer = None
        self._pump()

    def _pump(self) -> None:
        """Send calls until nothing is ready or enough of them are in flight."""
        while self._ready and len(self._calls) < CALLS_IN_FLIGHT and not self._stopped:
            if parcels := self._cut():
                call = asyncio.get_running_loop().create_task(self._call(parcels))
                self._calls.add(call)
                call.add_done_callback(self._ended)

    def _cut(self) -> list[Parcel]:
        """Take the parcels of the next call: as many as the most unlucky among them allows."""
        parcels: list[Parcel] = []
        room, weight = CALL_EVENTS, 0
        while self._ready:
            parcel = self._ready[0]
            room = min(room, parcel.room)
            if parcels and (len(parcels) >= room or weight + parcel.size > CALL_BYTES):
                break
            self._ready.popleft()
            if parcel.settled:
                self._advance(parcel)
                continue
            parcel.sent = True  # here, not when the call begins: what is taken can be withdrawn no more
            parcels.append(parcel)
            weight += parcel.size
        return parcels

    async def _call(self, parcels: Sequence[Parcel]) -> None:
        try:
            failed = await self._publisher.publish(self.topic, [parcel.outgoing() for parcel in parcels])
        except Exception as error:  # an adapter that breaks its promise must not leave callers waiting for ever
            failed = dict.fromkeys(range(len(parcels)), f"{type(error).__name__}: {error}")
        self._note_health(parcels, failed)
        again = []
        for index, parcel in enumerate(parcels):
            if index not in failed:
                self._confirm(parcel)
            elif self._repeat(parcel, failed[index]):
                again.append(parcel)
        if again:
            self._send_again_later(again)

    def _confirm(self, parcel: Parcel) -> None:
        self._let_go(parcel)
        parcel.confirmed()
        self._advance(parcel)

    def _repeat(self, parcel: Parcel, reason: str) -> bool:
        if parcel.unconfirmed(reason):
            return True
        self._let_go(parcel)
        self._advance(parcel)
        return False

    def _advance(self, parcel: Parcel) -> None:
        """The parcel is out of the way: the next one of its key is ready."""
        if parcel.key is None:
            return
        queue = self._behind[parcel.key]
        while queue:
            following = queue.popleft()
            if not following.settled:
                self._make_ready(following)
                return
        del self._behind[parcel.key]

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._pump()

    # ── again ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _note_health(self, parcels: Sequence[Parcel], failed: Mapping[int, str]) -> None:
        """Tell an outage from a bad event.

        What fails together is sent again in quarters, so that an event the sidecar refuses soon stands alone and does not take
        its neighbours with it. After an outage that would be slow and pointless: the first success forgets it.
        """
        self.last_error = next(iter(failed.values()), "")
        if len(failed) < len(parcels):
            if self._failed_calls >= _OUTAGE:
                self._outages += 1
                _give_room(self._ready)
            self._failed_calls = 0
        elif len(parcels) > 1:
            self._failed_calls += 1
            for parcel in parcels:
                parcel.room = max(len(parcels) // 4, 1)

    def _send_again_later(self, parcels: Sequence[Parcel]) -> None:
        for parcel in parcels:
            parcel.failures += 1
        most = max(parcel.failures for parcel in parcels)
        pause = self._retry_seconds * min(2 ** min(most - 1, 10), 40)
        asyncio.get_running_loop().call_later(pause, self._send_again, parcels, self._outages)

    def _send_again(self, parcels: Sequence[Parcel], outages: int) -> None:
        """Put them before all others: what was offered first should be confirmed first."""
        if outages != self._outages:
            _give_room(parcels)
        self._ready.extendleft(reversed(parcels))
        self._pump()

    # ── end ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def drained(self) -> None:
        """Wait until the lane holds nothing."""
        await self._empty.wait()

    def halt(self) -> None:
        """Start no further call."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    async def stop(self) -> None:
        """Start no further call, and wait for those in flight."""
        self.halt()
        while self._calls:
            await asyncio.wait(self._calls)


def _give_room(parcels: Iterable[Parcel]) -> None:
    for parcel in parcels:
        parcel.room = CALL_EVENTS
