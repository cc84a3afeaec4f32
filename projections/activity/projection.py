"""Activity: the newest events of all topics, whoever wrote them and under whatever words.

It handles nothing in particular, so that every event that can be read at all is shown: attributes as they came, data as
the JSON text that came. What it keeps is decided by the events alone, never by when they arrived: the newest by their own
time, and of those that tell no time, which cannot be placed among the others, some.
"""

from hashlib import blake2b
from typing import Any, Final

import msgspec

import events
from projections.activity.times import utc_text
from sidestream.errors import UnreadableEvent
from sidestream.event import Envelope
from sidestream.projection import Newest, Projection, Rows, Table

KEPT: Final = 10_000
"""How many events with a time are kept."""
KEPT_WITHOUT_TIME: Final = 1_000
"""How many events without a time, or with one that nobody can read, are kept: those with the greatest ids."""


class Happening(msgspec.Struct, frozen=True):
    """One event. Two events that share source and id and are not the same are both shown; `digest` tells them apart.

    Attributes:
        time: in UTC, nine digits after the second; empty where the event tells none.
        time_given: the time as it came.
        data: JSON text as it came.
    """

    source: str
    event_id: str
    digest: str
    type: str
    subject: str | None
    time: str
    time_given: str | None
    datacontenttype: str | None
    dataschema: str | None
    data: str | None
    data_base64: str | None
    correlationid: str | None
    causationid: str | None


KEY: Final = ("source", "event_id", "digest")
ORDER: Final = ("time", *KEY)
_INDEXES: Final = [("type", *ORDER), ("source", "time", "event_id", "digest"), ("subject", *ORDER)]

TIMED: Final = Table(Happening, key=KEY, indexes=_INDEXES, keep=Newest(KEPT, ORDER), name="timed")
UNTIMED: Final = Table(
    Happening, key=KEY, indexes=[ORDER], keep=Newest(KEPT_WITHOUT_TIME, ("event_id", "source", "digest")), name="untimed"
)


class Activity(Projection):
    """The newest events across all topics."""

    name = "activity"
    version = 1
    topics = events.registry().topics
    tables = (TIMED, UNTIMED)
    ordered = False

    def evolve(self, rows: Rows, event: Any, envelope: Envelope) -> None:
        """Note the event."""
        happening = _happening(envelope)
        rows.put(TIMED if happening.time else UNTIMED, happening)


def _happening(envelope: Envelope) -> Happening:
    seen = Happening(
        source=envelope.source,
        event_id=envelope.id,
        digest="",
        type=envelope.type,
        subject=envelope.subject,
        time=utc_text(envelope.time or "") or "",
        time_given=envelope.time,
        datacontenttype=envelope.datacontenttype,
        dataschema=envelope.dataschema,
        data=_text(envelope),
        data_base64=envelope.data_base64,
        correlationid=envelope.correlationid,
        causationid=envelope.causationid,
    )
    return msgspec.structs.replace(seen, digest=blake2b(msgspec.json.encode(seen), digest_size=8).hexdigest())


def _text(envelope: Envelope) -> str | None:
    """Return the data as JSON text, None where there is none."""
    data = bytes(envelope.data)
    if not data:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UnreadableEvent(f"data: expected JSON in UTF-8: {error}") from None
