"""What the kernel asks of the world, one small Protocol per need. The memory adapters are the specification.

All of it is synchronous but the publisher: reading, folding and writing run in a thread, HTTP and gRPC at the edges are
asynchronous. An adapter translates its driver's failures into the errors named here and lets no other escape.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from typing import Any, Final, Literal, Protocol, TypeVar, runtime_checkable

import msgspec

from sidestream.event import NewEvent
from sidestream.projection import Column, Key, Table

Row = TypeVar("Row", bound=msgspec.Struct)


# ── Publisher: hand events to the sidecar ────────────────────────────────────────────────────────────────────────────


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """One event ready for the wire: its bytes, its key for partitioned brokers, and what to call it in errors."""

    wire: bytes
    partition_key: str
    event_id: str


class Publisher(Protocol):
    """Hands events to the broker. No order is kept within one call; the caller sends waves."""

    async def publish(self, topic: str, events: Sequence[Outgoing]) -> Mapping[int, str]:
        """Publish a bulk and return what was not confirmed: index in `events` → reason. Empty: all stand in the log.

        What is named may stand in the log nevertheless. A call that failed altogether names every index.
        At most one call may hold 4 MiB; larger bulks are cut by the adapter.
        """
        ...

    async def close(self) -> None:
        """Release the connection."""
        ...


# ── Event log: read by position ──────────────────────────────────────────────────────────────────────────────────────


class LogEntry(msgspec.Struct, frozen=True, gc=False):
    """One entry: its position as the log writes it, the bytes as they came, and when it was recorded (ms since 1970)."""

    position: str
    data: bytes
    recorded_ms: int


@runtime_checkable
class Wires(Protocol):
    """Entries that were read without making an object of each; what `read` returns may be such a sequence."""

    wires: Sequence[bytes]


def wires_of(entries: Sequence[LogEntry]) -> Sequence[bytes]:
    """Return the bytes of entries."""
    return entries.wires if isinstance(entries, Wires) else [entry.data for entry in entries]


@runtime_checkable
class ReadsAhead(Protocol):
    """A log that can be told what will be read next, so that the broker works while the last entries are applied."""

    def announce(self, topic: str, start: str | None, limit: int) -> None:
        """Ask for what `read` with the same arguments will return soon. Never raises; may do nothing."""
        ...


class LogExtent(msgspec.Struct, frozen=True):
    """What a log holds of one topic.

    Attributes:
        first, last: the oldest and the newest position, None when it is empty.
        trimmed_to: the newest position known to have been removed, None when nothing was.
        length: how many entries there are.
        identity: something that another log of the same name would not have; empty where the broker has nothing.
        began_late: whether events were published before its first one that it never had.
    """

    first: str | None
    last: str | None
    trimmed_to: str | None
    length: int
    identity: str = ""
    began_late: bool = False


class EventLog(Protocol):
    """All events of a topic in recorded order. A topic nobody has written to is an empty one. Safe to call from threads.

    Every method raises LogUnavailable when the log cannot be read now.
    """

    def read(self, topic: str, start: str | None, limit: int) -> Sequence[LogEntry]:
        """Return up to `limit` entries from position `start` on, *including* it; None: from the beginning."""
        ...

    def read_back(self, topic: str, before: str | None, limit: int) -> Sequence[LogEntry]:
        """Return up to `limit` entries before position `before`, newest first; None: from the end."""
        ...

    def extent(self, topic: str) -> LogExtent:
        """Return what the log holds of this topic now."""
        ...

    def compare(self, left: str, right: str) -> int:
        """Return a number below, at or above zero as `left` stands before, at or after `right`."""
        ...

    def close(self) -> None:
        """Release the connection."""
        ...


# ── Event store: append with expected version, follow the count ──────────────────────────────────────────────────────


class Expected(Enum):
    """What a writer may believe of a stream besides a number."""

    NO_STREAM = "no stream"
    ANY = "any"


NO_STREAM: Final = Expected.NO_STREAM
ANY: Final = Expected.ANY
ExpectedVersion = int | Literal[Expected.NO_STREAM, Expected.ANY]


class Append(msgspec.Struct, frozen=True):
    """Events for one stream, or facts without one.

    Attributes:
        stream: the stream; None for facts, which have no version (`subject` of the events stays what it is).
        events: one or more; with a stream, their `subject` is the stream.
        expected: the version the writer believes the stream to have.
    """

    stream: str | None
    events: tuple[NewEvent, ...]
    expected: ExpectedVersion = ANY


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """One event of a store: its place in commit order, its count, its version, and the bytes for the wire."""

    position: int
    topic: str
    sequence: int
    source: str
    event_id: str
    stream: str | None
    version: int | None
    wire: bytes
    ordered: bool
    recorded_ms: int


class EventStore(Protocol):
    """Keeps events of aggregates. One append is one transaction. Safe to call from threads and several processes.

    The count per topic is assigned in the append itself: gapless, in commit order, never given twice.
    Every method raises StoreAway when the database cannot be reached.
    """

    @property
    def producer(self) -> str:
        """Who counts: `<uuid>.<epoch>`."""
        ...

    def append(self, appends: Sequence[Append]) -> tuple[StoredEvent, ...]:
        """Store all of it or nothing; return every event with its place, in the order given.

        An event whose source and id are stored already with the same content is the same success: its first place is
        returned and nothing is stored for it.

        Raises:
            WrongExpectedVersion: a stream has another version than the writer believes.
            EventConflict: source and id are stored already with other content.
            InvalidEvent: an event is malformed or too large.
        """
        ...

    def read_stream(self, stream: str, after: int = 0, limit: int = 1000) -> Sequence[StoredEvent]:
        """Return the events of a stream after a version, in order."""
        ...

    def stream_version(self, stream: str) -> int:
        """Return the version of a stream, 0 when there is none."""
        ...

    def follow(self, after: int, limit: int = 1000) -> Sequence[StoredEvent]:
        """Return events in commit order after a position; one that commits later never has a lower position."""
        ...

    def unpublished(self, topic: str, limit: int = 1000, after: int = 0) -> Sequence[StoredEvent]:
        """Return events of a topic after the last one marked as published, and after a number, in count order.

        May return fewer than `limit`, but at least one if there is one, where events are large.
        """
        ...

    def mark_published(self, topic: str, sequence: int) -> None:
        """Note that every event of the topic up to this number stands in the log. Going back is ignored."""
        ...

    def topics(self) -> Sequence[str]:
        """Return every topic that events were stored for."""
        ...

    def backlog(self) -> Mapping[str, int]:
        """Return, for every topic, how many of its events are not marked as published."""
        ...

    def close(self) -> None:
        """Release the connection."""
        ...


# ── Read models: generations and their transactions ──────────────────────────────────────────────────────────────────


class Condition(msgspec.Struct, frozen=True):
    """One condition of a query: column, comparison, value."""

    column: str
    comparison: Literal["=", "<", "<=", ">", ">="]
    value: Any


class Query(msgspec.Struct, frozen=True):
    """A page of rows: all conditions hold, ordered by columns, after the given values of these columns.

    Attributes:
        order_by: columns; end with the key so that the order is total.
        after: values of `order_by` of the last row of the page before, or None for the first page.
    """

    where: tuple[Condition, ...] = ()
    order_by: tuple[str, ...] = ()
    descending: bool = False
    after: tuple[Any, ...] | None = None
    limit: int = 100


class Reader(Protocol):
    """Reads of one consistent moment."""

    def read(self, table: Table[Row], keys: Iterable[Key]) -> Mapping[Key, Row]:
        """Return the rows that exist among these keys."""
        ...

    def select(self, table: Table[Row], query: Query) -> Sequence[Row]:
        """Return a page of rows."""
        ...

    def count(self, table: Table[Any], where: Sequence[Condition] = ()) -> int:
        """Return how many rows fulfil all conditions."""
        ...


class Unit(Reader, Protocol):
    """One transaction: it holds the generation's write lock, sees its own writes, and commits when its block ends well."""

    def write(self, table: Table[Row], rows: Sequence[Row]) -> None:
        """Insert rows, or replace those with the same key."""
        ...

    def delete(self, table: Table[Any], keys: Sequence[Key]) -> None:
        """Remove rows; missing ones are no error."""
        ...

    def keep_newest(self, table: Table[Any]) -> None:
        """Forget what the table's `keep` says."""
        ...


