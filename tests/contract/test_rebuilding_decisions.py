"""Somebody decides about a dead letter while a rebuild is verified: both generations are compared by the same decisions.

On every read model adapter. The live generation is read twice: to come close, and to be compared with. At each of these
readings something is decided: before it, before the first row is read, by which a database chooses the moment, and after.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, Literal

import pytest

from sidestream.applying.corrections import Corrections
from sidestream.applying.dead_letters import parked_events, retry
from sidestream.ports import Generation, Query, Reader, ReadModels, Unit
from sidestream.rebuilding.building import Site
from sidestream.rebuilding.rebuild import rebuild_at, verify
from tests.contract.bank import ACCOUNTS, REGISTRY, TOPIC
from tests.contract.correcting import Desk
from tests.contract.rebuilt import UNWATCHED

Moment = Literal["before", "begun", "read"]
Happens = Callable[[int, Moment], None]
"""Is told of every reading of the live generation: the how manieth it is, and how far it has come."""


class Watched:
    """Read models of which one generation tells when it is read."""

    def __init__(self, read_models: ReadModels, watched: str, happens: Happens) -> None:
        self._read_models = read_models
        self._watched = watched
        self._happens = happens
        self._readings = 0

    def open(self, name: str) -> Any:
        generation = self._read_models.open(name)
        return Telling(generation, self._tell) if name == self._watched else generation

    def _tell(self, moment: Moment) -> None:
        self._readings += moment == "before"
        self._happens(self._readings, moment)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._read_models, name)


class Telling:
    """A generation that tells when it is read."""

    def __init__(self, generation: Generation, tell: Callable[[Moment], None]) -> None:
        self.name = generation.name
        self.close = generation.close
        self._generation = generation
        self._tell = tell

    @contextmanager
    def unit(self) -> Iterator[Unit]:
        with self._generation.unit() as unit:
            yield unit

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        self._tell("before")
        with self._generation.snapshot() as reader:
            telling: Any = TellingReader(reader, self._tell)
            yield telling


class TellingReader:
    """A consistent moment that tells before and after its first rows are read."""

    def __init__(self, reader: Reader, tell: Callable[[Moment], None]) -> None:
        self._reader = reader
        self._untold: list[Moment] = ["read", "begun"]
        self._tell = tell

    def _telling(self, ask: Callable[..., Any], *words: Any) -> Any:
        self._tell_once("begun")
        found = ask(*words)
        self._tell_once("read")
        return found

    def _tell_once(self, moment: Moment) -> None:
        if self._untold and self._untold[-1] == moment:
            self._tell(self._untold.pop())

    def read(self, *words: Any) -> Any:
        return self._telling(self._reader.read, *words)

    def select(self, *words: Any) -> Any:
        return self._telling(self._reader.select, *words)

    def count(self, *words: Any) -> Any:
        return self._telling(self._reader.count, *words)


class Bank:
    """The live generation of a bank with letters of every kind, and an operator."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._read_models = desk.bank.read_models
        bank = desk.bank
        self._read_models.mark_ready(bank.name)
        self._read_models.switch(bank.name)
        bank.record(bank.wire("account-a", -1, 1, id="failed"), bank.wire("account-a", 2, 2), b"{")
        bank.record(bank.wire("account-b", 3, 1), bank.wire("account-b", 5, 3), bank.wire("account-c", 7, 1))
        bank.projector.catch_up()

    def site(self, happens: Happens) -> Site:
        watched: Any = Watched(self._read_models, self.desk.bank.name, happens)
        return Site(self.desk.rule.projection, REGISTRY, self.desk.bank.log, watched, lambda: "now", clock=lambda: 0.0)

    def accounts_of(self, name: str) -> tuple[dict[str, str], list[str]]:
        with closing(self._read_models.open(name)) as generation:
            with generation.snapshot() as reader:
                rows = {row.subject: row.history.strip() for row in reader.select(ACCOUNTS, Query(order_by=("subject",)))}
            return rows, [event.reason for event in parked_events(generation)]


@pytest.fixture
def decided(desk: Desk) -> Bank:
    return Bank(desk)


def edit(desk: Desk) -> None:
    desk.edit("failed", 1)


def skip(desk: Desk) -> None:
    desk.skip("failed")


def skip_an_entry(desk: Desk) -> None:
    desk.skip(f"{TOPIC}@3")


def edit_an_entry(desk: Desk) -> None:
    desk.decide(desk.letter(f"{TOPIC}@3"), "edit", desk.bank.wire("account-d", 9, 1, number=99, id="whole"))


def edit_an_entry_into_one_that_fails(desk: Desk) -> None:
    desk.decide(desk.letter(f"{TOPIC}@3"), "edit", desk.bank.wire("account-d", -9, 1, number=99, id="whole"))


def give_up(desk: Desk) -> None:
    desk.give_up("account-b@2")


