"""Entries that cannot be read are known by their bytes: a decision holds wherever they stand. On every read model adapter.

A log that was repaired, moved to another broker, or restored holds the same bytes at other positions.
"""

import pytest

from sidestream.applying.corrections import Correction, InForce
from sidestream.applying.dead_letters import Letter, letters_about, parked_as, parked_events
from sidestream.event import digest
from tests.contract.bank import TOPIC
from tests.contract.correcting import Desk

BAD, OTHER = b'{"id"', b'{"source"'


def move(desk: Desk, *wires: bytes) -> None:
    """Write the log anew: these entries, from position 1 on, and let the live generation meet them."""
    desk.bank.log.flush(TOPIC)
    desk.bank.record(*wires)
    desk.bank.projector.catch_up()


def decided(desk: Desk, position: str, kind: str, wire: bytes = b"", original: bytes = BAD) -> Correction:
    """Record a decision about an entry, as it was seen at this position."""
    return desk.decide(Letter("entry", TOPIC, position, original), kind, wire)


def entry(desk: Desk, position: str, original: bytes = BAD, topic: str = TOPIC) -> Correction | None:
    return desk.in_force.find_entry(topic, position, original)


def test_an_edited_entry_is_the_edited_event_wherever_its_bytes_stand(desk: Desk) -> None:
    bank = desk.bank
    one, two, instead = bank.wire("account-a", 1), bank.wire("account-a", 2), bank.wire("account-b", 7)
    bank.record(one, BAD, two)
    bank.projector.catch_up()
    desk.decide(desk.letter(f"{TOPIC}@2"), "edit", instead)
    desk.drain()

    move(desk, one, one, BAD, two)

    desk.expect({"account-a": (3, "1 2"), "account-b": (7, "7")})


def test_a_skipped_entry_is_skipped_wherever_its_bytes_stand(desk: Desk) -> None:
    bank = desk.bank
    one = bank.wire("account-a", 1)
    bank.record(one, BAD)
    bank.projector.catch_up()
    desk.skip(f"{TOPIC}@2")
    desk.drain()

    move(desk, one, one, one, BAD)

    desk.expect({"account-a": (1, "1")})


def test_what_was_undone_about_an_entry_holds_nowhere(desk: Desk) -> None:
    decided(desk, "2", "skip")
    decided(desk, "2", "undo")
    assert (entry(desk, "2"), entry(desk, "3")) == (None, None)


def test_other_bytes_and_another_topic_are_not_met_by_a_decision_about_an_entry(desk: Desk) -> None:
    skipped = decided(desk, "2", "skip")
    assert (entry(desk, "2"), entry(desk, "3")) == (skipped, skipped)
    assert (entry(desk, "2", OTHER), entry(desk, "2", topic="others"), entry(desk, "3", topic="others")) == (None, None, None)


def test_of_two_decisions_about_the_same_bytes_each_holds_at_its_place_and_the_last_one_elsewhere(desk: Desk) -> None:
    first, second = decided(desk, "2", "edit", b"one"), decided(desk, "5", "edit", b"other")
    assert (entry(desk, "2"), entry(desk, "5"), entry(desk, "9")) == (first, second, second)
    decided(desk, "5", "undo")
    assert (entry(desk, "2"), entry(desk, "5"), entry(desk, "9")) == (first, None, None)


def test_decisions_about_two_entries_that_stood_at_one_position_are_both_in_force(desk: Desk) -> None:
    first, second = decided(desk, "2", "skip"), decided(desk, "2", "skip", original=OTHER)
    assert (entry(desk, "2"), entry(desk, "2", OTHER), entry(desk, "9"), entry(desk, "9", OTHER)) == (first, second, first, second)
    assert desk.in_force.since(0) == [first, second]
    fixed: InForce = desk.in_force.only(lambda decision: decision.original == BAD)
    assert (fixed.find_entry(TOPIC, "9", BAD), fixed.find_entry(TOPIC, "9", OTHER)) == (first, None)


def test_of_two_letters_from_one_position_each_is_decided_by_the_name_of_its_bytes(desk: Desk) -> None:
    bank = desk.bank
    one, two = bank.wire("account-a", 1), bank.wire("account-a", 2)
    bank.record(BAD, one)
    bank.projector.catch_up()
    move(desk, OTHER, two, one)
    assert {letter.original for letter in letters_about(bank.generation, f"{TOPIC}@1")} == {BAD, OTHER}

    name = f"entry #{digest(OTHER).hex()}"
    (parked,) = parked_as(bank.generation, name)
    assert (parked.wire, parked.stream) == (OTHER, name)
    desk.skip(name)
    desk.drain()

    assert [event.wire for event in parked_events(bank.generation)] == [BAD]


def test_a_letter_from_another_position_meets_the_decision_about_its_bytes(desk: Desk) -> None:
    """A generation that was built after the log was moved has the letter from another position than the live one."""
    bank = desk.bank
    one = bank.wire("account-a", 1)
    bank.record(BAD, one)
    bank.projector.catch_up()
    move(desk, one, BAD)
    live, built = bank.generation, desk.rebuilt()
    assert [event.position for generation in (live, built) for event in parked_events(generation)] == ["1", "2"]

    desk.skip(f"{TOPIC}@1")
    bank.generation = built
    desk.drain()

    assert parked_events(built) == []
    bank.generation = live


@pytest.mark.parametrize("position", ["1", "2"])
def test_equal_entries_are_one_letter_and_one_decision(desk: Desk, position: str) -> None:
    bank = desk.bank
    bank.record(BAD, BAD, bank.wire("account-a", 1))
    bank.projector.catch_up()
    assert [(event.position, event.wire) for event in parked_events(bank.generation)] == [("1", BAD)]
    decided(desk, position, "edit", bank.wire("account-b", 7))
    desk.drain()
    desk.expect({"account-a": (1, "1"), "account-b": (7, "7")})
