"""Corrections: what an operator decides about a dead letter outlives every generation. On every read model adapter."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec
import pytest

from sidestream.applying.applied import BOOKKEEPING
from sidestream.applying.corrections import BESIDE, Correction, Corrections, InForce, checked, with_data, with_fields
from sidestream.applying.dead_letters import Letter, drain, letters_about, parked_events, parked_streams, retry
from sidestream.applying.projector import Projector
from sidestream.applying.rules import Rule
from sidestream.errors import InvalidEvent
from sidestream.ports import Generation, ReadModels
from tests.contract.test_projecting import ACCOUNTS, REGISTRY, TOPIC, Balances, Bank


@pytest.fixture
def corrections(read_models: ReadModels) -> Iterator[Corrections]:
    with closing(Corrections(read_models.beside(BESIDE))) as made:
        yield made


class Desk:
    """A bank with an operator: the log, a live generation, and as many others as a test wants."""

    def __init__(self, read_models: ReadModels, corrections: Corrections) -> None:
        self.bank = Bank(read_models)
        self.corrections = corrections
        self.in_force = InForce(corrections)
        self.rule = Rule(Balances(), REGISTRY, self.in_force)
        self.bank.rule = self.rule
        self.bank.projector = self.bank.new_projector()

    def letter(self, event_id: str) -> Letter:
        (letter,) = letters_about(self.bank.generation, event_id)
        return letter

    def decide(self, letter: Letter, kind: Any, wire: bytes = b"") -> Correction:
        recorded = self.corrections.record(letter.correction(kind, wire, who="ann", why="typo", at="2026-11-21T09:00:00Z"))
        self.in_force.refresh()
        return recorded

    def edit(self, event_id: str, amount: Any) -> Correction:
        letter = self.letter(event_id)
        wire = checked(letter.original, with_data(letter.original, msgspec.json.encode({"amount": amount})))
        return self.decide(letter, "edit", wire)

    def skip(self, event_id: str) -> Correction:
        return self.decide(self.letter(event_id), "skip")

    def drain(self, since: int = 0) -> None:
        drain(self.rule, self.bank.generation, lambda: "later", self.in_force.since(since))

    def rebuilt(self, batch: int = 5000) -> Generation:
        name = self.bank.read_models.create(1, (*BOOKKEEPING, ACCOUNTS), "")
        generation = self.bank.read_models.open(name)
        Projector(self.rule, self.bank.log, generation, lambda: "now", batch).catch_up()
        return generation

    def expect(self, accounts: dict[str, tuple[int, str]]) -> None:
        """The drained one and one built anew hold the same, and nothing is parked in either."""
        live = self.bank.generation
        for generation in (live, self.rebuilt(), self.rebuilt(batch=1)):
            self.bank.generation = generation
            assert self.bank.accounts() == accounts
            assert not parked_streams(generation), parked_events(generation)
        self.bank.generation = live


@pytest.fixture
def desk(read_models: ReadModels, corrections: Corrections) -> Desk:
    return Desk(read_models, corrections)


# ── the record ───────────────────────────────────────────────────────────────────────────────────────────────────────


def correction(name: str, kind: str = "skip") -> Correction:
    return Correction(0, "event", "/s", name, kind, b"", b"{}", "ann", "because", "now")


def test_a_decision_is_kept_with_the_original_who_why_and_when(corrections: Corrections) -> None:
    recorded = corrections.record(Correction(0, "event", "/s", "\x00🎈", "edit", b"\x00new", b"\xffold", "ann", "why \x00 not", "now"))
    assert recorded.number == 1
    assert corrections.after(0) == [recorded]
    assert corrections.after(1) == []


def test_a_second_place_of_the_same_projection_sees_the_same(read_models: ReadModels, corrections: Corrections) -> None:
    recorded = corrections.record(correction("one"))
    with closing(Corrections(read_models.beside(BESIDE))) as other:
        assert other.after(0) == [recorded]
        assert other.record(correction("two")).number == 2
    assert [each.name for each in corrections.after(0)] == ["one", "two"]


def test_of_several_decisions_the_last_is_in_force_and_all_are_kept(corrections: Corrections) -> None:
    in_force = InForce(corrections)
    for kind in ("edit", "skip", "undo"):
        corrections.record(correction("one", kind))
    corrections.record(correction("two"))
    assert in_force.refresh() == 4
    assert in_force.find(("event", "/s", "one")) is None
    assert [each.name for each in in_force.since(0)] == ["two"]
    assert [each.kind for each in corrections.after(0)] == ["edit", "skip", "undo", "skip"]


def test_a_generation_that_is_dropped_takes_no_decision_with_it(read_models: ReadModels, corrections: Corrections) -> None:
    name = read_models.create(1, BOOKKEEPING, "")
    corrections.record(correction("one"))
    read_models.drop(name)
    assert len(corrections.after(0)) == 1
    assert read_models.generations() == ()


# ── what becomes of events ───────────────────────────────────────────────────────────────────────────────────────────


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


# ── the event to use instead ─────────────────────────────────────────────────────────────────────────────────────────

WIRE = b'{"id":"1","source":"/s","type":"t","producer":"p","sequence":"01","data":{"a":1.0,"b":9007199254740993},"own":12.50}'


def test_no_number_changes_in_what_is_not_edited() -> None:
    assert with_fields(WIRE, b'{"c":1.0}') == WIRE.replace(b"740993}", b'740993,"c":1.0}')
    assert with_data(WIRE, b"0.10") == WIRE.replace(b'{"a":1.0,"b":9007199254740993}', b"0.10")


@pytest.mark.parametrize(
    "instead",
    [
        WIRE.replace(b'"1"', b'"2"'),
        WIRE.replace(b'"/s"', b'"/t"'),
        WIRE.replace(b'"p"', b'"q"'),
        WIRE.replace(b'"01"', b'"02"'),
        WIRE[:-1] + b',"subject":"x"}',
        WIRE[:-1] + b',"streamversion":4}',
        b"{",
        WIRE[:-1] + b',"x":"' + b"x" * 4 * 1024 * 1024 + b'"}',
    ],
)
def test_an_event_that_is_another_one_cannot_be_used_instead(instead: bytes) -> None:
    with pytest.raises(InvalidEvent, match="edit: "):
        checked(WIRE, instead)


@pytest.mark.parametrize(("original", "data"), [(WIRE, b"{"), (WIRE, b"\xff"), (b"{", b"{}"), (b"[]", b"{}")])
def test_what_is_no_json_is_refused(original: bytes, data: bytes) -> None:
    with pytest.raises(InvalidEvent, match="edit: expected"):
        with_data(original, data)


def test_fields_are_set_in_an_object_only() -> None:
    with pytest.raises(InvalidEvent, match="edit: expected --set"):
        with_fields(WIRE, b"[]")
    with pytest.raises(InvalidEvent, match="edit: expected the event's data"):
        with_fields(WIRE.replace(b'{"a":1.0,"b":9007199254740993}', b"5"), b"{}")
