"""Orders: what becomes of one order, from the first line to the parcel. Its stream is `order-<uuid>`.

    placed → lines added and removed → paid → shipped
       └──────────────┴────────────────┴───→ cancelled      (not any more when it is shipped)

Money is a whole number of the currency's smallest unit, and never a float.
"""

from typing import Final

import msgspec

from sidestream.registry import Category, EventType
from sidestream.stream import stream_name


class OrderLine(msgspec.Struct, frozen=True):
    """So many of one article.

    Attributes:
        line: its number in the order, from 1; a number is not given again when its line is removed.
        article: what is ordered, 1 to 64 characters.
        quantity: how many, from 1.
        unit_minor: price of one, in the smallest unit of the order's currency.
    """

    line: int
    article: str
    quantity: int
    unit_minor: int

    @property
    def amount_minor(self) -> int:
        """Price of the line."""
        return self.quantity * self.unit_minor


class OrderPlaced(msgspec.Struct, frozen=True):
    """A customer opened an order.

    Attributes:
        customer: who, 1 to 100 characters.
        currency: three capital letters as in ISO 4217.
        lines: the lines that it begins with; may be none.
    """

    customer: str
    currency: str
    lines: tuple[OrderLine, ...]


class LineAdded(msgspec.Struct, frozen=True):
    """A line came to an open order."""

    line: OrderLine


class LineRemoved(msgspec.Struct, frozen=True):
    """A line was taken off an open order.

    Attributes:
        line: its number.
    """

    line: int


class OrderPaid(msgspec.Struct, frozen=True):
    """The total was paid. No line changes any more, and the order waits to be shipped.

    Attributes:
        amount_minor: what was paid, the total of the lines.
        currency: the currency of the order.
        reference: what the payment is known by at whoever took it.
        paid_at: when, RFC 3339 in UTC.
    """

    amount_minor: int
    currency: str
    reference: str
    paid_at: str


class OrderShipped(msgspec.Struct, frozen=True):
    """The parcel is on its way. Nothing happens to the order any more.

    Attributes:
        carrier: who carries it.
        tracking: what the parcel is known by there.
    """

    carrier: str
    tracking: str


class OrderCancelled(msgspec.Struct, frozen=True):
    """The order was called off; what was paid is to be paid back. Nothing happens to it any more.

    Attributes:
        reason: why, in the words of whoever called it off.
    """

    reason: str


OrderEvent = OrderPlaced | LineAdded | LineRemoved | OrderPaid | OrderShipped | OrderCancelled

CATEGORY: Final = Category(
    name="order",
    topic="orders",
    source="/services/orders",
    types=(
        EventType("order.placed", OrderPlaced),
        EventType("order.line-added", LineAdded),
        EventType("order.line-removed", LineRemoved),
        EventType("order.paid", OrderPaid),
        EventType("order.shipped", OrderShipped),
        EventType("order.cancelled", OrderCancelled),
    ),
)


def order_stream(order: str) -> str:
    """Return the stream of an order, `order-<its id>`."""
    return stream_name(CATEGORY.name, order)