GenerationState = Literal["building", "ready", "held", "scratch"]
"""building: unfinished · ready: follows the log, may be live · held: differs from the live one, waits for somebody to
accept it · scratch: as of some moment in the past. Only *ready* ones are followed."""


class GenerationInfo(msgspec.Struct, frozen=True):
    """One built copy of a read model: its name, the projection's version it was built by, and whether queries use it.

    Attributes:
        switched: counts the moves of the pointer, the highest is live; 0: never live, or rolled back from since.
        stale_since: live although no program follows it: time of its last event; empty otherwise.
        built_events, built_seconds: what building it took, 0 where it was built live or is unfinished.
    """

    name: str
    version: int
    state: GenerationState
    created_at: str
    live: bool
    switched: int = 0
    stale_since: str = ""
    built_events: int = 0
    built_seconds: float = 0.0


class TableShape(msgspec.Struct, frozen=True):
    """What a generation's database knows of a table: enough to read it without the code that made it."""

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]


def shape_of(table: Table[Any]) -> TableShape:
    """Return the shape of a declared table."""
    return TableShape(table.name, table.key, table.columns)


class Generation(Protocol):
    """A SQLite file, a PostgreSQL schema, or a dictionary. Safe to call from threads.

    Raises StoreAway, TryAgain or RefusedByStore, at entering, inside, or at leaving a block.
    """

    @property
    def name(self) -> str:
        """Its name, unique among the generations of its projection: `g1`, `g2` and so on."""
        ...

    def unit(self) -> AbstractContextManager[Unit]:
        """Begin a transaction that holds the generation's write lock; commits at the end, rolls back on any exception."""
        ...

    def snapshot(self) -> AbstractContextManager[Reader]:
        """Begin a consistent read that waits for no writer."""
        ...

    def close(self) -> None:
        """Release connections."""
        ...


