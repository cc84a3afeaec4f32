"""Who leads: of several processes on one store the one that holds a lease in that store.

A lease is a matter of order, not of safety: whoever believes to lead although its lease ran out (it was stopped and woke
up) only repeats what its successor has done. So nothing here fences anybody out. Whoever does more than repeat asks
`Standstill.is_held` before every write.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol, Self

from sidestream.errors import StoreAway
from sidestream.identifiers import new_id

LEASE_SECONDS: Final = 3.0
"""How long a leader that died keeps its successor waiting, at most; it is renewed three times as often."""
RELAY: Final = "relay"
"""The lease of whoever publishes a store's events."""
PAUSE: Final = "pause"
"""The lease of whoever wants nobody to publish them now."""


class Leases(Protocol):
    """The part of a store that gives leases; see `sidestream.ports.Outbox`."""

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew a lease."""
        ...

    def end_lease(self, name: str, holder: str) -> None:
        """Give up one's own lease."""
        ...


class Leadership:
    """One candidate. Asks the store in a thread, through `ask`, which answers None where the store could not be asked."""

    def __init__(self, store: Leases, ask: Callable[..., Awaitable[bool | None]], seconds: float = LEASE_SECONDS) -> None:
        self._store = store
        self._ask = ask
        self._seconds = seconds
        self._holder = new_id()
        self._asked_at = float("-inf")
        self.held = False

    async def renew(self) -> bool:
        """Take the lease, or keep it, and return whether it is held. A store that is away changes nothing."""
        now = asyncio.get_running_loop().time()
        if now - self._asked_at < self._seconds / 3:
            return self.held
        answer = await self._ask(self.take)
        if answer is not None:
            self.held, self._asked_at = answer, now
        return self.held

    async def give_up(self) -> None:
        """Let a successor begin at once. Call it when nothing is on its way any more."""
        await self._ask(self._end)
        self.held = False

    def take(self) -> bool:
        """Ask the store for the lease: two writes of a row, whoever holds it. Blocks."""
        paused = not self._store.lease(PAUSE, self._holder, 0)  # for no time at all: asks whether somebody else holds it
        return not paused and self._store.lease(RELAY, self._holder, self._seconds)

    def _end(self) -> bool:
        self._store.end_lease(RELAY, self._holder)
        return True


def _seconds_asleep_or_not() -> float:
    """Return seconds that go on while the machine sleeps, as the lease does; not so `time.monotonic`."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Standstill:
    """A lease held by a program without an event loop for the length of a block, renewed by a thread of its own.

    Where it could not be renewed in time it is lost, although it may be free again: nobody knows who was there meanwhile.
    """

    def __init__(
        self, store: Leases, name: str, seconds: float = 5 * LEASE_SECONDS, clock: Callable[[], float] = _seconds_asleep_or_not
    ) -> None:
        self._store = store
        self._name = name
        self._seconds = seconds
        self._clock = clock
        self._held_until = float("-inf")
        self._holder = new_id()
        self._ended = threading.Event()
        self._renewing = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._renewing.is_alive():
            self._renewing.join()
        self._store.end_lease(self._name, self._holder)

    def held(self, patience_seconds: float) -> bool:
        """Take the lease, waiting so long for whoever holds it; return whether it was had."""
        until = time.monotonic() + patience_seconds
        asked_at = self._clock()
        while not self._store.lease(self._name, self._holder, self._seconds):
            if time.monotonic() >= until:
                return False
            self._ended.wait(0.1)
            asked_at = self._clock()
        self._held_until = asked_at + self._seconds
        self._renewing.start()
        return True

    @property
    def is_held(self) -> bool:
        """Whether the lease was held without a break since it was taken."""
        return self._clock() < self._held_until

    def _renew(self) -> None:
        while not self._ended.wait(self._seconds / 5):
            asked_at = self._clock()
            with suppress(StoreAway):  # it has four more chances before the lease ends
                renewed = self._store.lease(self._name, self._holder, self._seconds)
                if not renewed or not self.is_held:  # held still when the answer came, so without a break
                    self._held_until = float("-inf")
                    return
                self._held_until = asked_at + self._seconds
