"""Corrections: what an operator decides about a dead letter outlives every generation. On every read model adapter."""

import msgspec
import pytest

from sidestream.applying.corrections import checked
from sidestream.applying.dead_letters import parked_events, parked_streams, retry
from sidestream.errors import InvalidEvent
from tests.contract.bank import TOPIC
from tests.contract.correcting import Desk


def test_an_edited_event_is_applied_instead_and_the_stream_behind_it_drains_in_order(desk: Desk) -> None:
    bank = desk.bank
    bank.record(*(bank.wire("account-a", amount, version) for version, amount in ((1, 1), (2, -5), (3, 3), (4, 4))))
    bank.record(bank.wire("account-b", 9, 1))
    bank.projector.catch_up()
    desk.edit("e2", 5)
    desk.drain()
    desk.expect({"account-a": (13, "1 5 3 4"), "account-b": (9, "9")})
    bank.record(bank.wire("account-a", 6, 5))
    bank.projector.catch_up()
    desk.expect({"account-a": (19, "1 5 3 4 6"), "account-b": (9, "9")})


def test_a_skipped_event_is_counted_moves_its_stream_on_and_does_nothing(desk: Desk) -> None:
    bank = desk.bank
    bad = bank.wire("account-a", -5, 1)
    bank.record(bad, bank.wire("account-a", 3, 2))
    bank.projector.catch_up()
    desk.skip("e1")
    desk.drain()
    desk.expect({"account-a": (3, "3")})
    bank.record(bad, bank.wire("account-a", 4, 3))
    assert bank.projector.catch_up().duplicates == 1
    desk.expect({"account-a": (7, "3 4")})


def test_an_edit_that_fails_too_leaves_the_letter_with_its_original_bytes(desk: Desk) -> None:
    bank = desk.bank
    wire = bank.wire("account-a", -5)
    bank.record(wire, bank.wire("account-a", 3))
    bank.projector.catch_up()
    desk.edit("e1", -6)
    desk.drain()
    first, behind = parked_events(bank.generation)
    assert ("amount -6" in first.detail, first.wire, first.attempts, behind.reason) == (True, wire, 2, "behind")
    desk.edit("e1", 6)
    desk.drain()
    desk.expect({"account-a": (9, "6 3")})


def test_an_undone_decision_is_met_by_no_generation_built_after_it(desk: Desk) -> None:
    bank = desk.bank
    bank.record(bank.wire("account-a", -5), bank.wire("account-a", 3))
    bank.projector.catch_up()
    letter = desk.letter("e1")
    desk.decide(letter, "skip")
    desk.drain()
    assert bank.accounts() == {"account-a": (3, "3")}
    desk.decide(letter, "undo")
    assert [event.reason for event in parked_events(desk.rebuilt())] == ["rule-failed", "behind"]
    assert bank.accounts() == {"account-a": (3, "3")}  # what was done stays until a rebuild


def test_an_event_behind_another_is_corrected_when_its_turn_comes(desk: Desk) -> None:
    bank = desk.bank
    bank.record(*(bank.wire("account-a", amount) for amount in (-1, -2, 3)))
    bank.projector.catch_up()
    desk.skip("e2")
    desk.drain()
    assert bank.accounts() == {}
    desk.edit("e1", 1)
    desk.drain()
    desk.expect({"account-a": (4, "1 3")})


def test_a_number_used_twice_can_be_skipped_and_the_event_first_applied_stays(desk: Desk) -> None:
    bank = desk.bank
    bank.record(bank.wire("account-a", 1, number=1, id="one"), bank.wire("account-a", 5, number=1, id="other"))
    bank.projector.catch_up()
    desk.skip("other")
    desk.drain()
    desk.expect({"account-a": (1, "1")})


def test_a_version_used_twice_under_the_same_id_can_be_skipped_without_losing_the_first(desk: Desk) -> None:
    bank = desk.bank
    wires = [bank.wire("account-a", 1, 1, id="one"), bank.wire("account-a", 1, 1, id="one"), bank.wire("account-a", 2, 2)]
    bank.record(*wires)
    bank.projector.catch_up()
    assert bank.reasons() == ["version-reused"]
    desk.skip("one")
    desk.drain()
    desk.expect({"account-a": (3, "1 2")})


def test_a_repeat_cannot_be_edited(desk: Desk) -> None:
    bank = desk.bank
    bank.record(bank.wire("account-a", 1, number=1, id="one"), bank.wire("account-a", 5, number=1, id="other"))
    bank.projector.catch_up()
    with pytest.raises(InvalidEvent, match="skip"):
        desk.edit("other", 6)


