"""A row is read inside a rule, and the database raises: whose fault that is says the database, on every read model adapter.

Rows that `keys` did not name are read there, and those of events that waited, whose turn comes in the middle of a batch.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg
import pytest

from sidestream.applying.applied import BOOKKEEPING
from sidestream.applying.dead_letters import parked_events, retry
from sidestream.applying.decoding import Rule
from sidestream.applying.projector import Projector
from sidestream.errors import RefusedByStore, StoreAway, TryAgain
from sidestream.event import Envelope
from sidestream.ports import Generation, Query, Unit
from sidestream.projection import Key, Projection, Rows, Table
from tests.contract.bank import REGISTRY, TOPIC, Bank, Deposited

TOO_LARGE = 2**70
"""An integer that Python and JSON take, and no column does."""


class Sum(msgspec.Struct, frozen=True):
    amount: int
    times: int


SUMS = Table(Sum, key=("amount",))


class Sums(Projection):
    """Counts how often each amount was deposited, and names no row beforehand."""

    name = "sums"
    topics = (TOPIC,)
    handles = (Deposited,)
    tables = (SUMS,)

    def evolve(self, rows: Rows, event: Deposited, envelope: Envelope) -> None:
        row = rows.get(SUMS, (event.amount,)) or Sum(event.amount, 0)
        rows.put(SUMS, Sum(event.amount, row.times + 1))


class SumsNamed(Sums):
    """Names its rows."""

    def keys(self, event: Deposited, envelope: Envelope) -> Iterable[tuple[Table[Any], Key]]:
        return [(SUMS, (event.amount,))]


class SumsAtAnyPrice(Sums):
    """Takes a row that cannot be read for one that is not there."""

    def evolve(self, rows: Rows, event: Deposited, envelope: Envelope) -> None:
        try:
            super().evolve(rows, event, envelope)
        except Exception:
            rows.put(SUMS, Sum(event.amount, 1))


class Failing:
    """A generation in whose transactions reading a sum raises, once for each of these errors."""

    def __init__(self, generation: Generation, *errors: Exception) -> None:
        self._generation = generation
        self.errors = list(errors)
        self.name = generation.name
        self.snapshot: Callable[..., Any] = generation.snapshot
        self.check, self.close = generation.check, generation.close

    @contextmanager
    def unit(self) -> Iterator[Unit]:
        with self._generation.unit() as unit:
            yield _FailingUnit(unit, self.errors)


class _FailingUnit:
    def __init__(self, unit: Unit, errors: list[Exception]) -> None:
        self._unit = unit
        self._errors = errors
        self.select, self.count, self.write = unit.select, unit.count, unit.write
        self.delete, self.keep_newest = unit.delete, unit.keep_newest

    def read(self, table: Table[Any], keys: Iterable[Key]) -> Any:
        if table is SUMS and self._errors:
            raise self._errors.pop()
        return self._unit.read(table, keys)


class Counted:
    """The bank's log, followed by a rule that counts amounts."""

    def __init__(self, bank: Bank, rule: Projection) -> None:
        self.rule = Rule(rule, REGISTRY)
        self.log = bank.log
        self.generation = bank.read_models.open(bank.read_models.create(1, (*BOOKKEEPING, *rule.tables), ""))

    def projector(self, *errors: Exception) -> Projector:
        return Projector(self.rule, self.log, Failing(self.generation, *errors), lambda: "now")

    def sums(self) -> dict[int, int]:
        with self.generation.snapshot() as reader:
            return {row.amount: row.times for row in reader.select(SUMS, Query(order_by=("amount",)))}

    def reasons(self) -> list[tuple[str, str]]:
        return [(event.event_id, event.reason) for event in parked_events(self.generation)]


@pytest.fixture
def away(request: pytest.FixtureRequest) -> Exception:
    """What the driver raises when the database is away; memory has none, and raises what it would become."""
    drivers = {"sqlite": sqlite3.OperationalError("disk I/O error"), "postgres": psycopg.OperationalError("the connection is lost")}
    return next((error for name, error in drivers.items() if name in request.node.callspec.id), StoreAway("away"))


