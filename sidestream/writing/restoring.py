"""The rules by which an event store gets on with a log that knows more than it does: adopting, and counting anew.

Pure: what an event of the log must be to be adopted, when two wires are the same event (the sidecar adds attributes and
sorts keys on the way, so bytes are no measure), how a wire gets another number, and what the next epoch is called.
"""

from datetime import datetime
from typing import Final

import msgspec

from sidestream.errors import EventConflict, UnreadableEvent
from sidestream.event import SEQUENCE_DIGITS, Envelope, NewEvent, decode_event

ADOPTED: Final = b""
"""Stands for the content digest of an adopted event, which only its first writer could take: its wire is compared instead."""

_attributes: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read_adopted(wire: bytes, producer: str) -> Envelope:
    """Read an event of the log that is to be adopted.

    Raises:
        UnreadableEvent: not an event, or not one of this very producer.
    """
    envelope = decode_event(wire)
    if envelope.producer != producer:
        found = envelope.producer or "nobody who counts"
        raise UnreadableEvent(f"event {envelope.id} of {envelope.source}: expected producer {producer}, found {found}")
    if envelope.streamversion is not None and not envelope.subject:
        raise UnreadableEvent(f"event {envelope.id} of {envelope.source}: expected its stream as subject, found none")
    return envelope


def is_next(topic: str, envelope: Envelope, count: int) -> bool:
    """Return whether it is the next one of the topic's count; False where the number is given already.

    Raises:
        UnreadableEvent: numbers between the store's last one and this one are missing.
    """
    if envelope.number > count + 1:
        raise UnreadableEvent(
            f"topic {topic}: expected number {count + 1} of {envelope.producer}, found {envelope.number}. Hand over every event in order."
        )
    return envelope.number == count + 1


def check_same(envelope: Envelope, stored_wire: bytes | None) -> None:
    """Raise EventConflict unless what is stored under the number of an event of the log is that very event."""
    if stored_wire is None or not is_same(envelope, stored_wire):
        raise EventConflict(envelope.source, envelope.id)


def is_same(envelope: Envelope, stored_wire: bytes) -> bool:
    """Return whether an event of the log is the one that is stored: the sidecar adds attributes and sorts keys."""
    return _content(envelope) == _content(decode_event(stored_wire))


def repeats(event: NewEvent, stored_wire: bytes) -> bool:
    """Return whether a new event says the same as the wire of an adopted one of its source and id."""
    stored = decode_event(stored_wire)
    if (event.type, event.subject or None, event.dataschema or None) != (stored.type, stored.subject, stored.dataschema):
        return False
    return event.data_base64 == stored.data_base64 and _value(event.data or b"") == _value(bytes(stored.data))


def stream_of(envelope: Envelope) -> str | None:
    """Return the stream an event of the log was appended to; None for a fact."""
    return None if envelope.streamversion is None else envelope.subject


def recorded_at(envelope: Envelope, now_ms: int) -> int:
    """Return when an event of the log was recorded, as well as it says so itself; never a time to come."""
    try:
        said = datetime.fromisoformat(envelope.time or "")
    except ValueError:
        return now_ms
    return min(int(said.timestamp() * 1000), now_ms) if said.tzinfo is not None else now_ms


def renumbered(wire: bytes, producer: str, sequence: int) -> bytes:
    """Return a wire with another producer and number; all else stays as it is, `data` to the byte."""
    attributes: dict[str, object] = {**_attributes(wire)}
    attributes |= {"producer": producer, "sequence": f"{sequence:0{SEQUENCE_DIGITS}}"}
    return msgspec.json.encode(attributes)


def next_epoch(producer: str) -> str:
    """Return who counts after this one: the same identifier, the next epoch."""
    identifier, _, epoch = producer.rpartition(".")
    return f"{identifier}.{int(epoch) + 1}"


def _content(envelope: Envelope) -> tuple[object, ...]:
    names = (envelope.id, envelope.source, envelope.type, envelope.subject, envelope.dataschema, envelope.streamversion)
    return (*names, envelope.data_base64, _value(bytes(envelope.data)))


def _value(data: bytes) -> object:
    return msgspec.json.decode(data) if data else None
