"""A schedule: what the log holds in the end, and what happens on the way. Drawn by Hypothesis, so that it shrinks.

Two projectors, A and B, work on one generation. Entries arrive, repeated and in another order across streams; a bell is
heard or not; a projector is killed between any two steps, or overtaken by the other; a rule raises for some events until
the end, when it is mended.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

import msgspec
from hypothesis import strategies as st

from sidestream.projection import Projection
from sidestream.registry import Registry
from sidestream.testing.history import Happened, Recorded, dealt, record

PROJECTORS: Final = ("A", "B")
_MOST_STEPS: Final = 15
_MOST_POISON: Final = 2
_LARGEST_BATCH: Final = 5
_PLACE: Final = st.integers(0, 30)
_PLACES: Final = st.lists(_PLACE, max_size=10)
_MOVES: Final = st.lists(st.tuples(_PLACE, _PLACE), max_size=10)


class Moment(Enum):
    """Where a projector can be killed."""

    AFTER_READING = "after it read the log"
    BEFORE_COMMIT = "just before its commit"
    AFTER_COMMIT = "just after its commit"


class Arrive(msgspec.Struct, frozen=True):
    """So many entries are recorded in the log. Nobody is rung."""

    entries: int


class Rung(msgspec.Struct, frozen=True):
    """A projector reads and applies one batch."""

    projector: str


class Killed(msgspec.Struct, frozen=True):
    """A projector begins a batch and is killed; another one takes its place."""

    projector: str
    moment: Moment


class Overtaken(msgspec.Struct, frozen=True):
    """A projector reads, and before it begins its transaction the other one reads and applies."""

    projector: str


class Retried(msgspec.Struct, frozen=True):
    """An operator tries the dead letters again."""


Step = Arrive | Rung | Killed | Overtaken | Retried


class Schedule(msgspec.Struct, frozen=True):
    """One case.

    Attributes:
        history: what happened, as it was written.
        log: what the log holds in the end, in order.
        poison: names of events for which the rule raises.
        batch: most entries of one batch.
        steps: what happens; then everything left arrives, both projectors catch up, and the rule is mended.
    """

    history: tuple[Recorded, ...]
    log: tuple[Recorded, ...]
    poison: frozenset[str]
    batch: int
    steps: tuple[Step, ...]

    def __repr__(self) -> str:
        return "the schedule above"

    def __str__(self) -> str:
        lines = [f"  the log will hold: {_names(self.log)}", f"  batches of at most {self.batch}"]
        if self.poison:
            lines.append(f"  the rule raises until the end for: {', '.join(sorted(self.poison))}")
        arrived = 0
        for number, step in enumerate(self.steps, start=1):
            lines.append(f"  {number:2}. {_told(step, self.log[arrived:])}")
            arrived += step.entries if isinstance(step, Arrive) else 0
        return "\n".join([*lines, "  then the rest arrives, both projectors catch up, the rule is mended, dead letters are retried"])


def _names(entries: Sequence[Recorded]) -> str:
    return " ".join(entry.name for entry in entries) or "nothing"


def _told(step: Step, to_come: Sequence[Recorded]) -> str:
    match step:
        case Arrive(entries):
            return f"arrives: {_names(to_come[:entries])}"
        case Rung(projector):
            return f"projector {projector} is rung and applies a batch"
        case Killed(projector, moment):
            return f"projector {projector} is rung and killed {moment.value}; another one takes its place"
        case Overtaken(projector):
            return f"projector {projector} reads, the other one applies a batch first, then {projector} goes on"
    return "an operator retries the dead letters"


_STEPS: Final[st.SearchStrategy[Step]] = st.one_of(
    st.builds(Arrive, st.integers(1, 4)),
    st.builds(Rung, st.sampled_from(PROJECTORS)),
    st.builds(Killed, st.sampled_from(PROJECTORS), st.sampled_from(Moment)),
    st.builds(Overtaken, st.sampled_from(PROJECTORS)),
    st.builds(Retried),
)


@st.composite
def schedules(draw: Any, projection: Projection, registry: Registry, histories: st.SearchStrategy[Sequence[Happened]]) -> Schedule:
    """Draw a history and what becomes of it."""
    recorded = record(draw(histories), registry, ordered=projection.ordered)
    history = [entry for entry in recorded if entry.topic in projection.topics]
    again = [history[at % len(history)] for at in draw(_PLACES)] if history else []
    log = dealt(_moved([*history, *again], draw(_MOVES)), history)
    names = sorted({entry.name for entry in history})
    poison = frozenset(names[at % len(names)] for at in draw(_PLACES)[:_MOST_POISON]) if names else frozenset()
    steps = draw(st.lists(_STEPS, max_size=_MOST_STEPS))
    return Schedule(tuple(history), tuple(log), poison, draw(st.integers(1, _LARGEST_BATCH)), tuple(steps))


def _moved(entries: Sequence[Recorded], moves: Sequence[tuple[int, int]]) -> list[Recorded]:
    """Move single entries elsewhere. Places count modulo the length, so that a history that shrinks keeps its moves."""
    moved = list(entries)
    for begin, end in moves if moved else ():
        entry = moved.pop(begin % len(entries))
        moved.insert(end % len(entries), entry)
    return moved
