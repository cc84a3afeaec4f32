"""What a rule may write, look at or name by mistake: its event is parked with the reason, and all others are applied.

A Struct takes any value for any field, so that nothing else tells a rule. The same on every adapter, live and in a rebuild.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from sidestream.adapters.memory_log import MemoryLog
from sidestream.applying.applied import BOOKKEEPING
from sidestream.applying.dead_letters import parked_events
from sidestream.applying.decoding import FAILED, Rule
from sidestream.applying.projector import Projector
from sidestream.errors import RefusedByStore
from sidestream.event import Counted, Envelope, NewEvent, encode_event
from sidestream.ports import Query, ReadModels
from sidestream.projection import Projection, Rows, Table
from sidestream.registry import Category, EventType, Registry

TOPIC = "acts"


class Done(msgspec.Struct, frozen=True):
    how: str


class Line(msgspec.Struct, frozen=True):
    at: int
    text: str
    share: float = 0.5
    done: bool = False
    raw: bytes = b""
    note: str | None = None


LINES = Table(Line, key=("at",))
TEXT: Any = "1"
UNDECLARED = Table(Line, key=("at",), name="undeclared")
REGISTRY = Registry([Category("act", TOPIC, "/acts", (EventType("act.done", Done, ordered=False),))])


class Word(str):
    """As a rule may have it from a library."""


def putting(**values: Any) -> Callable[[Rows], None]:
    return lambda rows: rows.put(LINES, Line(**{"at": -1, "text": "bad", **values}))


TAKEN: dict[str, Callable[[Rows], None]] = {
    "an integer in a column of floats": putting(share=1),
    "a text of a subclass": putting(note=Word("word")),
    "a memoryview in a column of bytes": putting(raw=memoryview(b"x")),
}
REFUSED: dict[str, Callable[[Rows], None]] = {
    "a list in a column": putting(text=["a"]),
    "a dictionary in a column": putting(text={"a": 1}),
    "a Decimal in a column": putting(text=Decimal("1.5")),
    "a text in a column of numbers": putting(share="much"),
    "half a character in a column of numbers": putting(share="\ud800"),
    "a text in a column of bytes": putting(raw="eA=="),
    "nothing in a column that is never empty": putting(text=None),
    "a key of text in a column of integers": putting(at="a"),
    "a key of nothing": putting(at=None),
    "a key of a Decimal": putting(at=Decimal(5)),
}
RAISING: dict[str, Callable[[Rows], None]] = {
    "a key that is a list": putting(at=[1]),
    "a row of another table": lambda rows: rows.put(UNDECLARED, Line(-1, "bad")),
    "a row that is none": lambda rows: rows.put(LINES, TEXT),
    "a deletion of two values": lambda rows: rows.delete(LINES, (1, 2)),
    "a deletion by another type": lambda rows: rows.delete(LINES, ("a",)),
    "a deletion by no tuple": lambda rows: rows.delete(LINES, TEXT),
    "a look at a key of two values": lambda rows: rows.put(LINES, rows.get(LINES, (1, 2)) or Line(-1, "bad")),
    "a look at a key that is a list": lambda rows: rows.put(LINES, rows.get(LINES, ([1],)) or Line(-1, "bad")),
    "a look into another table": lambda rows: rows.put(LINES, rows.get(UNDECLARED, (1,)) or Line(-1, "bad")),
}
"""What raises inside the rule."""
NAMED: dict[str, Any] = {
    "a named key with a list in it": (LINES, ([1],)),
    "a named key that is a list": (LINES, [1]),
    "a named key of two values": (LINES, (1, 2)),
    "a named key that is a number": (LINES, 7),
    "a named key of another table": (UNDECLARED, (1,)),
    "a table named without a key": LINES,
}


def do_nothing(rows: Rows) -> None:
    """What most events make a rule do by mistake."""


class Lines(Projection):
    """Writes one line for each event, and what it should not for some."""

    name = "lines"
    topics = (TOPIC,)
    handles = (Done,)
    tables = (LINES,)
    ordered = False

    def keys(self, event: Done, envelope: Envelope) -> Iterable[Any]:
        return [NAMED.get(event.how, (LINES, (envelope.number,)))]

    def evolve(self, rows: Rows, event: Done, envelope: Envelope) -> None:
        rows.put(LINES, Line(envelope.number, event.how))
        (TAKEN | REFUSED | RAISING).get(event.how, do_nothing)(rows)


class Acts:
    """A log of what is done, a rule over it, and a generation."""

    def __init__(self, read_models: ReadModels) -> None:
        rule = Lines()
        self.log = MemoryLog()
        self.generation = read_models.open(read_models.create(1, (*BOOKKEEPING, *rule.tables), ""))
        self.projector = Projector(Rule(rule, REGISTRY), self.log, self.generation, lambda: "now")
        self._numbers = itertools.count(1)

    def record(self, *acts: str) -> None:
        self.log.record(TOPIC, [_wire(next(self._numbers), how) for how in acts])

    def written(self) -> list[tuple[int, str]]:
        with self.generation.snapshot() as reader:
            return [(row.at, row.text) for row in reader.select(LINES, Query(order_by=("at",)))]

    def parked(self) -> list[tuple[str, str]]:
        return [(event.event_id, event.reason) for event in parked_events(self.generation)]


def _wire(number: int, how: str) -> bytes:
    data = msgspec.json.encode({"how": how})
    return encode_event(NewEvent(topic=TOPIC, id=f"e{number}", source="/acts", type="act.done", data=data), Counted("acts.1", number))


@pytest.fixture
def acts(read_models: ReadModels) -> Iterator[Acts]:
    made = Acts(read_models)
    yield made
    made.generation.close()


MISTAKES = pytest.mark.parametrize(
    ("how", "reason"), [*((how, RefusedByStore.code) for how in REFUSED), *((how, FAILED) for how in (*RAISING, *NAMED))]
)


@MISTAKES
def test_a_mistake_parks_its_event_and_no_other(acts: Acts, how: str, reason: str) -> None:
    acts.record("good", how, "good")
    acts.projector.catch_up()
    assert acts.written() == [(1, "good"), (3, "good")]
    assert acts.parked() == [("e2", reason)]
    acts.record("good")
    acts.projector.catch_up()
    assert acts.written()[-1] == (4, "good")


@MISTAKES
def test_a_rebuild_parks_it_too(acts: Acts, how: str, reason: str) -> None:
    acts.record("good", how, "good")
    acts.projector.fold()
    acts.projector.catch_up()
    assert acts.written() == [(1, "good"), (3, "good")]
    assert acts.parked() == [("e2", reason)]


def test_the_reason_names_table_and_column_and_what_was_found(acts: Acts) -> None:
    acts.record("a Decimal in a column", "a key of text in a column of integers")
    acts.projector.catch_up()
    first, second = (event.detail for event in parked_events(acts.generation))
    assert "line.text: expected str, found Decimal('1.5')" in first
    assert "line.at: expected int, found 'a'" in second


@pytest.mark.parametrize("how", TAKEN)
def test_what_stands_for_the_type_of_a_column_is_no_mistake(acts: Acts, how: str) -> None:
    acts.record("good", how, "good")
    acts.projector.catch_up()
    assert acts.parked() == []
    assert acts.written() == [(-1, "bad"), (1, "good"), (2, how), (3, "good")]
