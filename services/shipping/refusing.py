"""Records that an order cannot be shipped. Whoever records it again, or another replica, records the same fact."""

import hashlib
from collections.abc import Callable

import msgspec

from events.shipments import ShipmentRefused, shipment_stream
from services.shipping.due import Shipment
from services.shipping.parcels import Verdict
from sidestream.identifiers import now
from sidestream.ports import ANY, Append, EventStore
from sidestream.registry import Registry


class Refusals:
    """Appends `shipment.refused`, once for each payment and attempt."""

    def __init__(self, store: EventStore, registry: Registry, ring: Callable[[], object]) -> None:
        self._store = store
        self._registry = registry
        self._ring = ring

    def record(self, shipment: Shipment, verdict: Verdict) -> None:
        """Record why this order is not shipped. Its id and what it is compared by are the attempt's, whatever the words are.

        So a replica that was slow, and comes with the refusal of an attempt that was retried meanwhile, records nothing.
        """
        digest = hashlib.blake2b(f"refused {_attempt(shipment)}".encode(), digest_size=16)
        event = self._registry.new_event(
            ShipmentRefused(shipment.order, verdict.code, verdict.detail),
            id=digest.hexdigest(),
            subject=shipment_stream(shipment.order),
            time=now(),
            correlationid=shipment.correlation_id,
            causationid=shipment.paid_event,
            traceparent=shipment.traceparent,
        )
        event = msgspec.structs.replace(event, fingerprint=digest.digest())
        self._store.append([Append(event.subject, (event,), ANY)])
        self._ring()


def _attempt(shipment: Shipment) -> str:
    return f"{shipment.paid_event} {shipment.attempt}" if shipment.attempt else shipment.paid_event
