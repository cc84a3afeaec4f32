"""What is to be shipped: a pure rule over the log, kept as rows with the position in the log.

    order.paid         the order is due
    order.shipped      done      ─┐ the log says what became of it; nobody ticks it off
    order.cancelled    called off ┘
    shipment.refused   somebody has to look at it
    shipment.retried   somebody did: the order is due again

A refusal travels on a topic of its own and may be read before the payment that it speaks of, so each fact has columns of
its own and the state is worked out from all of them.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final, Literal

import msgspec

from events import orders, shipments
from events.orders import OrderCancelled, OrderPaid, OrderShipped, order_stream
from events.shipments import ShipmentRefused, ShipmentRetried
from sidestream.causation import because_of
from sidestream.errors import UnreadableEvent
from sidestream.event import Envelope
from sidestream.projection import Key, Projection, Rows, Table

ShipmentState = Literal["due", "shipped", "cancelled", "refused"]
UNPAID: Final = "unpaid"
_ORDER: Final = re.compile(r"order-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")


class Shipment(msgspec.Struct, frozen=True):
    """What is known of the parcel of one order.

    Attributes:
        order: the id of the order.
        state: `due`, `shipped`, `cancelled` or `refused`; `unpaid` where only something else is known of it yet.
        paid_event: the id of the event that made it due; what is done because of it is done under this id.
        correlation_id, traceparent: the conversation that the payment belongs to.
        ended: the last word of the order, `shipped` or `cancelled`.
        refused: why it cannot be shipped.
        attempt: how often it was retried after a refusal.
    """

    order: str
    state: str = UNPAID
    paid_event: str = ""
    correlation_id: str | None = None
    traceparent: str | None = None
    carrier: str | None = None
    tracking: str | None = None
    ended: str = ""
    refused: str = ""
    attempt: int = 0


SHIPMENTS: Final = Table(Shipment, key=("order",), indexes=[("state", "paid_event", "order")])
Event = OrderPaid | OrderShipped | OrderCancelled | ShipmentRefused | ShipmentRetried


class Shipping(Projection):
    """Which paid orders are to be shipped, and what became of the others."""

    name = "shipping"
    version = 2
    topics = (*orders.CATEGORY.topics, *shipments.CATEGORY.topics)
    handles = (OrderPaid, OrderShipped, OrderCancelled, ShipmentRefused, ShipmentRetried)
    tables = (SHIPMENTS,)

    def keys(self, event: Event, envelope: Envelope) -> Iterable[tuple[Table[Any], Key]]:
        """Name the row of the order."""
        with suppress(UnreadableEvent):  # `evolve` says so
            return ((SHIPMENTS, (_order(event, envelope),)),)
        return ()

    def evolve(self, rows: Rows, event: Event, envelope: Envelope) -> None:
        """Note what happened to the order, and what that makes of its shipment."""
        order = _order(event, envelope)
        found = rows.get(SHIPMENTS, (order,)) or Shipment(order)
        changed = _noted(found, event, envelope)
        rows.put(SHIPMENTS, msgspec.structs.replace(changed, state=_state(changed)))


def _order(event: Event, envelope: Envelope) -> str:
    """Return the id of the order; raises UnreadableEvent for what says that it is about an order and names none."""
    name = order_stream(event.order) if isinstance(event, ShipmentRefused | ShipmentRetried) else envelope.stream
    found = _ORDER.fullmatch(name)
    if found is None:
        raise UnreadableEvent(f"{envelope.type}: expected the stream of an order, order-<uuid>, found {name[:80]!a}")
    return found[1]


def _noted(found: Shipment, event: Event, envelope: Envelope) -> Shipment:
    match event:
        case OrderPaid():
            cause = because_of(envelope)
            return msgspec.structs.replace(
                found, paid_event=envelope.id, correlation_id=cause.correlation_id, traceparent=cause.traceparent
            )
        case OrderShipped(carrier, tracking):
            return msgspec.structs.replace(found, ended="shipped", carrier=carrier, tracking=tracking)
        case OrderCancelled():
            return msgspec.structs.replace(found, ended="cancelled")
        case ShipmentRefused(_, code, detail):
            return msgspec.structs.replace(found, refused=f"{code}: {detail}")
        case ShipmentRetried(_, attempt):
            return msgspec.structs.replace(found, refused="", attempt=attempt)


def _state(shipment: Shipment) -> str:
    if shipment.ended:
        return shipment.ended
    if shipment.refused:
        return "refused"
    return "due" if shipment.paid_event else UNPAID
