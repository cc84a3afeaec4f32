"""Reads events of strangers, CloudEvents 1.0 in structured and binary mode and our plain form, into events to be written.

`data` stays the very bytes that came. Everything is checked here, so that what is stored can be published and read by
anybody. The fingerprint is taken from what came in, before anything is filled in, so that a repeat is known as one.
Pure: the time and a new id are given.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

from events.bridge import CATEGORY
from sidestream.errors import InvalidEvent
from sidestream.event import MAX_EVENT_BYTES, MAX_NUMBER, RESERVED, Counted, NewEvent, attribute_problem, check_extensions, encode_event
from sidestream.logs.replaying import REPLAYED, says_replayed

Attributes = dict[str, Any]

_PLAIN: Final = frozenset({"id", "source", "type", "subject", "time"})
_TEXT: Final = frozenset(
    {
        "specversion",
        "id",
        "source",
        "type",
        "subject",
        "time",
        "datacontenttype",
        "dataschema",
        "correlationid",
        "causationid",
        "traceparent",
    }
)
"""Attributes that are text: those of CloudEvents, and the official extensions that we use ourselves."""
_REQUIRED: Final = ("specversion", "id", "source", "type")
_OWN_FIELDS: Final = _TEXT - {"specversion"}
"""Text attributes that an event to be written has fields for; all others are extensions."""
_NAME: Final = re.compile(r"[a-z0-9]+")
_FORBIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")
"""Control characters and noncharacters, which CloudEvents allows in no attribute."""
_URI: Final = re.compile(r"\S+")
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_JSON_TYPE: Final = re.compile(r"(?:application|text)/json|[\w.!#$&^-]+/[\w.!#$&^-]+\+json", re.ASCII)
_INTEGERS: Final = range(-(2**31), 2**31)
_LARGE: Final = MAX_EVENT_BYTES // 2
_SOMEBODY: Final = Counted("0" * 48, MAX_NUMBER)

_decode_raw: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


# ── the three forms ──────────────────────────────────────────────────────────────────────────────────────────────────


def read_structured(body: bytes, received_at: str) -> NewEvent:
    """Read one CloudEvent in structured mode.

    Args:
        body: its JSON.
        received_at: RFC 3339, the event's time where it has none.

    Raises:
        InvalidEvent: it is not one.
    """
    values, raw = _decode_object(body)
    data = bytes(raw["data"]) if values.pop("data", _encode) is not _encode else None
    encoded = values.pop("data_base64", None)
    if encoded is not None and data is not None:
        raise InvalidEvent("expected data or data_base64, found both")
    if encoded is not None:
        _check_base64(encoded)
    attributes = {name: value for name, value in values.items() if value is not None}
    return _new_event(attributes, data, encoded, received_at, size=len(body))


def read_plain(body: bytes, received_at: str, new_id: Callable[[], str]) -> NewEvent:
    """Read the plain form, `{type, source, payload}` with `id`, `subject` and `time` where they are known.

    Raises:
        InvalidEvent: it is not that.
    """
    values, raw = _decode_object(body)
    if "specversion" in values:
        raise InvalidEvent("expected {type, source, payload}, found a CloudEvent. Send it as application/cloudevents+json.")
    if "payload" not in values:
        raise InvalidEvent("payload: expected any JSON value, found none")
    del values["payload"]
    if unknown := sorted(set(values) - _PLAIN):
        raise InvalidEvent(f"{unknown[0][:80]!a}: expected only type, source, payload, id, subject, time. A CloudEvent takes more.")
    attributes = {name: value for name, value in values.items() if value is not None}
    attributes.setdefault("id", new_id())
    return _new_event({"specversion": "1.0", **attributes}, bytes(raw["payload"]), None, received_at, size=len(body))


def read_binary(headers: Iterable[tuple[bytes, bytes]], content_type: str, body: bytes, received_at: str) -> NewEvent:
    """Read one CloudEvent in binary mode: attributes in `ce-` headers, the body is the data.

    Args:
        headers: all headers of the request, names in lower case, values as they came.
        content_type: what the body is; empty where nothing was said.
        body: JSON stays JSON, anything else goes to base64.
        received_at: RFC 3339, the event's time where it has none.

    Raises:
        InvalidEvent: it is not one.
    """
    attributes = _attributes_of(headers)
    if content_type:
        attributes["datacontenttype"] = content_type
    if not body:
        return _new_event(attributes, None, None, received_at, size=0)
    if is_json(content_type):
        _check_json(body)
        return _new_event(attributes, body, None, received_at, size=len(body))
    return _new_event(attributes, None, base64.b64encode(body).decode(), received_at, size=len(body) * 2)


def is_json(content_type: str) -> bool:
    """Return whether a body of this type is JSON text in UTF-8."""
    media_type, _, parameters = content_type.lower().partition(";")
    charset = re.search(r"charset\s*=\s*\"?([\w-]+)", parameters)
    return _JSON_TYPE.fullmatch(media_type.strip()) is not None and (charset is None or charset[1] in {"utf-8", "utf8", "us-ascii"})


def _attributes_of(headers: Iterable[tuple[bytes, bytes]]) -> Attributes:
    attributes: Attributes = {}
    for name, value in headers:
        if not name.startswith(b"ce-"):
            continue
        attribute = name[3:].decode("ascii", "replace")
        if attribute in attributes:
            raise InvalidEvent(f"header ce-{attribute[:80]}: expected it once")
        if attribute in {"datacontenttype", "data"}:
            raise InvalidEvent(f"header ce-{attribute}: expected the header Content-Type for the type, and the body for the data")
        attributes[attribute] = _header_text(attribute, value)
    return attributes


def _header_text(attribute: str, value: bytes) -> str:
    """Decode a value as the CloudEvents HTTP binding says (3.1.3.2): quotes, then percent-encoding, then UTF-8."""
    if len(value) >= 2 and value[:1] == value[-1:] == b'"':
        value = re.sub(rb"\\(.)", rb"\1", value[1:-1])
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        raise InvalidEvent(f"header ce-{attribute[:80]}: expected percent-encoded UTF-8, found {value[:80]!a}") from None


# ── checks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _decode_object(body: bytes) -> tuple[dict[str, Any], Mapping[str, msgspec.Raw]]:
    """Return the members decoded, which checks all of it, and as they stand."""
    values = _check_json(body)
    if not isinstance(values, dict):
        raise InvalidEvent(f"expected a JSON object, found {_kind(values)}")
    return values, _decode_raw(body)


def _check_json(body: bytes) -> Any:
    """Decode it: what cannot be decoded here could not be read, or not even be published, later."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEvent(f"expected JSON of valid Unicode, numbers of 64 bits and reasonable depth: {error}") from None


