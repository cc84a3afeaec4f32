"""One batch, one transaction: what becomes of every kind of event, on every read model adapter."""

import pytest

from sidestream.applying.applied import COUNTS
from sidestream.applying.dead_letters import parked_events
from sidestream.ports import Query
from tests.contract.bank import Bank


def test_events_are_applied_in_log_order(bank: Bank) -> None:
    bank.record(bank.wire("account-a", 1), bank.wire("account-b", 10), bank.wire("account-a", 2))
    outcome = bank.projector.catch_up()
    assert bank.accounts() == {"account-a": (3, "1 2"), "account-b": (10, "10")}
    assert (outcome.applied, outcome.duplicates, outcome.parked) == (3, 0, 0)


def test_a_duplicate_leaves_the_read_model_as_it_was(bank: Bank) -> None:
    first, second = bank.wire("account-a", 1), bank.wire("account-a", 2)
    bank.record(first, first, second)
    bank.projector.catch_up()
    bank.record(second, first)
    outcome = bank.new_projector().catch_up()
    assert bank.accounts() == {"account-a": (3, "1 2")}
    assert outcome.duplicates == 2


def test_a_number_used_for_two_events_is_an_error_with_a_name(bank: Bank) -> None:
    bank.record(bank.wire("account-a", 1, number=1, id="one"), bank.wire("account-a", 5, number=1, id="other"))
    bank.projector.catch_up()
    (parked,) = parked_events(bank.generation)
    assert parked.reason == "number-reused"
    assert "one" in parked.detail
    assert "other" in parked.detail
    bank.record(bank.wire("account-a", 7, number=2))
    bank.projector.catch_up()
    assert bank.accounts() == {"account-a": (8, "1 7")}  # its stream goes on


def test_a_hole_in_the_count_is_not_waited_for_and_can_be_filled(bank: Bank) -> None:
    bank.record(bank.wire("account-a", 1, number=1), bank.wire("account-a", 3, number=3))
    bank.projector.catch_up()
    bank.record(bank.wire("account-a", 2, number=2), bank.wire("account-a", 3, number=3))
    bank.projector.catch_up()
    assert bank.accounts() == {"account-a": (6, "1 3 2")}
    with bank.generation.snapshot() as reader:
        assert [row.intervals for row in reader.select(COUNTS, Query())] == ["1-3"]


def test_a_strangers_event_is_taken_once(bank: Bank) -> None:
    stranger = b'{"specversion":"1.0","id":"x1","source":"/curl","type":"account.deposited","data":{"amount":4}}'
    bank.record(stranger, stranger)
    bank.projector.catch_up()
    bank.record(stranger, stranger.replace(b"/curl", b"/other"))
    bank.projector.catch_up()
    assert bank.accounts() == {"/curl x1": (4, "4"), "/other x1": (4, "4")}


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'"text"',
        b'{"id":"1"}',
        b'{"id":"1","source":"","type":"t"}',
        b'{"id":"1","source":"s","type":"t","producer":"p","sequence":"0"}',
    ],
)
def test_an_entry_that_cannot_be_read_is_a_dead_letter_and_holds_up_nothing(bank: Bank, garbage: bytes) -> None:
    bank.record(garbage, bank.wire("account-a", 1))
    bank.projector.catch_up()
    bank.projector.catch_up()
    assert bank.accounts() == {"account-a": (1, "1")}
    (parked,) = parked_events(bank.generation)
    assert (parked.reason, parked.position, parked.wire) == ("unreadable-entry", "1", garbage)


def test_a_schema_version_from_the_future_is_parked_not_lost(bank: Bank) -> None:
    bank.record(bank.wire("account-a", 1, dataschema="urn:sidestream:account.deposited:2"), bank.wire("account-b", 2))
    bank.projector.catch_up()
    assert bank.reasons() == ["unknown-schema-version"]
    assert bank.accounts() == {"account-b": (2, "2")}


def test_an_event_type_that_is_not_handled_moves_its_stream_on(bank: Bank) -> None:
    bank.record(bank.wire("account-a", 1, 1), bank.wire("account-a", 0, 2, type="account.noted"), bank.wire("account-a", 3, 3))
    outcome = bank.projector.catch_up()
    assert bank.accounts() == {"account-a": (4, "1 3")}
    assert outcome.unhandled == 1


def test_text_no_database_likes_arrives_unchanged(bank: Bank) -> None:
    bank.record(bank.wire("account-\x00🎈\ufdd0", 1, id="\x00"))
    bank.projector.catch_up()
    assert bank.accounts() == {"account-\x00🎈\ufdd0": (1, "1")}
