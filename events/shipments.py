"""Shipments: what the shipping service has to say of its own. That a parcel went out is the order's fact, `order.shipped`."""

from typing import Final

import msgspec

from sidestream.registry import Category, EventType
from sidestream.stream import stream_name


class ShipmentRefused(msgspec.Struct, frozen=True):
    """A paid order could not be shipped, and asking again would be of no use. Somebody has to look at it.

    Attributes:
        order: the id of the order.
        code: the stable word of the refusal, `unknown-order`.
        detail: what the orders service said.
    """

    order: str
    code: str
    detail: str


class ShipmentRetried(msgspec.Struct, frozen=True):
    """Somebody has looked at a refused shipment and wants it tried again: the order is due once more.

    Attributes:
        order: the id of the order.
        attempt: how often its shipment was retried, this time included.
    """

    order: str
    attempt: int


ShipmentEvent = ShipmentRefused | ShipmentRetried

CATEGORY: Final = Category(
    name="shipment",
    topic="shipments",
    source="/services/shipping",
    types=(EventType("shipment.refused", ShipmentRefused), EventType("shipment.retried", ShipmentRetried)),
)


def shipment_stream(order: str) -> str:
    """Return the stream of an order's shipment, `shipment-<id of the order>`."""
    return stream_name(CATEGORY.name, order)
