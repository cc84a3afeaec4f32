"""What is due, the command that follows, and what its answer means."""

from typing import Any

import pytest

import events
from events.orders import OrderCancelled, OrderLine, OrderPaid, OrderPlaced, OrderShipped, order_stream
from events.shipments import ShipmentRefused, ShipmentRetried, shipment_stream
from services.shipping.due import SHIPMENTS, Shipment, Shipping
from services.shipping.parcels import judge, parcel_for
from sidestream.testing import Happened, ProjectionSpecification, happened

A, B, C = (f"019aa1b2-0000-7000-8000-00000000000{letter}" for letter in "abc")
DUE = ProjectionSpecification(Shipping(), events.registry())
PLACED = OrderPlaced("ada", "EUR", (OrderLine(1, "tea", 1, 5),))
PAID = OrderPaid(5, "EUR", "pay", "2026-11-21T09:30:00Z")
SHIPPED = OrderShipped("post", "P-1")


def of(order: str, *happenings: Any, **attributes: Any) -> list[Happened]:
    return [happened(each, subject=order_stream(order), **attributes) for each in happenings]


def refused(order: str) -> Happened:
    return happened(ShipmentRefused(order, "unknown-order", "there is none"), subject=shipment_stream(order))


def retried(order: str, attempt: int = 1) -> Happened:
    return happened(ShipmentRetried(order, attempt), subject=shipment_stream(order))


def states(*history: Happened, seed: int = 0) -> dict[str, str]:
    return {row.order: row.state for row in DUE.when(*history).delivered(times=2).shuffled(seed).rows(SHIPMENTS)}


@pytest.mark.parametrize("seed", range(4))
def test_an_order_is_due_from_its_payment_to_its_last_word(seed: int) -> None:
    history = [*of(A, PLACED, PAID), *of(B, PLACED, PAID, SHIPPED), *of(C, PLACED, PAID, OrderCancelled("no"))]

    assert states(*history, seed=seed) == {A: "due", B: "shipped", C: "cancelled"}


@pytest.mark.parametrize("seed", range(8))
def test_a_refusal_counts_whether_it_is_read_before_the_payment_or_after(seed: int) -> None:
    assert states(*of(A, PLACED, PAID), refused(A), *of(B, PLACED, PAID), seed=seed) == {A: "refused", B: "due"}


@pytest.mark.parametrize("seed", range(8))
def test_a_refusal_that_was_retried_is_due_and_may_be_refused_again(seed: int) -> None:
    history = [*of(A, PLACED, PAID), refused(A), retried(A), *of(B, PLACED, PAID), refused(B), retried(B), refused(B)]

    assert states(*history, seed=seed) == {A: "due", B: "refused"}


def test_the_row_counts_the_retries_and_forgets_the_refusal() -> None:
    (row,) = DUE.when(*of(A, PLACED, PAID), refused(A), retried(A), refused(A), retried(A, 2)).rows(SHIPMENTS)

    assert (row.state, row.attempt, row.refused) == ("due", 2, "")


def test_a_retry_of_what_was_shipped_meanwhile_leaves_it_shipped() -> None:
    assert states(*of(A, PLACED, PAID), refused(A), *of(A, SHIPPED), retried(A)) == {A: "shipped"}


def test_an_order_that_was_shipped_by_hand_is_no_longer_refused() -> None:
    assert states(*of(A, PLACED, PAID), refused(A), *of(A, SHIPPED)) == {A: "shipped"}


def test_the_row_holds_the_event_and_the_conversation() -> None:
    paid = happened(PAID, subject=order_stream(A), correlationid="talk", traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01")
    (row,) = DUE.when(*of(A, PLACED), paid).rows(SHIPMENTS)

    assert (row.paid_event, row.correlation_id, row.traceparent) == ("e-002", "talk", "00-" + "1" * 32 + "-" + "2" * 16 + "-01")


def test_a_payment_of_what_is_no_order_is_parked_and_the_others_go_on() -> None:
    strange = happened(PAID, subject="order-x")
    book = DUE.when(strange, *of(A, PLACED, PAID))

    book.then_parked("e-001")


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_command_is_made_from_the_event_alone() -> None:
    parcel = parcel_for(Shipment(A, "due", "event-7", "talk", "trace"))

    assert parcel == parcel_for(Shipment(A, "due", "event-7", "talk", "trace"))
    assert parcel.path == f"/orders/{A}/shipment"
    assert parcel.headers == {"idempotency-key": "event-7", "x-causation-id": "event-7", "x-correlation-id": "talk", "traceparent": "trace"}


def test_a_retry_sends_the_very_same_command() -> None:
    assert parcel_for(Shipment(A, "due", "event-7", "talk", attempt=3)) == parcel_for(Shipment(A, "due", "event-7", "talk"))


@pytest.mark.parametrize("strange", ["two words", "x" * 500, "naïve", "\n", "\x00"])
def test_ids_that_no_header_can_carry_are_sent_as_digests(strange: str) -> None:
    parcel = parcel_for(Shipment(A, "due", strange, strange))

    for value in (*parcel.headers.values(), parcel.body["tracking"]):
        assert value.isascii()
        assert value.isprintable()
        assert len(value) <= 100
    assert parcel.headers["idempotency-key"] != parcel_for(Shipment(A, "due", strange + "!")).headers["idempotency-key"]


def problem(code: str) -> dict[str, Any]:
    return {"type": f"urn:sidestream:problem:{code}", "detail": "because"}


@pytest.mark.parametrize(
    ("status", "body", "retry_after", "outcome"),
    [
        (200, {}, False, "done"),
        (409, problem("order-shipped"), False, "done"),
        (409, problem("order-cancelled"), False, "done"),
        (409, problem("order-open"), False, "refused"),
        (404, problem("unknown-order"), False, "refused"),
        (422, problem("idempotency-key-reused"), False, "refused"),
        (409, problem("command-running"), True, "later"),
        (503, problem("store-away"), True, "later"),
        (500, problem("internal-server-error"), False, "later"),
        (429, problem("too-many"), False, "later"),
        (500, {"errorCode": "ERR_DIRECT_INVOKE", "message": "no app"}, False, "later"),
        (404, {"detail": "Not Found"}, False, "later"),
        (403, None, False, "later"),
        (502, "bad gateway", False, "later"),
        (301, [], False, "later"),
    ],
)
def test_what_an_answer_means(status: int, body: Any, retry_after: bool, outcome: str) -> None:
    verdict = judge(status, body, retry_after=retry_after)

    assert verdict.outcome == outcome
    assert outcome == "done" or (verdict.code and verdict.detail)