LETTERS = ["rule-failed", "behind", "waiting", "unreadable-entry"]
ACCOUNTS_BEFORE = {"account-b": "3", "account-c": "7"}
DECISIONS: list[tuple[Callable[[Desk], None], dict[str, str], list[str]]] = [
    (edit, {"account-a": "1 2"}, ["waiting", "unreadable-entry"]),
    (skip, {"account-a": "2"}, ["waiting", "unreadable-entry"]),
    (skip_an_entry, {}, LETTERS[:3]),
    (edit_an_entry, {"account-d": "9"}, LETTERS[:3]),
    (edit_an_entry_into_one_that_fails, {}, [*LETTERS[:3], "rule-failed"]),
    (give_up, {"account-b": "3 5"}, ["rule-failed", "behind", "unreadable-entry"]),
]
"""What is decided, and the accounts and letters that it changes."""


def once(reading: int, moment: Moment, act: Callable[[], None]) -> Happens:
    def happens(at_reading: int, at_moment: Moment) -> None:
        if (at_reading, at_moment) == (reading, moment):
            act()

    return happens


@pytest.mark.parametrize("reading", [1, 2])
@pytest.mark.parametrize("moment", ["before", "begun", "read"])
@pytest.mark.parametrize(("decide", "accounts", "letters"), DECISIONS, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_decided_meanwhile_is_no_difference_and_the_new_generation_has_met_it(
    decided: Bank,
    corrections: Corrections,
    request: pytest.FixtureRequest,
    decide: Callable[[Desk], None],
    accounts: dict[str, str],
    letters: list[str],
    moment: Moment,
    reading: int,
) -> None:
    times: list[int] = []

    def act() -> None:
        times.append(reading)
        decide(decided.desk)
        if moment != "read" or "memory" not in request.node.name:  # in memory a reader and a writer take turns
            decided.desk.drain()

    done = rebuild_at(decided.site(once(reading, moment, act)), UNWATCHED)
    decided.desk.drain()
    assert times == [reading]
    assert done.comparison is not None
    assert (done.comparison.findings, done.comparison.shown, done.live) == ([], [], True)
    expected = ({**ACCOUNTS_BEFORE, **accounts}, letters)
    assert decided.accounts_of(done.before) == expected
    assert decided.accounts_of(done.generation) == expected
    assert done.parked == len(letters)
    assert len(corrections.after(0)) == 1


@pytest.mark.parametrize("reading", [1, 2])
def test_what_was_mended_and_tried_again_meanwhile_is_no_difference(decided: Bank, reading: int) -> None:
    def mend() -> None:
        decided.desk.rule.projection.mended = True  # type: ignore[attr-defined]
        retry(decided.desk.rule, decided.desk.bank.generation, lambda: "later")

    done = rebuild_at(decided.site(once(reading, "before", mend)), UNWATCHED)
    assert done.comparison is not None
    assert (done.comparison.findings, done.comparison.shown, done.live) == ([], [], True)
    assert decided.accounts_of(done.generation) == ({**ACCOUNTS_BEFORE, "account-a": "-1 2"}, LETTERS[2:])


def test_a_decision_that_the_live_generation_has_not_met_at_all_is_met_by_the_next_one(decided: Bank) -> None:
    """Recorded by a verb that was killed, while no app ran."""
    for decide in (skip, edit_an_entry, give_up):
        decide(decided.desk)
    done = rebuild_at(decided.site(lambda reading, moment: None), UNWATCHED)
    assert done.live
    assert decided.accounts_of(done.before) == (ACCOUNTS_BEFORE, LETTERS)
    assert decided.accounts_of(done.generation) == (
        {"account-a": "2", "account-b": "3 5", "account-c": "7", "account-d": "9"},
        [],
    )


def test_a_stream_that_waits_for_more_than_was_given_up_has_met_that(decided: Bank) -> None:
    bank = decided.desk.bank
    bank.record(bank.wire("account-e", 3, 3), bank.wire("account-e", 6, 6), bank.wire("account-f", 3, 3), bank.wire("account-f", -4, 4))
    bank.projector.catch_up()
    for versions in ("account-e@1-2", "account-f@1-2"):
        decided.desk.give_up(versions)
    decided.desk.drain()
    done = rebuild_at(decided.site(lambda reading, moment: None), UNWATCHED)
    accounts, letters = decided.accounts_of(done.generation)
    assert done.live
    assert (accounts["account-e"], accounts["account-f"], len(letters)) == ("3", "3", 6)


def test_verifying_on_demand_says_the_same_whatever_is_decided_meanwhile(decided: Bank) -> None:
    def act() -> None:
        give_up(decided.desk)
        decided.desk.drain()

    same = verify(decided.site(once(2, "before", act)), UNWATCHED)
    assert same is not None
    assert (same.findings, same.shown) == ([], [])


def test_a_decision_that_was_changed_after_it_was_met_is_a_difference_still(decided: Bank) -> None:
    """The live one keeps what it did; a rebuild makes it as it is decided now."""
    letter = decided.desk.letter("failed")
    decided.desk.decide(letter, "skip")
    decided.desk.drain()
    decided.desk.decide(letter, "undo")
    found = verify(decided.site(lambda reading, moment: None), UNWATCHED)
    assert found is not None
    assert (found.differing, found.findings[0].split(":")[1].strip()[:12]) == (2, "parked in g2")  # the row, and the version of its stream
