"""The attributes of an event in the order in which they are written, so that the same event is the same bytes for ever.

Knows names and their order only; what they may hold is checked before, in `sidestream.event`.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

_AFTER_EXTENSIONS: Final[tuple[str, ...]] = ("data_base64", "datacontenttype", "data", "producer", "sequence", "streamversion")


class Wire(msgspec.Struct, gc=False, omit_defaults=True, tag_field="specversion", tag="1.0"):
    """What is written, in the order in which it is written; what is None is left out."""

    id: str
    source: str
    type: str
    subject: str | None = None
    time: str | None = None
    dataschema: str | None = None
    partitionkey: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    traceparent: str | None = None
    traceid: str | None = None
    data_base64: str | None = None
    datacontenttype: str | None = None
    data: msgspec.Raw | None = None
    producer: str | None = None
    sequence: str | None = None
    streamversion: int | None = None


def extended(attributes: Wire, extensions: Mapping[str, str | int | bool]) -> dict[str, object]:
    """Return the attributes with extensions among them; one that has the name of an attribute takes its place."""
    given = {name: value for name, value in msgspec.structs.asdict(attributes).items() if value is not None}
    last = {name: given.pop(name) for name in _AFTER_EXTENSIONS if name in given}
    return {"specversion": "1.0", **given, **extensions, **last}
