"""The order: given these events, when this is asked, then that is recorded or refused."""

import pytest

from events.orders import LineAdded, LineRemoved, OrderCancelled, OrderEvent, OrderLine, OrderPaid, OrderPlaced, OrderShipped
from services.orders.commands import AddLine, CancelOrder, NewLine, OrderCommand, PayOrder, PlaceOrder, RemoveLine, ShipOrder
from services.orders.order import MOST_LINES, ORDER, Order
from sidestream.testing import AggregateSpecification

TEA = OrderLine(1, "tea", 3, 450)
POT = OrderLine(2, "pot", 1, 2500)
PLACED = OrderPlaced("ada", "EUR", (TEA,))
PAID = OrderPaid(1350, "EUR", "pay-1", "2026-11-21T09:30:00Z")
SHIPPED = OrderShipped("post", "P-1")
CANCELLED = OrderCancelled("changed her mind")
PAY = PayOrder(1350, "EUR", "pay-1", "2026-11-21T09:30:00Z")
SHIP = ShipOrder("post", "P-1")
CANCEL = CancelOrder("changed her mind")
ADD = AddLine(NewLine("pot", 1, 2500))


def order(*events: OrderEvent) -> AggregateSpecification[Order, OrderCommand, OrderEvent]:
    return AggregateSpecification(ORDER).given(*events)


def test_an_order_is_placed_with_its_lines_numbered() -> None:
    lines = (NewLine("tea", 3, 450), NewLine("pot", 1, 2500))
    order().when(PlaceOrder("ada", "EUR", lines)).then(OrderPlaced("ada", "EUR", (TEA, POT)))


def test_an_order_may_begin_without_lines() -> None:
    order().when(PlaceOrder("ada", "EUR")).then(OrderPlaced("ada", "EUR", ()))


def test_an_order_is_placed_once() -> None:
    order(PLACED).when(PlaceOrder("ada", "EUR")).then_refused("order-exists")


def test_a_line_comes_with_the_next_number() -> None:
    order(PLACED).when(ADD).then(LineAdded(POT))


def test_the_number_of_a_removed_line_is_not_given_again() -> None:
    again = OrderLine(3, "pot", 1, 2500)
    order(PLACED, LineAdded(POT), LineRemoved(2)).when(ADD).then(LineAdded(again))


def test_an_order_has_so_many_lines_and_no_more() -> None:
    full = OrderPlaced("ada", "EUR", tuple(OrderLine(number, "tea", 1, 1) for number in range(1, MOST_LINES + 1)))
    order(full).when(ADD).then_refused("too-many-lines")
    order(full, LineRemoved(7)).when(ADD).then(LineAdded(OrderLine(MOST_LINES + 1, "pot", 1, 2500)))


def test_a_line_is_removed_once() -> None:
    order(PLACED).when(RemoveLine(1)).then(LineRemoved(1))
    order(PLACED, LineRemoved(1)).when(RemoveLine(1)).then_refused("unknown-line")


def test_the_total_is_paid() -> None:
    order(PLACED).when(PAY).then(PAID)
    order(PLACED, LineAdded(POT)).when(PayOrder(3850, "EUR", "p", "t")).then(OrderPaid(3850, "EUR", "p", "t"))


def test_another_amount_or_another_currency_is_not_taken() -> None:
    for amount in (0, 1349, 1351):
        order(PLACED).when(PayOrder(amount, "EUR", "p", "t")).then_refused("wrong-amount")
    order(PLACED).when(PayOrder(1350, "USD", "p", "t")).then_refused("wrong-currency")


def test_what_is_free_is_paid_with_nothing_but_an_empty_order_is_not() -> None:
    free = OrderPlaced("ada", "EUR", (OrderLine(1, "leaflet", 1, 0),))
    order(free).when(PayOrder(0, "EUR", "p", "t")).then(OrderPaid(0, "EUR", "p", "t"))
    order(PLACED, LineRemoved(1)).when(PayOrder(0, "EUR", "p", "t")).then_refused("order-empty")


def test_a_paid_order_is_shipped() -> None:
    order(PLACED, PAID).when(SHIP).then(SHIPPED)


def test_an_order_is_cancelled_until_it_is_shipped() -> None:
    order(PLACED).when(CANCEL).then(CANCELLED)
    order(PLACED, PAID).when(CANCEL).then(CANCELLED)


@pytest.mark.parametrize("command", [ADD, RemoveLine(1), PAY, SHIP, CANCEL])
def test_what_was_never_placed_takes_no_command(command: OrderCommand) -> None:
    order().when(command).then_refused("unknown-order")


@pytest.mark.parametrize(
    ("history", "command", "code"),
    [
        ((PLACED,), SHIP, "order-open"),
        ((PLACED, PAID), ADD, "order-paid"),
        ((PLACED, PAID), RemoveLine(1), "order-paid"),
        ((PLACED, PAID), PAY, "order-paid"),
        ((PLACED, PAID, SHIPPED), ADD, "order-shipped"),
        ((PLACED, PAID, SHIPPED), PAY, "order-shipped"),
        ((PLACED, PAID, SHIPPED), SHIP, "order-shipped"),
        ((PLACED, PAID, SHIPPED), CANCEL, "order-shipped"),
        ((PLACED, CANCELLED), ADD, "order-cancelled"),
        ((PLACED, CANCELLED), RemoveLine(1), "order-cancelled"),
        ((PLACED, CANCELLED), PAY, "order-cancelled"),
        ((PLACED, PAID, CANCELLED), SHIP, "order-cancelled"),
        ((PLACED, CANCELLED), CANCEL, "order-cancelled"),
    ],
)
def test_a_step_that_does_not_lead_on_is_refused_with_the_state_that_it_was_found_in(
    history: tuple[OrderEvent, ...], command: OrderCommand, code: str
) -> None:
    order(*history).when(command).then_refused(code)


def test_the_state_is_what_the_events_amount_to() -> None:
    order(PLACED, LineAdded(POT), LineRemoved(1), OrderPaid(2500, "EUR", "p", "t"), SHIPPED).then_state(
        Order("shipped", "ada", "EUR", (POT,), last_line=2, paid_minor=2500, carrier="post", tracking="P-1")
    )
    order(PLACED, PAID).when(CANCEL).then_state(
        Order("cancelled", "ada", "EUR", (TEA,), last_line=1, paid_minor=1350, reason="changed her mind")
    )