@pytest.mark.parametrize("rule", [Sums(), SumsAtAnyPrice()], ids=["raises", "catches"])
@pytest.mark.parametrize("strangers", [[], [b"{"]], ids=["together", "singly"])
def test_a_database_that_goes_away_inside_a_rule_parks_nothing(
    bank: Bank, away: Exception, rule: Projection, strangers: list[bytes]
) -> None:
    counted = Counted(bank, rule)
    bank.record(*strangers, *(bank.wire(f"account-{at}", at) for at in range(3)))
    projector = counted.projector(away)
    with pytest.raises(StoreAway):
        projector.step()
    assert (counted.sums(), counted.reasons()) == ({}, [])
    projector.catch_up()
    assert counted.sums() == {0: 1, 1: 1, 2: 1}
    assert [reason for _, reason in counted.reasons()] == ["unreadable-entry"] * len(strangers)


def test_a_transaction_that_is_rolled_back_inside_a_rule_is_tried_again_at_once(bank: Bank) -> None:
    counted = Counted(bank, Sums())
    bank.record(*(bank.wire(f"account-{at}", at) for at in range(3)))
    outcome = counted.projector(TryAgain("deadlock"), TryAgain("deadlock")).step()
    assert outcome is not None
    assert (outcome.applied, outcome.parked) == (3, 0)
    assert counted.sums() == {0: 1, 1: 1, 2: 1}


# ── the database refuses a key ───────────────────────────────────────────────────────────────────────────────────────

REFUSING = pytest.mark.parametrize("read_models", ["sqlite", "postgres"], indirect=True)
"""In memory any integer may be looked for."""


class SumsByAnything(Sums):
    """Looks for what no driver knows, where 7 was deposited."""

    def evolve(self, rows: Rows, event: Deposited, envelope: Envelope) -> None:
        if event.amount == 7:
            rows.get(SUMS, (SUMS,))
        super().evolve(rows, event, envelope)


@REFUSING
def test_an_event_whose_key_no_driver_takes_is_parked_and_the_others_flow(bank: Bank) -> None:
    counted = Counted(bank, SumsByAnything())
    bank.record(*(bank.wire(f"account-{at}", at, id=f"e{at}") for at in range(20)))
    counted.projector().catch_up()
    assert counted.reasons() == [("e7", RefusedByStore.code)]
    assert counted.sums() == {at: 1 for at in range(20) if at != 7}


@REFUSING
@pytest.mark.parametrize("rule", [Sums(), SumsNamed(), SumsAtAnyPrice()], ids=["unnamed", "named", "catches"])
def test_an_event_whose_key_the_database_refuses_is_parked_and_the_others_flow(bank: Bank, rule: Projection) -> None:
    counted = Counted(bank, rule)
    bank.record(*(bank.wire(f"account-{at}", TOO_LARGE if at == 7 else at, id=f"e{at}") for at in range(20)))
    counted.projector().catch_up()
    assert counted.reasons() == [("e7", RefusedByStore.code)]
    assert counted.sums() == {at: 1 for at in range(20) if at != 7}


@REFUSING
@pytest.mark.parametrize("rule", [Sums(), SumsNamed()], ids=["unnamed", "named"])
@pytest.mark.parametrize("refused", [2, 3, 4, 5])
def test_of_events_that_waited_the_one_whose_key_the_database_refuses_is_blamed(bank: Bank, rule: Projection, refused: int) -> None:
    counted = Counted(bank, rule)
    wires = {at: bank.wire("account-a", TOO_LARGE if at == refused else at, at, id=f"v{at}") for at in (1, 2, 3, 4, 5)}
    bank.record(wires[1], wires[5], wires[3], wires[4])
    projector = counted.projector()
    projector.catch_up()
    bank.record(wires[2], bank.wire("account-b", 9, 1))
    projector.catch_up()
    assert [found for found in counted.reasons() if found[1] == RefusedByStore.code] == [(f"v{refused}", RefusedByStore.code)]
    assert counted.sums() == dict.fromkeys([*range(1, refused), 9], 1)
    assert len(counted.reasons()) == 6 - refused


@REFUSING
def test_a_retry_of_an_event_whose_key_the_database_refuses_leaves_it_parked(bank: Bank) -> None:
    counted = Counted(bank, Sums())
    bank.record(bank.wire("account-a", TOO_LARGE, 1, id="v1"), bank.wire("account-b", TOO_LARGE, 1, id="w1"))
    counted.projector().catch_up()
    done = retry(counted.rule, counted.generation, lambda: "later")
    assert (done.tried, done.freed, done.applied) == (2, 0, 0)
    assert counted.reasons() == [("v1", RefusedByStore.code), ("w1", RefusedByStore.code)]
