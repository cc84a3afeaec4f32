"""The event on the wire: a CloudEvent 1.0 in structured mode, `application/cloudevents+json`.

An `Envelope` is what is read, tolerantly: unknown attributes are ignored. A `NewEvent` is what is written, strictly.
`data` travels as the very bytes it came in, so that 2^53+1, 17-digit floats and `1.0` stay what they are.
The attributes beyond the CloudEvents core are Sidestream's own (`producer`, `streamversion`) or official extensions
(`sequence`, `partitionkey`, `correlationid`, `causationid`, `traceparent`). No clock and no random source live here.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from sidestream.errors import InvalidEvent, UnreadableEvent
from sidestream.wire import Wire, extended

CONTENT_TYPE: Final = "application/cloudevents+json"
BATCH_CONTENT_TYPE: Final = "application/cloudevents-batch+json"
SEQUENCE_DIGITS: Final = 20
"""Width of `sequence` as text, so that text order is number order (CloudEvents extension *sequence*)."""
MAX_EVENT_BYTES: Final = 4 * 1024 * 1024 - 64 * 1024
"""Largest event on the wire: the sidecar takes calls of 4 MiB, and adds attributes of its own."""
MAX_ATTRIBUTE_BYTES: Final = 512
"""Longest id, source, type, subject and producer in UTF-8: they are keys, and PostgreSQL indexes about 2,700 bytes a row."""
DIGEST_BYTES: Final = 16
"""So many bytes tell one entry from another."""
MAX_NUMBER: Final = 2**63 - 1
"""Largest count and version: what a database calls bigint."""
RESERVED: Final = frozenset({"producer", "sequence", "streamversion"})
"""Attributes that only the writer who counts may set."""

_CORE: Final = frozenset({"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data", "data_base64"})
_ATTRIBUTE_NAME: Final = re.compile(r"[a-z0-9]{1,40}")


class Envelope(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event as it stands in the log; `data` is raw JSON, decoded by the registry when somebody wants it."""

    id: str
    source: str
    type: str
    specversion: str = "1.0"
    subject: str | None = None
    time: str | None = None
    dataschema: str | None = None
    datacontenttype: str | None = None
    streamversion: int | None = None
    producer: str | None = None
    sequence: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    traceparent: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    data_base64: str | None = None

    @property
    def number(self) -> int:
        """The producer's count, from 1; 0 for a stranger, who does not count."""
        return int(self.sequence or 0) if self.producer else 0

    @property
    def stream(self) -> str:
        """The stream this event belongs to; an event without a subject is a stream of its own."""
        return self.subject or f"{self.source} {self.id}"


