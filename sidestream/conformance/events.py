"""The events that probes publish: small CloudEvents that carry their number, and how the probe app is to answer them."""

from typing import Any, Final

import msgspec

from sidestream.ports import Outgoing

SOURCE: Final = "/sidestream/check"
TYPE: Final = "sidestream.checked"
WIRE_BYTES: Final = 311
"""As long as the events of every other measurement here."""

OK: Final = "ok"
ERROR: Final = "error"
HANG: Final = "hang"


class Payload(msgspec.Struct, frozen=True, gc=False):
    """What an event carries.

    Attributes:
        label: which probe's.
        n: its number in the probe, from 0.
        answers: how the app answers the first, second … delivery of it; after these OK.
        meanwhile: how it answers instead, as long as the check disturbs it.
        show: whether the app keeps the whole event as it came.
    """

    label: str
    n: int
    answers: tuple[str, ...] = ()
    meanwhile: str = ""
    show: bool = False
    pad: str = ""


class _Wire(msgspec.Struct, gc=False):
    id: str
    source: str
    subject: str
    data: Payload
    specversion: str = "1.0"
    type: str = TYPE
    datacontenttype: str = "application/json"


class _Read(msgspec.Struct, gc=False):
    data: Payload
    id: str = ""
    source: str = ""


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Read).decode


def event(
    label: str, n: int, *, key: str = "", answers: tuple[str, ...] = (), meanwhile: str = "", event_id: str = "", source: str = SOURCE
) -> Outgoing:
    """Return an event ready for the wire, filled up to the usual length."""
    subject, event_id = f"check-{key or n}", event_id or f"{label}-{n:06d}"
    payload = Payload(label, n, answers, meanwhile)
    plain = _encode(_Wire(event_id, source, subject, payload))
    padded = msgspec.structs.replace(payload, pad="x" * max(0, WIRE_BYTES - len(plain)))
    return Outgoing(_encode(_Wire(event_id, source, subject, padded)), subject, event_id)


def described(label: str, n: int, attributes: dict[str, Any], data: dict[str, Any]) -> Outgoing:
    """Return an event with these attributes and data, whose delivery is kept as it came."""
    whole = {**attributes, "data": {"label": label, "n": n, "show": True, **data}}
    return Outgoing(_encode(whole), str(attributes["subject"]), str(attributes["id"]))


def read_payload(wire: bytes) -> Payload | None:
    """Return what an event carries, None for one that is not ours."""
    try:
        return _decode(wire).data
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
