"""What waits, what failed, and what becomes of it when its turn comes, on every read model adapter."""

import msgspec
import pytest

from sidestream.applying.applied import PARKED_EVENTS
from sidestream.applying.dead_letters import parked_events, parked_streams, retry
from sidestream.errors import RefusedByStore
from sidestream.event import Counted, NewEvent, encode_event
from sidestream.ports import Query
from tests.contract.bank import TOPIC, Bank


def test_an_event_that_comes_early_waits_for_its_predecessor(bank: Bank) -> None:
    bank.record(bank.wire("account-a", 1, 1), bank.wire("account-a", 4, 4), bank.wire("account-a", 3, 3), bank.wire("account-b", 9, 1))
    bank.projector.catch_up()
    assert bank.accounts() == {"account-a": (1, "1"), "account-b": (9, "9")}
    (stream,) = parked_streams(bank.generation)
    assert stream.waiting_for == 2
    bank.record(bank.wire("account-a", 2, 2))
    outcome = bank.new_projector().catch_up()
    assert bank.accounts()["account-a"] == (10, "1 2 3 4")
    assert outcome.released == 2
    assert not parked_streams(bank.generation)


def test_a_version_given_twice_is_an_error_with_a_name(bank: Bank) -> None:
    bank.record(bank.wire("account-a", 1, 1), bank.wire("account-a", 5, 1), bank.wire("account-a", 2, 2))
    bank.projector.catch_up()
    assert bank.reasons() == ["version-reused"]
    assert bank.accounts() == {"account-a": (3, "1 2")}


def test_a_poison_event_parks_its_stream_and_no_other(bank: Bank) -> None:
    bank.record(bank.wire("account-a", 1, 1), bank.wire("account-a", -5, 2), bank.wire("account-a", 3, 3), bank.wire("account-b", 9, 1))
    outcome = bank.projector.catch_up()
    assert bank.accounts() == {"account-a": (1, "1"), "account-b": (9, "9")}
    assert bank.reasons() == ["rule-failed", "behind"]
    assert (outcome.applied, outcome.parked) == (2, 2)
    failed = parked_events(bank.generation)[0]
    assert "ValueError: amount -5" in failed.detail
    assert failed.attempts == 1
    assert msgspec.json.decode(failed.wire)["id"] == "e2"


def test_a_retry_after_a_mended_rule_drains_in_order(bank: Bank) -> None:
    bank.record(bank.wire("account-a", -5), bank.wire("account-a", 3), bank.wire("account-b", -1))
    bank.projector.catch_up()
    again = retry(bank.rule, bank.generation, lambda: "later")
    assert (again.freed, again.applied) == (0, 0)
    assert parked_events(bank.generation)[0].attempts == 2
    bank.projection.mended = True
    done = retry(bank.rule, bank.generation, lambda: "later")
    assert (done.tried, done.freed, done.applied) == (2, 2, 3)
    assert bank.accounts() == {"account-a": (-2, "-5 3"), "account-b": (-1, "-1")}
    bank.record(bank.wire("account-a", 7))
    bank.projector.catch_up()  # remembers the stream as parked, and must notice that it is not any more
    assert bank.accounts()["account-a"] == (5, "-5 3 7")


def test_a_retry_stops_at_the_next_event_that_fails(bank: Bank) -> None:
    bank.record(bank.wire("account-a", -5, 1), bank.wire("account-a", 3, 2))
    bank.record(
        encode_event(
            NewEvent(topic=TOPIC, id="bad", source="/services/bank", type="account.deposited", data=b"[]", subject="account-a"),
            Counted("writer.1", 3, 3),
        )
    )
    bank.projector.catch_up()
    bank.projection.mended = True
    done = retry(bank.rule, bank.generation, lambda: "later", stream="account-a")
    assert (done.freed, done.applied) == (0, 2)
    assert bank.accounts() == {"account-a": (-2, "-5 3")}
    assert bank.reasons() == ["unreadable-event"]


def test_an_event_whose_data_cannot_be_read_stays_parked_when_it_is_retried(bank: Bank) -> None:
    bank.record(bank.wire("account-a", "five"), bank.wire("account-a", 1))
    bank.projector.catch_up()
    done = retry(bank.rule, bank.generation, lambda: "later")
    assert (done.freed, done.applied) == (0, 0)
    assert bank.reasons() == ["unreadable-event", "behind"]
    assert bank.accounts() == {}


def test_an_unreadable_entry_that_becomes_readable_is_counted_when_it_is_retried(bank: Bank) -> None:
    good = bank.wire("account-a", 1)
    bank.record(b"{")
    bank.projector.catch_up()
    with bank.generation.unit() as unit:
        (parked,) = unit.select(PARKED_EVENTS, Query())
        unit.write(PARKED_EVENTS, [msgspec.structs.replace(parked, wire=good)])
    retry(bank.rule, bank.generation, lambda: "later")
    bank.record(good)
    bank.new_projector().catch_up()
    assert bank.accounts() == {"account-a": (1, "1")}


# ── the database refuses a value ─────────────────────────────────────────────────────────────────────────────────────


def test_an_event_the_database_refuses_is_parked_and_the_others_flow(bank: Bank, request: pytest.FixtureRequest) -> None:
    if "memory" in request.node.name:
        return  # Python holds any integer: there is nothing to refuse
    wires = [bank.wire(f"account-{at}", 2**63 if at == 37 else at) for at in range(100)]
    bank.record(*wires)
    bank.projector.catch_up()
    assert len(bank.accounts()) == 99
    (parked,) = parked_events(bank.generation)
    assert (parked.stream, parked.reason) == ("account-37", RefusedByStore.code)


@pytest.mark.parametrize("refused", [2, 3, 4, 5])
def test_of_events_that_are_applied_together_the_one_that_the_database_refuses_is_blamed(
    bank: Bank, request: pytest.FixtureRequest, refused: int
) -> None:
    if "memory" in request.node.name:
        return  # Python holds any integer: there is nothing to refuse
    bank.record(bank.wire("account-a", 1, 1))
    amounts = {version: 2**63 if version == refused else version for version in (2, 3, 4, 5)}
    bank.record(*(bank.wire("account-a", amounts[version], version, id=f"v{version}") for version in (5, 3, 4)))
    bank.projector.catch_up()
    bank.record(bank.wire("account-a", amounts[2], 2, id="v2"), bank.wire("account-b", 9, 1))
    bank.projector.catch_up()
    blamed = [event.event_id for event in parked_events(bank.generation) if event.reason == RefusedByStore.code]
    assert blamed == [f"v{refused}"]
    applied = list(range(1, refused))
    assert bank.accounts() == {"account-a": (sum(applied), " ".join(map(str, applied))), "account-b": (9, "9")}
    assert len(parked_events(bank.generation)) == 5 - len(applied)
