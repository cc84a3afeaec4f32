"""What a generation keeps besides its rows: what has been applied. Plain tables, written in the transaction of the rows.

head             one row: counts every transaction, so that a process notices another's
checkpoints      how far each topic has been applied
counts           per topic and producer the numbers applied, as intervals
recent_ids       the ids of the last 1,000 numbers of each producer, to tell a duplicate from a number used twice
strangers        source and id of events whose writer does not count
stream_versions  the last version applied of each stream
parked_streams   streams that wait, and for what
parked_events    their events with reason and original bytes, in order of arrival
"""

from typing import Any, Final

import msgspec

from sidestream.projection import Table

RECENT_IDS: Final = 1000
"""How many ids are kept per topic and producer."""


class Head(msgspec.Struct, frozen=True):
    """The generation itself: which rule built it, and how many transactions it has seen."""

    name: str
    revision: int


class Checkpoint(msgspec.Struct, frozen=True):
    """How far a topic has been applied: the position, the event that stands there, and the log's identity.

    `began_after` is the position up to which the log was trimmed when this generation began, empty when it was whole;
    `0` where the log itself began late.
    """

    topic: str
    position: str
    source: str
    event_id: str
    identity: str = ""
    began_after: str = ""


class Count(msgspec.Struct, frozen=True):
    """The numbers of one producer on one topic that have been applied, `1-500,502-600`."""

    topic: str
    producer: str
    intervals: str


class RecentId(msgspec.Struct, frozen=True):
    """The id under which a recent number was applied; `slot` is the number modulo RECENT_IDS."""

    topic: str
    producer: str
    slot: int
    sequence: int
    event_id: str


class SeenStranger(msgspec.Struct, frozen=True):
    """An event of a writer who does not count, known by source and id."""

    topic: str
    source: str
    event_id: str


class StreamVersion(msgspec.Struct, frozen=True):
    """The last version of a stream that has been applied."""

    topic: str
    stream: str
    version: int


class ParkedStream(msgspec.Struct, frozen=True):
    """A stream that waits.

    Attributes:
        waiting_for: the version it waits for; 0: its first parked event failed.
        first, next: ordinals of its parked events, `first` inclusive, `next` exclusive; some between may be gone.
    """

    topic: str
    stream: str
    waiting_for: int
    first: int
    next: int


class ParkedEvent(msgspec.Struct, frozen=True):
    """An event that is not applied yet. `reason` is a stable code, `detail` says what happened, `wire` is the original.

    `producer` and `number` are those it was counted under, empty and 0 for a stranger and for what cannot be read.
    """

    topic: str
    stream: str
    ordinal: int
    position: str
    source: str
    event_id: str
    type: str
    streamversion: int
    producer: str
    number: int
    reason: str
    detail: str
    attempts: int
    first_at: str
    last_at: str
    wire: bytes


HEADS: Final = Table(Head, key=("name",), name="sidestream_head")
CHECKPOINTS: Final = Table(Checkpoint, key=("topic",), name="sidestream_checkpoints")
COUNTS: Final = Table(Count, key=("topic", "producer"), name="sidestream_counts")
RECENT: Final = Table(RecentId, key=("topic", "producer", "slot"), name="sidestream_recent_ids")
STRANGERS: Final = Table(SeenStranger, key=("topic", "source", "event_id"), name="sidestream_strangers")
STREAM_VERSIONS: Final = Table(StreamVersion, key=("topic", "stream"), name="sidestream_stream_versions")
PARKED_STREAMS: Final = Table(ParkedStream, key=("topic", "stream"), name="sidestream_parked_streams")
PARKED_EVENTS: Final = Table(
    ParkedEvent,
    key=("topic", "stream", "ordinal"),
    indexes=[("event_id", "source"), ("topic", "position"), ("topic", "producer", "number")],
    name="sidestream_parked_events",
)

BOOKKEEPING_PREFIX: Final = "sidestream_"
"""No table of a projection is called so."""
BOOKKEEPING: Final[tuple[Table[Any], ...]] = (
    HEADS,
    CHECKPOINTS,
    COUNTS,
    RECENT,
    STRANGERS,
    STREAM_VERSIONS,
    PARKED_STREAMS,
    PARKED_EVENTS,
)
HEAD_KEY: Final = ("head",)