class _Stranger(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The least we ask of anybody: the required attributes of CloudEvents, and what we can use if it is text."""

    id: str
    source: str
    type: str
    producer: msgspec.UnsetType | object = msgspec.UNSET
    subject: str | None = None
    time: str | None = None
    dataschema: object = None
    datacontenttype: str | None = None
    correlationid: object = None
    causationid: object = None
    traceparent: object = None
    data: msgspec.Raw = msgspec.Raw()
    data_base64: str | None = None


_UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Not JSON of our shape, not UTF-8, nested a thousand levels deep."""
_decode_envelope: Final = msgspec.json.Decoder(Envelope).decode
_decode_stranger: Final = msgspec.json.Decoder(_Stranger).decode
_decode_raw: Final = msgspec.json.Decoder(msgspec.Raw).decode


def decode_event(data: bytes) -> Envelope:
    """Read one event of the log.

    Raises:
        UnreadableEvent: not JSON, a required attribute missing or empty, or a count that is not a positive number.
    """
    try:
        envelope = _decode_envelope(str(data, "utf-8"))  # as text: msgspec would pass bytes that are no UTF-8 inside `data`
    except _UNDECODABLE as error:
        envelope = _decode_as_stranger(data, error)
    if (len(data) > MAX_ATTRIBUTE_BYTES or not envelope.id or not envelope.source or not envelope.type) and (
        problem := attribute_problem(envelope)  # a whole that is short has no attribute that is long
    ):
        raise UnreadableEvent(problem)
    if envelope.producer is None:
        return envelope if envelope.streamversion is None else msgspec.structs.replace(envelope, streamversion=None)
    if problem := _count_problem(envelope):
        raise UnreadableEvent(problem)
    return envelope


def digest(wire: bytes) -> bytes:
    """Return 16 bytes by which an entry is known that cannot be read: it has no name but its bytes."""
    return hashlib.blake2b(wire, digest_size=DIGEST_BYTES).digest()


def _count_problem(envelope: Envelope) -> str:
    text = envelope.sequence
    if not envelope.producer or text is None or not _is_count(text):
        return f"producer {envelope.producer!r:.80}: expected sequence as a positive number, found {text!r:.80}"
    if envelope.streamversion is not None and not 0 < envelope.streamversion <= MAX_NUMBER:
        return f"expected streamversion from 1 to {MAX_NUMBER}, found {envelope.streamversion}"
    return ""


def attribute_problem(event: "Envelope | NewEvent") -> str:
    """Return what is wrong with the attributes that name an event, or nothing."""
    if not event.id or not event.source or not event.type:
        return f"expected id, source and type that are not empty, found {event.id[:80]!a}, {event.source[:80]!a}, {event.type[:80]!a}"
    subject, producer = event.subject or "", (event.producer or "") if isinstance(event, Envelope) else ""
    if max(len(event.id), len(event.source), len(event.type), len(subject), len(producer)) <= MAX_ATTRIBUTE_BYTES // 4:
        return ""  # no character has more than four bytes
    named = (("id", event.id), ("source", event.source), ("type", event.type), ("subject", subject), ("producer", producer))
    for name, value in named:
        if len(value.encode("utf-8", "replace")) > MAX_ATTRIBUTE_BYTES:
            return f"{name}: expected at most {MAX_ATTRIBUTE_BYTES} bytes, found {value[:40]!a}…"
    return ""


def _decode_as_stranger(data: bytes, error: Exception) -> Envelope:
    """Take a stranger's event whose extension attributes have other types than ours; its own numbers do not count here."""
    try:
        stranger = _decode_stranger(str(data, "utf-8"))
    except _UNDECODABLE:
        raise UnreadableEvent(f"expected a CloudEvent as JSON: {error}") from None
    if stranger.producer is not msgspec.UNSET:
        raise UnreadableEvent(f"expected a CloudEvent with a count: {error}") from None
    return Envelope(
        id=stranger.id,
        source=stranger.source,
        type=stranger.type,
        subject=stranger.subject,
        time=stranger.time,
        dataschema=_if_text(stranger.dataschema),
        datacontenttype=stranger.datacontenttype,
        correlationid=_if_text(stranger.correlationid),
        causationid=_if_text(stranger.causationid),
        traceparent=_if_text(stranger.traceparent),
        data=stranger.data,
        data_base64=stranger.data_base64,
    )


def _if_text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= SEQUENCE_DIGITS and 0 < int(text) <= MAX_NUMBER


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that is to be written. Made once; a retry sends the same one again.

    Attributes:
        topic: where it is published.
        data: JSON text as bytes, or None where there is no data.
        data_base64: data that is not JSON, in base64; excludes `data`.
        ordered: whether it must not overtake an earlier event of its subject.
        extensions: further CloudEvents attributes: text, integers or booleans.
        fingerprint: what must be equal for a repeat to be the same event; empty: type, subject and data.
    """

    topic: str
    id: str
    source: str
    type: str
    data: bytes | None = None
    data_base64: str | None = None
    datacontenttype: str | None = "application/json"
    dataschema: str | None = None
    subject: str | None = None
    time: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    traceparent: str | None = None
    ordered: bool = True
    extensions: Mapping[str, str | int | bool] = {}
    fingerprint: bytes = b""

    def content_digest(self) -> bytes:
        """Return 16 bytes that are equal for a repeat of this event and differ for another event under its id."""
        if self.fingerprint:
            return hashlib.blake2b(self.fingerprint, digest_size=16).digest()
        parts = (self.type, self.subject, self.dataschema, self.data_base64)
        content = _encode(parts) + (self.data or b"")
        return hashlib.blake2b(content, digest_size=16).digest()


class Counted(msgspec.Struct, frozen=True, gc=False):
    """The place a writer gave to an event: who counts, the number per topic from 1, the version in the stream from 1."""

    producer: str
    sequence: int
    streamversion: int | None = None


_SEQUENCE: Final = f"%0{SEQUENCE_DIGITS}d"
_encode: Final = msgspec.json.Encoder().encode


def encode_event(event: NewEvent, counted: Counted) -> bytes:
    """Return the event as it stands on the wire.

    Raises:
        InvalidEvent: an attribute is missing or malformed, text is not valid Unicode, or the whole is too large.
    """
    if not event.topic:
        raise InvalidEvent(f"event {event.id!a}: expected a topic, found none")
    if problem := attribute_problem(event):
        raise InvalidEvent(problem)
    extensions = check_extensions(event.extensions)
    attributes = _attributes(event, counted)
    try:
        wire = _encode(extended(attributes, extensions) if extensions else attributes)
    except (UnicodeEncodeError, TypeError) as error:
        raise InvalidEvent(f"event {event.id!a} of {event.source!a}: expected valid Unicode text: {error}") from None
    if len(wire) > MAX_EVENT_BYTES:
        raise InvalidEvent(
            f"event {event.id} of {event.source}: expected at most {MAX_EVENT_BYTES} bytes, found {len(wire)}. "
            "Store the large part elsewhere and refer to it."
        )
    return wire


def _attributes(event: NewEvent, counted: Counted) -> Wire:
    subject, traceparent = event.subject or None, event.traceparent or None
    attributes = Wire(
        event.id,
        event.source,
        event.type,
        subject,
        event.time or None,
        event.dataschema or None,
        subject,
        event.correlationid or None,
        event.causationid or None,
        traceparent,
        traceparent,  # as traceid: daprd writes a trace of its own over a traceparent that comes without it
    )
    if event.data_base64 is not None:
        attributes.data_base64 = event.data_base64
        attributes.datacontenttype = event.datacontenttype or "application/octet-stream"
    elif event.data is not None:
        attributes.datacontenttype = event.datacontenttype or "application/json"
        attributes.data = _json_text(event)
    attributes.producer, attributes.sequence = counted.producer, _SEQUENCE % counted.sequence
    attributes.streamversion = counted.streamversion
    return attributes


def _json_text(event: NewEvent) -> msgspec.Raw:
    """Return the data as it is if it is JSON in UTF-8; the sidecar would refuse anything else, and the whole bulk with it."""
    data = event.data or b""
    try:
        data.decode()
        return _decode_raw(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidEvent(f"event {event.id!a} of {event.source!a}: expected data as JSON text in UTF-8: {error}") from None


def check_extensions(extensions: Mapping[str, str | int | bool]) -> Mapping[str, str | int | bool]:
    """Return the extension attributes if CloudEvents allows them.

    Raises:
        InvalidEvent: a name that is not lower-case letters and digits, is one of the core, or is reserved for the writer.
    """
    for name, value in extensions.items():
        if name in RESERVED:
            raise InvalidEvent(f"attribute {name!r} is set by the writer of the log. Leave it out.")
        if name in _CORE or not _ATTRIBUTE_NAME.fullmatch(name):
            raise InvalidEvent(f"extension attribute: expected lower-case letters and digits, found {name!a}")
        if not isinstance(value, str | int | bool):
            raise InvalidEvent(f"extension attribute {name!r}: expected text, integer or boolean, found {type(value).__name__}")
    return extensions
