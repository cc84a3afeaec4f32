"""The quick way of runs and the fold of a rebuild leave what the general way leaves, row by row, on random logs."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sidestream.adapters.memory_log import MemoryLog
from sidestream.adapters.memory_read_model import MemoryReadModels
from sidestream.applying.applied import BOOKKEEPING, HEADS
from sidestream.applying.batch import Outcome, Stretch
from sidestream.applying.decoding import Rule
from sidestream.applying.log_reading import LogReading
from sidestream.applying.projector import Projector
from sidestream.applying.regular import read_run
from sidestream.event import Counted, Envelope, NewEvent, encode_event
from sidestream.ports import LogEntry, Query
from sidestream.projection import Projection, Rows, Table
from sidestream.registry import Category, EventType, Registry

TOPIC = "accounts"


class Deposited(msgspec.Struct, frozen=True):
    amount: int


class Noted(msgspec.Struct, frozen=True):
    text: str


class Account(msgspec.Struct, frozen=True):
    subject: str
    history: str


ACCOUNTS = Table(Account, key=("subject",))
REGISTRY = Registry([Category("account", TOPIC, "/bank", (EventType("deposited", Deposited), EventType("noted", Noted)))])


class Histories(Projection):
    """Remembers every amount in order; 13 raises after it was written, 14 in `keys`."""

    name = "histories"
    topics = (TOPIC,)
    handles = (Deposited,)
    tables = (ACCOUNTS,)

    def keys(self, event: Deposited, envelope: Envelope) -> list[tuple[Table[Any], tuple[str]]]:
        if event.amount == 14:
            raise ValueError("no keys")
        return [(ACCOUNTS, (envelope.stream,))]

    def evolve(self, rows: Rows, event: Deposited, envelope: Envelope) -> None:
        before = rows.get(ACCOUNTS, (envelope.stream,))
        if event.amount == 0:
            rows.delete(ACCOUNTS, (envelope.stream,))
            return
        rows.put(ACCOUNTS, Account(envelope.stream, f"{before.history if before else ''} {event.amount}"))
        if event.amount == 13:
            raise ValueError("thirteen")


class Unordered(Histories):
    ordered = False


class WithoutRuns(LogReading):
    """Reads every event by itself."""

    def _stretch(self, entries: Sequence[LogEntry], wires: Sequence[bytes]) -> Stretch:
        return Stretch([self._rule.decode(entry) for entry in entries])


class OneByOne(Projector):
    """Knows the general way only."""

    def __init__(self, rule: Rule, log: MemoryLog, *more: Any) -> None:
        super().__init__(rule, log, *more)
        self._reading = WithoutRuns(rule, log)


def wire(number: int, producer: str, subject: str | None, amount: object, version: int | None, kind: str) -> bytes:
    event = NewEvent(
        topic=TOPIC,
        id=f"{producer}-{number}-{amount}",
        source="/bank",
        type=kind,
        data=msgspec.json.encode({"amount": amount}),
        subject=subject,
    )
    return encode_event(event, Counted(producer, number, version))


AMOUNTS = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 13, 14, "text"])
SUBJECTS = st.sampled_from(["a", "b", "c", None])
EVENTS = st.builds(
    wire,
    st.integers(1, 60),
    st.sampled_from(["p.1", "q.1"]),
    SUBJECTS,
    AMOUNTS,
    st.none() | st.integers(1, 4),
    st.sampled_from(["deposited", "deposited", "deposited", "noted", "unknown"]),
)
STRANGERS = st.builds(lambda at: b'{"id":"%d","source":"/s","type":"deposited","data":{"amount":1}}' % at, st.integers(1, 3))
GARBAGE = st.sampled_from([b"", b"{", b"\xff", b"[]", b'{"id":"1"}', b'{"id":"","source":"s","type":"t"}'])


def in_order(amounts: list[tuple[str, int]]) -> list[bytes]:
    """A log as a store writes it: counted from 100, versions in order."""
    versions = dict.fromkeys("abc", 0)
    wires = []
    for number, (subject, amount) in enumerate(amounts, 100):
        versions[subject] += 1
        wires.append(wire(number, "store.1", subject, amount, versions[subject], "deposited"))
    return wires


TAMES = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), min_size=1, max_size=20).map(in_order)
LOGS = st.lists(st.lists(EVENTS | STRANGERS | GARBAGE, max_size=12) | TAMES, max_size=3).map(
    lambda parts: [one for part in parts for one in part]
)


def built(log: MemoryLog, projection: Projection, run: Callable[[Projector], Outcome], kind: type[Projector], batch: int) -> object:
    read_models = MemoryReadModels()
    tables = (*BOOKKEEPING, *projection.tables)
    generation = read_models.open(read_models.create(1, tables, ""))
    outcome = run(kind(Rule(projection, REGISTRY), log, generation, lambda: "now", batch))
    with generation.snapshot() as reader:
        rows = {table.name: set(reader.select(table, Query(limit=10_000))) for table in tables if table is not HEADS}
    return rows, outcome


def fold_then_step(projector: Projector) -> Outcome:
    total = projector.fold()
    total.add(projector.catch_up())
    return total


def fold_a_little_then_step(projector: Projector) -> Outcome:
    total = projector.fold(budget=1)
    total.add(projector.catch_up())
    return total


@given(LOGS, st.sampled_from([1, 3, 7, 5000]), st.sampled_from([Histories(), Unordered()]))
def test_quick_ways_leave_what_the_general_way_leaves(wires: list[bytes], batch: int, projection: Projection) -> None:
    log = MemoryLog(lambda: 0)
    log.record(TOPIC, wires)
    expected = built(log, projection, OneByOne.catch_up, OneByOne, batch)
    assert built(log, projection, Projector.catch_up, Projector, batch) == expected
    assert built(log, projection, fold_then_step, Projector, batch) == expected
    assert built(log, projection, fold_a_little_then_step, Projector, batch) == expected


def test_a_log_without_anything_odd_is_taken_in_runs() -> None:
    log = MemoryLog(lambda: 0)
    log.record(TOPIC, in_order([("abc"[at % 3], at % 9) for at in range(1000)]))
    rule = Rule(Histories(), REGISTRY)
    run = read_run(rule, [entry.data for entry in log.read(TOPIC, None, 1000)])
    assert run is not None
    assert [numbers.ranges for numbers in run.numbers] == [((100, 1099),)]
