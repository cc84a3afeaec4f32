"""The retry: given these attempts, when somebody wants another one, then it is recorded or refused."""

import pytest

from events.shipments import ShipmentEvent, ShipmentRefused, ShipmentRetried
from services.shipping.retrying import SHIPMENT, Attempts, RetryShipment
from sidestream.testing import AggregateSpecification

ORDER = "019aa1b2-0000-7000-8000-00000000000a"
REFUSED = ShipmentRefused(ORDER, "unknown-order", "there is none")


def given(*events: ShipmentEvent) -> AggregateSpecification[Attempts, RetryShipment, ShipmentEvent]:
    return AggregateSpecification(SHIPMENT).given(*events)


def retry(known: str) -> RetryShipment:
    return RetryShipment(ORDER, known)


@pytest.mark.parametrize("known", ["refused", "due", "unpaid"])
def test_what_was_refused_is_retried_even_where_the_rows_do_not_say_so_yet(known: str) -> None:
    given(REFUSED).when(retry(known)).then(ShipmentRetried(ORDER, 1))


def test_each_refusal_may_be_retried_and_the_attempts_are_counted() -> None:
    again = given(REFUSED, ShipmentRetried(ORDER, 1), REFUSED)
    again.when(retry("refused")).then(ShipmentRetried(ORDER, 2))
    again.when(retry("refused")).then_state(Attempts(retried=2, refused=False))


@pytest.mark.parametrize("known", ["refused", "due", "unpaid"])
def test_what_was_retried_is_due_and_not_retried_twice(known: str) -> None:
    given(REFUSED, ShipmentRetried(ORDER, 1)).when(retry(known)).then_refused("shipment-due")


@pytest.mark.parametrize("known", ["shipped", "cancelled"])
def test_what_has_ended_meanwhile_is_not_retried(known: str) -> None:
    given(REFUSED).when(retry(known)).then_refused(f"shipment-{known}")
    given().when(retry(known)).then_refused(f"shipment-{known}")


def test_what_is_due_and_was_never_refused_is_not_retried() -> None:
    given().when(retry("due")).then_refused("shipment-due")


def test_what_nobody_knows_is_not_retried() -> None:
    given().when(retry("unpaid")).then_refused("unknown-shipment")
