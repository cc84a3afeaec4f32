"""Threads that want to store something at once take turns together: one leads, and stores for all who wait.

While a turn is on its way to the disk the next one gathers, so that the wait for the disk is shared. Whoever is done leaves at
once and is not held up by the next turn; the lead goes straight to the oldest who waits. Knows no database.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Final

from sidestream.errors import StoreAway
from sidestream.ports import Answer, Append, StoredEvent

Call = tuple[Sequence[Append], Answer | None]
"""What one writer wants stored."""
_CALLS: Final = 256
"""At most this many calls share a turn."""
FULL: Final = 5000
"""A turn is full when it has so many events."""


class Ticket:
    """One call that waits for its turn."""

    __slots__ = ("_bell", "call", "failure", "is_leader", "is_settled", "stored")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.stored: tuple[StoredEvent, ...] = ()
        self.failure: Exception | None = None
        self.is_leader = False
        self.is_settled = False
        self._bell = threading.Lock()
        self._bell.acquire()

    def wait(self) -> None:
        """Wait to be settled, or to lead."""
        self._bell.acquire()

    def ring(self) -> None:
        """Wake whoever waits."""
        self._bell.release()

    def result(self) -> tuple[StoredEvent, ...]:
        """Return what was stored, or raise why not."""
        if self.failure is not None:
            raise self.failure
        return self.stored


class SharedTurns:
    """The queue. `store` is called by one thread at a time; it notes on each ticket what was stored, or why it was refused.

    What `store` raises is the failure of every ticket of the turn that has none of its own.
    """

    def __init__(self, store: Callable[[Sequence[Ticket]], None]) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._queue: list[Ticket] = []
        self._is_led = False

    def take(self, call: Call) -> tuple[StoredEvent, ...]:
        """Store a call, in a turn of its own or with others."""
        ticket = Ticket(call)
        self._stand_in_line(ticket)
        try:
            if not ticket.is_leader:
                ticket.wait()
            if ticket.is_leader:
                self._lead()
        finally:
            self._leave(ticket)
        return ticket.result()

    def _stand_in_line(self, ticket: Ticket) -> None:
        with self._lock:
            self._queue.append(ticket)
            ticket.is_leader, self._is_led = not self._is_led, True

    def _lead(self) -> None:
        """Store what waits, oldest first: this thread's own is the oldest."""
        tickets = self._gathered()
        problem: Exception | None = StoreAway("the append was interrupted. Try again: a repeat of what was stored is the same success.")
        try:
            self._store(tickets)
            problem = None
        except Exception as error:
            problem = error
        finally:
            for ticket in tickets:
                ticket.failure = ticket.failure or problem
                ticket.is_settled = True

            for ticket in tickets[1:]:
                ticket.ring()

    def _gathered(self) -> list[Ticket]:
        with self._lock:
            count = events = 0
            while count < min(len(self._queue), _CALLS) and events < FULL:
                events += sum(len(append.events) for append in self._queue[count].call[0])
                count += 1
            tickets, self._queue = self._queue[:count], self._queue[count:]
        return tickets

    def _leave(self, ticket: Ticket) -> None:
        """Hand on the lead; a thread that was interrupted while it waited takes its call along."""
        with self._lock:
            if ticket in self._queue:
                self._queue.remove(ticket)
            if not ticket.is_leader:
                return
            if self._queue:
                self._queue[0].is_leader = True
                self._queue[0].ring()
            else:
                self._is_led = False
