"""A decision is met by whatever leaves its stream after it was recorded, whoever applies it. On every read model adapter.

An app looks for decisions once a sweep; what a stream waits for may come before that.
"""

from collections.abc import Callable, Sequence
from threading import Event, Thread

import pytest

from sidestream.applying.applied import BOOKKEEPING
from sidestream.applying.corrections import BESIDE, Correction, Corrections, InForce
from sidestream.applying.dead_letters import decide, has_met
from sidestream.applying.decoding import Rule
from sidestream.applying.projector import Projector
from sidestream.errors import StoreAway
from sidestream.ports import Generation
from tests.contract.bank import ACCOUNTS, REGISTRY
from tests.contract.correcting import Desk


class Record(Corrections):
    """The record of decisions, of which somebody knows how often it is read, and that can be away."""

    def __init__(self, place: Generation) -> None:
        super().__init__(place)
        self.reads = 0
        self.away = False

    def after(self, number: int) -> Sequence[Correction]:
        self.reads += 1
        if self.away:
            raise StoreAway("the record is away")
        return super().after(number)


def waiting(desk: Desk) -> None:
    """Versions 3 and 4 wait for version 2."""
    bank = desk.bank
    bank.record(*(bank.wire("account-a", version, version, id=f"v{version}") for version in (1, 3, 4)))
    bank.projector.catch_up()


def come(desk: Desk) -> None:
    desk.bank.record(desk.bank.wire("account-a", 2, 2, id="v2"))


def edit(desk: Desk) -> Correction:
    return desk.edit("v3", 30)


def skip(desk: Desk) -> Correction:
    return desk.skip("v3")


@pytest.mark.parametrize(("decide_so", "account"), [(edit, (37, "1 2 30 4")), (skip, (7, "1 2 4"))])
def test_what_was_decided_before_the_missing_version_came_is_met_by_an_app_that_has_not_swept(
    desk: Desk, decide_so: Callable[[Desk], Correction], account: tuple[int, str]
) -> None:
    waiting(desk)
    app = desk.unaware()
    decision = decide_so(desk)
    desk.drain()  # as the verb does: it is still waiting
    come(desk)
    app.catch_up()
    with desk.bank.generation.snapshot() as reader:
        assert has_met(reader, decision)
    desk.expect({"account-a": account})


def test_what_is_decided_while_a_generation_is_folded_is_met_by_it(desk: Desk) -> None:
    desk.bank.record(desk.bank.wire("account-b", 8, 2), desk.bank.wire("account-b", 7, 1))  # decisions are looked at here first
    waiting(desk)
    come(desk)

    def decide_after(folded: int) -> None:
        if folded == 4:  # version 3 is parked there, as it is in the live generation
            edit(desk)

    generation = desk.bank.read_models.open(desk.bank.read_models.create(1, (*BOOKKEEPING, ACCOUNTS), ""))
    rule = Rule(desk.bank.projection, REGISTRY, InForce(desk.corrections))
    Projector(rule, desk.bank.log, generation, lambda: "now", batch=1).fold(decide_after)
    desk.bank.generation = generation
    assert desk.bank.accounts() == {"account-a": (37, "1 2 30 4"), "account-b": (15, "7 8")}


def test_decisions_are_read_once_for_a_batch_and_only_when_something_leaves(desk: Desk) -> None:
    bank = desk.bank
    record = Record(bank.read_models.beside(BESIDE))
    app = Projector(Rule(bank.projection, REGISTRY, InForce(record)), bank.log, bank.generation, lambda: "now")
    record.reads = 0
    bank.record(*(bank.wire(f"account-{at}", 1, version) for at in range(20) for version in (1, 3)))
    app.catch_up()
    assert record.reads == 0
    bank.record(*(bank.wire(f"account-{at}", 1, 2) for at in range(20)))
    assert app.catch_up().released == 20
    assert record.reads == 1


def test_where_decisions_cannot_be_read_nothing_leaves_and_nothing_is_lost(desk: Desk) -> None:
    waiting(desk)
    record = Record(desk.bank.read_models.beside(BESIDE))
    app = Projector(Rule(desk.bank.projection, REGISTRY, InForce(record)), desk.bank.log, desk.bank.generation, lambda: "now")
    come(desk)
    record.away = True
    with pytest.raises(StoreAway):
        app.catch_up()
    assert desk.bank.accounts() == {"account-a": (1, "1")}
    record.away = False
    app.catch_up()
    assert desk.bank.accounts() == {"account-a": (10, "1 2 3 4")}


def test_two_threads_that_read_decisions_at_once_leave_the_newest_in_force(desk: Desk) -> None:
    waiting(desk)
    letter = desk.letter("v3")
    record = Slow(desk.corrections)
    in_force = InForce(record)  # type: ignore[arg-type]
    desk.decide(letter, "skip")
    record.hold = True
    slow = Thread(target=in_force.refresh)
    slow.start()
    assert record.held.wait(60)
    desk.decide(letter, "undo")
    fast = Thread(target=in_force.refresh)
    fast.start()
    fast.join(0.2)  # it waits for the slow one, or it is done: both are right as long as the newest is in force then
    record.go_on.set()
    slow.join()
    fast.join()
    assert (in_force.find(letter.subject), in_force.latest) == (None, 2)


def test_a_decision_is_recorded_while_nothing_is_being_applied(desk: Desk) -> None:
    """Else it could be recorded behind the back of a transaction that has looked for decisions and has not committed yet."""
    waiting(desk)
    draft = desk.letter("v3").correction("skip", who="ann", why="typo", at="now")
    deciding = Thread(target=lambda: decide([desk.bank.generation], desk.corrections, draft))
    with desk.bank.generation.unit():
        deciding.start()
        deciding.join(0.2)
        assert desk.corrections.after(0) == []
    deciding.join()
    assert [each.kind for each in desk.corrections.after(0)] == ["skip"]


class Slow:
    """The record of decisions, of which one reading takes as long as somebody wants."""

    def __init__(self, record: Corrections) -> None:
        self._record = record
        self.hold = False
        self.held, self.go_on = Event(), Event()

    def after(self, number: int) -> Sequence[Correction]:
        found = self._record.after(number)
        if self.hold:
            self.hold = False
            self.held.set()
            assert self.go_on.wait(60)
        return found
