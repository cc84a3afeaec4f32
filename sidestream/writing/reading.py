"""A service reads an event of its own store; and what it says of one that this program cannot read.

Behind a projection such an event is parked. A service has nowhere to put it: the state that it was to decide from is not to be
had, so it decides nothing. While replicas of different age run side by side that is the older one's ordinary fate.
"""

from typing import Any

from sidestream.errors import UnknownSchemaVersion, UnreadableEvent
from sidestream.event import Envelope, decode_event
from sidestream.ports import StoredEvent
from sidestream.registry import Registry


def read_stored(registry: Registry, stored: StoredEvent) -> tuple[Any, Envelope]:
    """Return the data of a stored event as its model, and the event around it.

    Raises:
        UnknownSchemaVersion: its version or its type is none that this program knows.
        UnreadableEvent: it is not what its type declares.
    """
    try:
        envelope = decode_event(stored.wire)
    except UnreadableEvent as error:
        raise UnreadableEvent(f"{_where(stored)}: expected it as it was stored, found {error}. Restore the store from a copy.") from error
    try:
        return registry.read(envelope), envelope
    except UnreadableEvent as error:
        raise _said(_where(stored), envelope, registry, error) from error


def _where(stored: StoredEvent) -> str:
    return f"event {stored.event_id} of {stored.stream or stored.source}"


def _said(where: str, envelope: Envelope, registry: Registry, error: UnreadableEvent) -> UnreadableEvent:
    if isinstance(error, UnknownSchemaVersion) or registry.named(envelope.type) is None:
        return UnknownSchemaVersion(
            f"{where}: expected a type and version that this program knows, found {envelope.type} as {envelope.dataschema}. "
            "A newer program wrote it: deploy the newer program everywhere, then ask again. Nothing is lost."
        )
    return UnreadableEvent(
        f"{where}: expected {envelope.type} as this program declares it, found what it cannot read. Nothing is lost: correct "
        "the event type or its upcaster and deploy. The service's log says more."
    )
