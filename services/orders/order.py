"""The order decides. Pure: no clock, no ids, no transport; times come in with the command.

──place──▶ open ──pay──▶ paid ──ship──▶ shipped
             └──cancel──┬──┘
                        ▼
                    cancelled
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from events.orders import CATEGORY, LineAdded, LineRemoved, OrderCancelled, OrderEvent, OrderLine, OrderPaid, OrderPlaced, OrderShipped
from services.orders.commands import AddLine, CancelOrder, NewLine, OrderCommand, PayOrder, PlaceOrder, RemoveLine, ShipOrder
from sidestream.aggregate import Aggregate
from sidestream.errors import CommandRefused, UnknownAggregate

MOST_LINES: Final = 100
"""Most lines of an order at one time."""

OrderState = Literal["nothing", "open", "paid", "shipped", "cancelled"]


class Order(msgspec.Struct, frozen=True):
    """What the events of an order amount to.

    Attributes:
        last_line: the highest number that a line ever had.
        paid_minor: what was paid; 0 before.
    """

    state: OrderState = "nothing"
    customer: str = ""
    currency: str = ""
    lines: tuple[OrderLine, ...] = ()
    last_line: int = 0
    paid_minor: int = 0
    carrier: str = ""
    tracking: str = ""
    reason: str = ""

    @property
    def total_minor(self) -> int:
        """What the lines cost."""
        return sum(line.amount_minor for line in self.lines)


# ── what happened ────────────────────────────────────────────────────────────────────────────────────────────────────


def evolve(order: Order, event: OrderEvent) -> Order:
    """Return the order after one more event."""
    match event:
        case OrderPlaced(customer, currency, lines):
            return Order("open", customer, currency, lines, last_line=len(lines))
        case LineAdded(line):
            return msgspec.structs.replace(order, lines=(*order.lines, line), last_line=line.line)
        case LineRemoved(number):
            return msgspec.structs.replace(order, lines=tuple(line for line in order.lines if line.line != number))
        case OrderPaid():
            return msgspec.structs.replace(order, state="paid", paid_minor=event.amount_minor)
        case OrderShipped(carrier, tracking):
            return msgspec.structs.replace(order, state="shipped", carrier=carrier, tracking=tracking)
        case OrderCancelled(reason):
            return msgspec.structs.replace(order, state="cancelled", reason=reason)


# ── what may happen ──────────────────────────────────────────────────────────────────────────────────────────────────


def decide(command: OrderCommand, order: Order) -> Sequence[OrderEvent]:
    """Return what the command makes happen.

    Raises:
        UnknownAggregate: there is no such order, or no such line.
        CommandRefused: it may not be done in the state that the order is in.
    """
    if isinstance(command, PlaceOrder):
        return [_place(command, order)]
    if order.state == "nothing":
        raise UnknownAggregate("unknown-order", "There is no such order. POST /orders opens one.")
    match command:
        case AddLine(line):
            return [_add(line, order)]
        case RemoveLine(number):
            return [_remove(number, order)]
        case PayOrder():
            return [_pay(command, order)]
        case ShipOrder(carrier, tracking):
            _expect(order, ("paid",), "ship it")
            return [OrderShipped(carrier, tracking)]
        case CancelOrder(reason):
            _expect(order, ("open", "paid"), "cancel it")
            return [OrderCancelled(reason)]


def _place(command: PlaceOrder, order: Order) -> OrderPlaced:
    if order.state != "nothing":
        raise CommandRefused("order-exists", "An order of this id exists already. POST /orders opens another one.")
    return OrderPlaced(command.customer, command.currency, tuple(_numbered(command.lines)))


def _numbered(lines: Iterable[NewLine]) -> Iterable[OrderLine]:
    return (OrderLine(number, line.article, line.quantity, line.unit_minor) for number, line in enumerate(lines, start=1))


def _add(line: NewLine, order: Order) -> LineAdded:
    _expect(order, ("open",), "add a line")
    if len(order.lines) >= MOST_LINES:
        raise CommandRefused("too-many-lines", f"An order has at most {MOST_LINES} lines. Remove one, or place another order.")
    return LineAdded(OrderLine(order.last_line + 1, line.article, line.quantity, line.unit_minor))


def _remove(number: int, order: Order) -> LineRemoved:
    _expect(order, ("open",), "remove a line")
    if all(line.line != number for line in order.lines):
        raise UnknownAggregate("unknown-line", f"The order has no line {number}. GET it to see its lines.")
    return LineRemoved(number)


def _pay(command: PayOrder, order: Order) -> OrderPaid:
    _expect(order, ("open",), "pay it")
    if not order.lines:
        raise CommandRefused("order-empty", "An order without lines cannot be paid. Add a line first.")
    if command.currency != order.currency:
        raise CommandRefused("wrong-currency", f"Expected a payment in {order.currency}, found {command.currency}.")
    if command.amount_minor != order.total_minor:
        detail = f"Expected the total, {order.total_minor} {order.currency} in its smallest unit, found {command.amount_minor}."
        raise CommandRefused("wrong-amount", detail)
    return OrderPaid(command.amount_minor, command.currency, command.reference, command.at)


def _expect(order: Order, states: tuple[OrderState, ...], to: str) -> None:
    """Refuse a step that does not lead on from where the order is; the code names that state."""
    if order.state not in states:
        raise CommandRefused(f"order-{order.state}", f"Expected an order that is {' or '.join(states)} to {to}, found it {order.state}.")


ORDER: Final = Aggregate[Order, OrderCommand, OrderEvent](
    category=CATEGORY.name, initial=Order(), decide=decide, evolve=evolve, shape="order:1"
)