def test_an_entry_that_cannot_be_read_is_skipped_by_topic_and_position(desk: Desk) -> None:
    bank = desk.bank
    bank.record(b"{", bank.wire("account-a", 1))
    bank.projector.catch_up()
    desk.skip(f"{TOPIC}@1")
    desk.drain()
    desk.expect({"account-a": (1, "1")})


def test_another_entry_at_the_same_position_is_not_skipped(desk: Desk) -> None:
    bank = desk.bank
    bank.record(b"{")
    bank.projector.catch_up()
    desk.skip(f"{TOPIC}@1")
    bank.log.flush(TOPIC)
    bank.record(b"[")
    assert [event.reason for event in parked_events(desk.rebuilt())] == ["unreadable-entry"]


def test_an_entry_that_cannot_be_read_is_edited_into_a_whole_event_and_counted(desk: Desk) -> None:
    bank = desk.bank
    good = bank.wire("account-a", 1, 1)
    bank.record(b"{", bank.wire("account-a", 2, 2))
    bank.projector.catch_up()
    assert bank.reasons() == ["waiting", "unreadable-entry"]
    letter = desk.letter(f"{TOPIC}@1")
    desk.decide(letter, "edit", checked(letter.original, good))
    desk.drain()
    desk.expect({"account-a": (3, "1 2")})
    bank.record(good)
    assert bank.projector.catch_up().duplicates == 1


def test_an_edited_entry_that_fails_waits_in_its_stream_and_can_be_edited_again(desk: Desk) -> None:
    bank = desk.bank
    bank.record(b"{", bank.wire("account-a", 2))
    bank.projector.catch_up()
    letter = desk.letter(f"{TOPIC}@1")
    desk.decide(letter, "edit", bank.wire("account-a", -1, number=7))
    desk.drain()
    assert bank.reasons() == ["rule-failed"]
    letter = desk.letter(f"{TOPIC}@1")
    assert letter.original == b"{"
    desk.decide(letter, "edit", bank.wire("account-a", 4, number=7))
    desk.drain()
    assert bank.accounts() == {"account-a": (6, "2 4")}
    assert not parked_streams(bank.generation)


def test_a_schema_version_from_the_future_can_be_edited_into_one_that_is_known(desk: Desk) -> None:
    bank = desk.bank
    bank.record(bank.wire("account-a", 1, dataschema="urn:sidestream:account.deposited:2"), bank.wire("account-a", 2))
    bank.projector.catch_up()
    letter = desk.letter("e1")
    attributes = {**msgspec.json.decode(letter.original), "dataschema": "urn:sidestream:account.deposited:1"}
    desk.decide(letter, "edit", checked(letter.original, msgspec.json.encode(attributes)))
    desk.drain()
    desk.expect({"account-a": (3, "1 2")})


def test_an_event_the_database_refuses_can_be_edited_and_an_edit_it_refuses_holds_up_nobody(
    desk: Desk, request: pytest.FixtureRequest
) -> None:
    if "memory" in request.node.name:
        return  # Python holds any integer: there is nothing to refuse
    bank = desk.bank
    bank.record(bank.wire("account-a", 2**63), bank.wire("account-b", 1))
    bank.projector.catch_up()
    desk.edit("e1", 2**64)
    desk.drain()
    assert [event.reason for event in parked_events(desk.rebuilt())] == ["refused-by-store"]
    desk.edit("e1", 2)
    desk.drain()
    desk.expect({"account-a": (2, "2"), "account-b": (1, "1")})


def test_only_streams_that_a_decision_is_about_are_tried(desk: Desk) -> None:
    bank = desk.bank
    bank.record(bank.wire("account-a", -1), bank.wire("account-b", -2))
    bank.projector.catch_up()
    desk.skip("e1")
    desk.drain()
    (left,) = parked_events(bank.generation)
    assert (left.event_id, left.attempts) == ("e2", 1)


def test_one_event_is_tried_again_alone(desk: Desk) -> None:
    bank = desk.bank
    bank.record(bank.wire("account-a", -1), bank.wire("account-b", -2))
    bank.projector.catch_up()
    done = retry(desk.rule, bank.generation, lambda: "later", only={(TOPIC, "account-b")})
    assert (done.tried, done.freed) == (1, 0)
    assert [event.attempts for event in parked_events(bank.generation)] == [1, 2]


def test_what_comes_before_a_refused_event_of_its_stream_is_applied_by_a_retry(desk: Desk, request: pytest.FixtureRequest) -> None:
    if "memory" in request.node.name:
        return
    bank = desk.bank
    bank.record(*(bank.wire("account-a", amount) for amount in (-1, 2, 2**63, 4)))
    bank.projector.catch_up()
    desk.edit("e1", 1)
    desk.drain()
    assert bank.accounts() == {"account-a": (3, "1 2")}
    assert bank.reasons() == ["refused-by-store", "behind"]
