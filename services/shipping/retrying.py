"""Decides whether a shipment may be tried again. Pure: the aggregate of a shipment's own stream, `shipment-<id of the order>`.

──refused──▶ refused ──retry──▶ due ──refused──▶ refused …

That it went out, or was called off, is the order's fact and stands in another stream: what shipping has read of that comes in
with the command. It may be old. A retry of what was shipped meanwhile does no harm: orders sends no second parcel.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from events.shipments import CATEGORY, ShipmentEvent, ShipmentRefused, ShipmentRetried
from services.shipping.due import UNPAID
from sidestream.aggregate import Aggregate
from sidestream.errors import CommandRefused, UnknownAggregate


class Attempts(msgspec.Struct, frozen=True):
    """What the events of one shipment amount to.

    Attributes:
        retried: how often it was retried.
        refused: whether the newest attempt was refused.
    """

    retried: int = 0
    refused: bool = False


class RetryShipment(msgspec.Struct, frozen=True):
    """Try a refused shipment again.

    Attributes:
        order: the id of the order.
        known: the state of its shipment as shipping has read the log, `unpaid` where it has read nothing of it.
    """

    order: str
    known: str


def evolve(attempts: Attempts, event: ShipmentEvent) -> Attempts:
    """Return the attempts after one more event."""
    match event:
        case ShipmentRefused():
            return msgspec.structs.replace(attempts, refused=True)
        case ShipmentRetried(_, attempt):
            return Attempts(retried=attempt)


def decide(command: RetryShipment, attempts: Attempts) -> Sequence[ShipmentEvent]:
    """Return what the command makes happen.

    Raises:
        UnknownAggregate: nothing is known of such a shipment.
        CommandRefused: it is not refused; the code names the state that it is in.
    """
    if command.known in {"shipped", "cancelled"}:
        raise _not_refused(command.known)
    if attempts.refused:
        return [ShipmentRetried(command.order, attempts.retried + 1)]
    if command.known == UNPAID and not attempts.retried:
        raise UnknownAggregate("unknown-shipment", "There is no such shipment. GET /shipments?state=refused lists what can be retried.")
    raise _not_refused("due")


def _not_refused(state: str) -> CommandRefused:
    return CommandRefused(f"shipment-{state}", f"Expected a shipment that was refused to try it again, found it {state}.")


SHIPMENT: Final = Aggregate[Attempts, RetryShipment, ShipmentEvent](
    category=CATEGORY.name, initial=Attempts(), decide=decide, evolve=evolve
)