class ReadModels(Protocol):
    """All generations of one projection and the pointer to the live one. Every process sees the same."""

    def beside(self, tables: Sequence[Table[Any]]) -> Generation:
        """Open the place beside the generations, made with these tables when it is missing. It outlives every generation."""
        ...

    def generations(self) -> Sequence[GenerationInfo]:
        """Return all generations, oldest first."""
        ...

    def create(self, version: int, tables: Sequence[Table[Any]], created_at: str) -> str:
        """Make an empty generation in state *building* with these tables and return its name."""
        ...

    def shapes(self, name: str) -> Sequence[TableShape]:
        """Return the tables it was made with, none where an older release made it; raises UnknownGeneration."""
        ...

    def size(self, name: str) -> int:
        """Return how many bytes it takes in the database, 0 in memory; raises UnknownGeneration."""
        ...

    def open(self, name: str) -> Generation:
        """Open a generation; raises UnknownGeneration."""
        ...

    def mark_ready(self, name: str) -> None:
        """Note that it is complete enough to serve; raises UnknownGeneration."""
        ...

    def set_aside(self, name: str, state: Literal["held", "scratch"]) -> None:
        """Note that it is complete and that nobody shall follow it; raises UnknownGeneration."""
        ...

    def note_built(self, name: str, events: int, seconds: float) -> None:
        """Add to what building it took; raises UnknownGeneration."""
        ...

    def switch(self, name: str, stale_since: str = "") -> None:
        """Move the pointer: queries use this generation from now on. Raises UnknownGeneration, or ReadModelError if it is not ready.

        `stale_since` where nobody will follow it: the time of its last event.
        """
        ...

    def roll_back(self, name: str, stale_since: str = "") -> None:
        """Move the pointer as `switch` does, and forget that the generation it leaves was ever live."""
        ...

    def drop(self, name: str) -> None:
        """Remove a generation for good; raises UnknownGeneration, or ReadModelError if it is live."""
        ...

    def exclusively(self, who: str = "") -> AbstractContextManager[None]:
        """Hold the right to build, move and drop generations. Ends with the process.

        Raises:
            ReadModelError: another process holds it; the message holds its `who`.
        """
        ...

    def close(self) -> None:
        """Release connections."""
        ...