def _check_base64(encoded: object) -> None:
    try:
        if not isinstance(encoded, str):
            raise InvalidEvent(f"data_base64: expected text, found {_kind(encoded)}")
        base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidEvent(f"data_base64: expected base64: {error}") from None


def _check_attributes(attributes: Attributes) -> None:
    for name in _REQUIRED:
        if not attributes.get(name):
            raise InvalidEvent(f"{name}: expected text that is not empty, found {_kind(attributes.get(name))}")
    for name, value in attributes.items():
        _check_attribute(name, value)
    if attributes["specversion"] != "1.0":
        raise InvalidEvent(f"specversion: expected 1.0, found {attributes['specversion'][:20]!a}")
    for name in ("source", "dataschema"):
        if name in attributes and not _URI.fullmatch(attributes[name]):
            raise InvalidEvent(f"{name}: expected a URI reference, found {attributes[name][:80]!a}")
    if "time" in attributes and not is_rfc3339(attributes["time"]):
        raise InvalidEvent(f"time: expected RFC 3339 like 2026-11-20T09:30:00Z, found {attributes['time'][:80]!a}")


def _check_attribute(name: str, value: object) -> None:
    if name not in _TEXT and not _NAME.fullmatch(name):
        raise InvalidEvent(f"attribute {name[:80]!a}: expected a name of lower-case letters and digits")
    if isinstance(value, str):
        if not value.isprintable() and _FORBIDDEN.search(value):  # what is printable is allowed; the rest is looked at
            raise InvalidEvent(f"{name}: expected text without control characters, found {value[:80]!a}")
        if not value and name in _TEXT:
            raise InvalidEvent(f"{name}: expected text that is not empty. Leave it out.")
    elif name in _TEXT:
        raise InvalidEvent(f"{name}: expected text, found {_kind(value)}")
    elif not isinstance(value, bool) and not (isinstance(value, int) and value in _INTEGERS):
        raise InvalidEvent(f"{name}: expected text, a boolean or an integer of 32 bits, found {_kind(value)}")


def is_rfc3339(text: str) -> bool:
    """Return whether a text is a time as RFC 3339 writes it."""
    if not _RFC3339.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text.upper().replace(":60", ":59", 1) if text[17:19] == "60" else text.upper())
    except ValueError:
        return False
    return True


def _kind(value: object) -> str:
    names = {type(None): "nothing", str: "text", bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return "empty text" if value == "" else names.get(type(value), type(value).__name__)


# ── the event to be written ──────────────────────────────────────────────────────────────────────────────────────────


def _new_event(attributes: Attributes, data: bytes | None, data_base64: str | None, received_at: str, *, size: int) -> NewEvent:
    _check_attributes(attributes)
    if "datacontenttype" not in attributes and data is not None:
        attributes["datacontenttype"] = "application/json"
    event = NewEvent(
        topic=CATEGORY.topic,
        data=data,
        data_base64=data_base64,
        ordered="subject" in attributes,
        extensions=_extensions(attributes),
        fingerprint=_fingerprint(attributes, data, data_base64),
        **{"time": received_at, "datacontenttype": None, **{name: attributes[name] for name in attributes.keys() & _OWN_FIELDS}},
    )
    if problem := attribute_problem(event):
        raise InvalidEvent(problem)
    if size > _LARGE:
        encode_event(event, _SOMEBODY)
    return event


def _extensions(attributes: Attributes) -> Mapping[str, str | int | bool]:
    """Return what is not ours to interpret. A stranger's own count is kept under another name: on our wire the store counts."""
    if len(attributes) == len(attributes.keys() & _TEXT):
        return {}
    found = {name: value for name, value in attributes.items() if name not in _TEXT}
    if says_replayed(found.get(REPLAYED)):
        raise InvalidEvent("replayed: expected a new event, found one that is recorded already and only handed over again. Leave it out.")
    for name in RESERVED & found.keys():
        found.setdefault(f"origin{name}", found.pop(name))  # an event that was bridged before keeps its first origin
    return check_extensions(found)


def _fingerprint(attributes: Attributes, data: bytes | None, data_base64: str | None) -> bytes:
    """Return what is equal for a repeat in whatever mode: the attributes in the order of their names, and the data as it came."""
    kind = b"0" if data is None else b"1"
    return _encode((sorted(attributes.items()), data_base64)) + kind + (data or b"")
