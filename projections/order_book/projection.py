"""The order book: what became of each order, in its own order; what was earned per day, which is a sum and commutes.

Revenue counts on the UTC day of the payment. An order that is cancelled after it was paid is taken off that same day, so
that a day says what was earned and kept. Amounts are whole numbers of the currency's smallest unit.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from events.orders import (
    CATEGORY,
    LineAdded,
    LineRemoved,
    OrderCancelled,
    OrderEvent,
    OrderLine,
    OrderPaid,
    OrderPlaced,
    OrderShipped,
    order_stream,
)
from sidestream.errors import UnreadableEvent
from sidestream.event import Envelope
from sidestream.projection import Key, Projection, Rows, Table

_PREFIX: Final = order_stream("x")[:-1]
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


class OrderRow(msgspec.Struct, frozen=True):
    """An order as it is now.

    Attributes:
        order: its id.
        placed_at, changed_at: times of its first and its newest event.
        paid_on: the UTC day of the payment; empty before.
        version: of its stream.
    """

    order: str
    state: str
    customer: str
    currency: str
    lines: int
    total_minor: int
    paid_minor: int
    placed_at: str
    changed_at: str
    paid_on: str
    version: int


class LineRow(msgspec.Struct, frozen=True):
    """A line of an order, as long as it is there."""

    order: str
    line: int
    article: str
    quantity: int
    unit_minor: int


class Step(msgspec.Struct, frozen=True):
    """One event of an order.

    Attributes:
        version: its place in the stream of the order.
        data: JSON text as it stands in the log.
    """

    order: str
    version: int
    type: str
    time: str
    event_id: str
    correlationid: str | None
    causationid: str | None
    data: str


class Revenue(msgspec.Struct, frozen=True):
    """What was earned on a day in a currency: orders that were paid then and not cancelled since."""

    day: str
    currency: str
    orders: int
    amount_minor: int


ORDERS: Final = Table(OrderRow, key=("order",), indexes=[("state", "order")], name="orders")
LINES: Final = Table(LineRow, key=("order", "line"), name="lines")
STEPS: Final = Table(Step, key=("order", "version"), name="steps")
REVENUE: Final = Table(Revenue, key=("day", "currency"), indexes=[("currency", "day")])


class OrderBook(Projection):
    """Orders by state, revenue per day, and the history of each order."""

    name = "order_book"
    version = 1
    topics = CATEGORY.topics
    handles = (OrderPlaced, LineAdded, LineRemoved, OrderPaid, OrderShipped, OrderCancelled)
    tables = (ORDERS, LINES, STEPS, REVENUE)

    def keys(self, event: OrderEvent, envelope: Envelope) -> Iterable[tuple[Table[Any], Key]]:
        """Name the order, and what else its event touches as far as that is known without the order."""
        order = envelope.stream.removeprefix(_PREFIX)
        yield ORDERS, (order,)
        if isinstance(event, LineRemoved):
            yield LINES, (order, event.line)
        elif isinstance(event, OrderPaid) and (moment := _moment(event.paid_at)) is not None:
            yield REVENUE, (moment.date().isoformat(), event.currency)

    def evolve(self, rows: Rows, event: OrderEvent, envelope: Envelope) -> None:
        """Note the step, and what it makes of the order, its lines and the day's revenue."""
        step = _step(envelope)
        before = rows.get(ORDERS, (step.order,))
        if isinstance(event, OrderPlaced):
            after = _placed(rows, event, step)
        elif before is None:
            raise UnreadableEvent(f"{envelope.type}: expected an order that was placed, found {envelope.stream[:80]!a} without one")
        else:
            after = _follow(rows, before, event)
        rows.put(ORDERS, msgspec.structs.replace(after, changed_at=step.time, version=step.version))
        rows.put(STEPS, step)


def _step(envelope: Envelope) -> Step:
    if envelope.streamversion is None or not envelope.stream.startswith(_PREFIX):
        raise UnreadableEvent(f"{envelope.type}: expected an event of an order's stream with its version, found {envelope.stream[:80]!a}")
    return Step(
        order=envelope.stream.removeprefix(_PREFIX),
        version=envelope.streamversion,
        type=envelope.type,
        time=envelope.time or "",
        event_id=envelope.id,
        correlationid=envelope.correlationid,
        causationid=envelope.causationid,
        data=bytes(envelope.data).decode(),
    )


def _placed(rows: Rows, event: OrderPlaced, step: Step) -> OrderRow:
    empty = OrderRow(step.order, "open", event.customer, event.currency, 0, 0, 0, step.time, step.time, "", step.version)
    for line in event.lines:
        empty = _with_line(rows, empty, line)
    return empty


def _follow(rows: Rows, order: OrderRow, event: OrderEvent) -> OrderRow:
    match event:
        case LineAdded(line):
            return _with_line(rows, order, line)
        case LineRemoved(number):
            return _without_line(rows, order, number)
        case OrderPaid():
            day = _day(event.paid_at)
            _earn(rows, day, event.currency, event.amount_minor, orders=1)
            return msgspec.structs.replace(order, state="paid", paid_minor=event.amount_minor, paid_on=day)
        case OrderShipped():
            return msgspec.structs.replace(order, state="shipped")
        case OrderCancelled() if order.paid_on:
            _earn(rows, order.paid_on, order.currency, -order.paid_minor, orders=-1)
    return msgspec.structs.replace(order, state="cancelled")


def _with_line(rows: Rows, order: OrderRow, line: OrderLine) -> OrderRow:
    rows.put(LINES, LineRow(order.order, line.line, line.article, line.quantity, line.unit_minor))
    return msgspec.structs.replace(order, lines=order.lines + 1, total_minor=order.total_minor + line.amount_minor)


def _without_line(rows: Rows, order: OrderRow, number: int) -> OrderRow:
    found = rows.get(LINES, (order.order, number))
    if found is None:
        raise UnreadableEvent(f"order.line-removed: expected line {number} of order {order.order[:80]!a}, found none")
    rows.delete(LINES, (order.order, number))
    return msgspec.structs.replace(order, lines=order.lines - 1, total_minor=order.total_minor - found.quantity * found.unit_minor)


def _day(time: str) -> str:
    """Return the UTC day of an RFC 3339 time."""
    moment = _moment(time)
    if moment is None:
        raise UnreadableEvent(f"order.paid: expected paid_at as RFC 3339, found {time[:80]!a}")
    return moment.date().isoformat()


def _moment(time: str) -> datetime | None:
    if not _RFC3339.fullmatch(time):
        return None
    try:
        return datetime.fromisoformat(time.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _earn(rows: Rows, day: str, currency: str, amount_minor: int, *, orders: int) -> None:
    found = rows.get(REVENUE, (day, currency)) or Revenue(day, currency, 0, 0)
    left = Revenue(day, currency, found.orders + orders, found.amount_minor + amount_minor)
    if left.orders:
        rows.put(REVENUE, left)
    else:
        rows.delete(REVENUE, (day, currency))
