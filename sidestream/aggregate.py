"""An aggregate is declared, not programmed: two pure functions over a frozen state.

    decide(command, state)  the events that the command makes, none where it changes nothing; raises CommandRefused
    evolve(state, event)    the state after one more event; never refuses, because the event has happened

Neither knows a clock, a random source, a store or a transport: time and ids come in with the command. `Repository` loads,
decides and appends; `AggregateSpecification` in `sidestream.testing` holds one to given / when / then.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from sidestream.stream import stream_name

State = TypeVar("State", bound=msgspec.Struct)
Command = TypeVar("Command")
Event = TypeVar("Event", bound=msgspec.Struct)


@dataclass(frozen=True)
class Aggregate(Generic[State, Command, Event]):
    """One kind of thing that decides commands from its own events.

    Attributes:
        category: the word before the dash of its streams, `order`.
        initial: the state before the first event; a frozen Struct.
        decide: the rule that makes events, or refuses.
        evolve: the rule that follows them.
        shape: names the form and the meaning of the state, `order:1`. Another name makes every snapshot that is kept worthless:
            change it with the state or with `evolve`. Empty: no snapshots.
    """

    category: str
    initial: State
    decide: Callable[[Command, State], Iterable[Event]]
    evolve: Callable[[State, Event], State]
    shape: str = ""

    def stream(self, identifier: str) -> str:
        """Return the stream of one of them, `order-<identifier>`."""
        return stream_name(self.category, identifier)

    def fold(self, events: Iterable[Event], state: State | None = None) -> State:
        """Return the state after these events, from the initial one or from another on."""
        found = self.initial if state is None else state
        for event in events:
            found = self.evolve(found, event)
        return found
