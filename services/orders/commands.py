"""What can be asked of an order. Each may be refused; `order.py` decides."""

import msgspec


class NewLine(msgspec.Struct, frozen=True):
    """A line as a customer asks for it: so many of one article at that price."""

    article: str
    quantity: int
    unit_minor: int


class PlaceOrder(msgspec.Struct, frozen=True):
    """Open an order, with lines or without."""

    customer: str
    currency: str
    lines: tuple[NewLine, ...] = ()


class AddLine(msgspec.Struct, frozen=True):
    """Add a line to an open order."""

    line: NewLine


class RemoveLine(msgspec.Struct, frozen=True):
    """Take a line off an open order."""

    line: int


class PayOrder(msgspec.Struct, frozen=True):
    """Pay the total of an open order. `at` is the time of the payment, RFC 3339 in UTC."""

    amount_minor: int
    currency: str
    reference: str
    at: str


class ShipOrder(msgspec.Struct, frozen=True):
    """Send the parcel of a paid order."""

    carrier: str
    tracking: str


class CancelOrder(msgspec.Struct, frozen=True):
    """Call off an order that is not shipped."""

    reason: str


OrderCommand = PlaceOrder | AddLine | RemoveLine | PayOrder | ShipOrder | CancelOrder
