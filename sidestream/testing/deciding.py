"""`AggregateSpecification`: given these events, when this is asked, then those are recorded, or it is refused.

    AggregateSpecification(ORDER)
        .given(OrderPlaced("ada", "EUR", ()))
        .when(ShipOrder("post", "1"))
        .then_refused("order-open")

Nothing but the two pure functions runs. Every outcome is decided twice and must be the same, so that a rule that asks a
clock or a random source is found.
"""

from dataclasses import dataclass, replace
from typing import Any, Final, Generic

from sidestream.aggregate import Aggregate, Command, Event, State
from sidestream.errors import CommandRefused

_NOTHING_ASKED: Final = object()


@dataclass(frozen=True)
class AggregateSpecification(Generic[State, Command, Event]):
    """What an aggregate promises. `given` and `when` return a new specification; `then…` plays it and compares.

    Attributes:
        aggregate: the rules.
        history: the events that have happened.
        command: what is asked.
    """

    aggregate: Aggregate[State, Command, Event]
    history: tuple[Event, ...] = ()
    command: Any = _NOTHING_ASKED

    def given(self, *events: Event) -> "AggregateSpecification[State, Command, Event]":
        """Begin with these events."""
        return replace(self, history=(*self.history, *events))

    def when(self, command: Command) -> "AggregateSpecification[State, Command, Event]":
        """Then this is asked."""
        return replace(self, command=command)

    # ── what must be true then ───────────────────────────────────────────────────────────────────────────────────────

    def then(self, *events: Event) -> None:
        """Exactly these events are recorded; none: the command is fulfilled already."""
        found = self._play()
        if found != (wanted := _Outcome(events)):
            raise AssertionError(f"{self._title()}: expected {wanted}, found {found}")

    def then_refused(self, code: str) -> None:
        """The command is refused with this code, and with a sentence."""
        found = self._play()
        if found.refused != code or not found.sentence:
            raise AssertionError(f"{self._title()}: expected it refused as {code}, found {found}")

    def then_state(self, state: State) -> None:
        """What was given, and what the command makes of it, lead to this state."""
        events = () if self.command is _NOTHING_ASKED else self._play().events
        left = self.aggregate.fold((*self.history, *events))
        if left != state:
            raise AssertionError(f"{self._title()}: expected {state}, found {left}")

    # ── playing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _play(self) -> "_Outcome":
        if self.command is _NOTHING_ASKED:
            raise AssertionError(f"{self._title()}: expected a command, found none. Say .when(…) before .then(…)")
        first, second = self._decide(), self._decide()
        if first != second:
            raise AssertionError(f"{self._title()}: decided twice, expected the same, found {first} and {second}. It must be pure.")
        return first

    def _decide(self) -> "_Outcome":
        state = self.aggregate.fold(self.history)
        try:
            return _Outcome(tuple(self.aggregate.decide(self.command, state)))
        except CommandRefused as refused:
            return _Outcome((), refused.code, str(refused))

    def _title(self) -> str:
        asked = "" if self.command is _NOTHING_ASKED else f", asked {self.command}"
        return f"{self.aggregate.category} after {list(self.history) or 'nothing'}{asked}"


@dataclass(frozen=True)
class _Outcome:
    """Events, or why there are none."""

    events: tuple[Any, ...]
    refused: str = ""
    sentence: str = ""

    def __str__(self) -> str:
        return f"it refused as {self.refused}: {self.sentence}" if self.refused else str(list(self.events))
