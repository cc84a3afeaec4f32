"""One append to an event store in SQLite, one adoption and one new epoch, each inside a transaction that the caller began.

Counters come first, in sorted order, then versions, then events with their numbers.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

import msgspec

from sidestream.adapters.sqlite_store_file import Row, producer_row
from sidestream.adapters.sqlite_store_reading import COLUMNS, FROM, STREAM_VERSION, stored_event
from sidestream.event import Counted, Envelope, NewEvent, encode_event
from sidestream.ports import Append, StoredEvent
from sidestream.writing.appending import Identity, check_repeat, check_version, identity_of
from sidestream.writing.restoring import ADOPTED, check_same, is_next, next_epoch, read_adopted, recorded_at, renumbered, stream_of

_INSERT: Final = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ROWS: Final = 20
"""So many rows a statement are a seventh cheaper than one; more gain little."""
_INSERT_ROWS: Final = _INSERT + ", (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)" * (_ROWS - 1)
_LAST_POSITION: Final = "SELECT coalesce(max(position), 0) FROM events"
_IDS_A_QUERY: Final = 500


class Counter:
    """The counter row of one topic, as this transaction sees it."""

    __slots__ = ("count", "published", "row")

    def __init__(self, row: int, count: int, published: int) -> None:
        self.row = row
        self.count = count
        self.published = published


def take_counter(connection: sqlite3.Connection, topic: str, producer: int) -> Counter:
    """Return the counter of a topic, made where there is none."""
    which = "SELECT id, count, published FROM counters WHERE topic = ? AND producer = ?"
    if (found := connection.execute(which, (topic, producer)).fetchone()) is None:
        connection.execute("INSERT INTO counters (topic, producer) VALUES (?, ?)", (topic, producer))
        found = connection.execute(which, (topic, producer)).fetchone()
    return Counter(*found)


def take_source(connection: sqlite3.Connection, source: str) -> int:
    """Return the row of a source, made where there is none."""
    which = "SELECT id FROM sources WHERE source = ?"
    if (found := connection.execute(which, (source,)).fetchone()) is None:
        connection.execute("INSERT INTO sources (source) VALUES (?)", (source,))
        found = connection.execute(which, (source,)).fetchone()
    return int(found[0])


def _insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    whole = len(rows) - len(rows) % _ROWS
    together = (tuple(chain.from_iterable(rows[begin : begin + _ROWS])) for begin in range(0, whole, _ROWS))
    connection.executemany(_INSERT_ROWS, together)
    connection.executemany(_INSERT, rows[whole:])


class Part:
    """One append inside a transaction, which it may share with others."""

    def __init__(self, connection: sqlite3.Connection, producer: str, recorded_ms: int) -> None:
        self._connection = connection
        self._producer = producer
        self._recorded_ms = recorded_ms
        self._known: dict[Identity, tuple[StoredEvent, bytes]] = {}
        self._counters: dict[str, Counter] = {}
        self._sources: dict[str, int] = {}
        self._versions: dict[str, int] = {}
        self._fresh: list[Row] = []
        self._position = 0

    def append(self, appends: Sequence[Append]) -> tuple[StoredEvent, ...]:
        """Store what is not stored yet; return the place of everything."""
        self._find([event for append in appends for event in append.events])
        return self.append_new(appends)

    def append_new(self, appends: Sequence[Append]) -> tuple[StoredEvent, ...]:
        """Store events without looking whether they are stored already: the database refuses those that are.

        Raises:
            sqlite3.IntegrityError: one of them is; what was done of it is to be rolled back.
        """
        fresh = [event for append in appends for event in append.events if identity_of(event) not in self._known]
        self._take_counters(sorted({event.topic for event in fresh}))
        self._sources = {source: take_source(self._connection, source) for source in {event.source for event in fresh}}
        self._position = self._connection.execute(_LAST_POSITION).fetchone()[0]
        stored = tuple(chain.from_iterable(map(self._append, appends)))
        _insert(self._connection, self._fresh)
        counts = [(counter.count, counter.row) for counter in self._counters.values()]
        self._connection.executemany("UPDATE counters SET count = ? WHERE id = ?", counts)
        return stored

    def _append(self, append: Append) -> list[StoredEvent]:
        known = [self._known_place(event) for event in append.events] if self._known else [None]
        if append.stream is not None and None in known:
            check_version(append.stream, append.expected, self._version(append.stream))
        return [self._known_place(event) or self._add(event, append.stream) for event in append.events]

    def _known_place(self, event: NewEvent) -> StoredEvent | None:
        found = self._known.get((event.source, event.id))
        if found is None:
            return None
        stored, digest = found
        check_repeat(event, event.content_digest(), digest, stored.wire)
        return msgspec.structs.replace(stored, repeated=True)

    def _add(self, event: NewEvent, stream: str | None) -> StoredEvent:
        version = None if stream is None else self._version(stream) + 1
        counter, topic, source, event_id, ordered = self._counters[event.topic], event.topic, event.source, event.id, event.ordered
        sequence, position, recorded_ms = counter.count + 1, self._position + 1, self._recorded_ms
        wire, digest = encode_event(event, Counted(self._producer, sequence, version)), event.content_digest()
        stored = StoredEvent(position, topic, sequence, source, event_id, stream, version, wire, ordered, recorded_ms)
        self._fresh.append(
            (position, counter.row, sequence, self._sources[source], event_id, stream, version, ordered, recorded_ms, digest, wire)
        )
        counter.count, self._position = sequence, position
        if stream is not None and version is not None:
            self._versions[stream] = version
        self._known[source, event_id] = (stored, digest)
        return stored

    def _find(self, events: Sequence[NewEvent]) -> None:
        """Look up which of the events are stored already, some hundred a query."""
        ids: dict[str, list[str]] = {}
        for event in events:
            ids.setdefault(event.source, []).append(event.id)
        for source, all_ids in ids.items():
            for begin in range(0, len(all_ids), _IDS_A_QUERY):
                some = all_ids[begin : begin + _IDS_A_QUERY]
                marks = ",".join("?" * len(some))
                where = f"WHERE e.source = (SELECT id FROM sources WHERE source = ?) AND e.event_id IN ({marks})"  # noqa: S608 - marks
                for row in self._connection.execute(f"SELECT {COLUMNS}, e.digest {FROM} {where}", (source, *some)):
                    self._known[row[3], row[4]] = (stored_event(row), row[10])

    def _take_counters(self, topics: Iterable[str]) -> None:
        producer = producer_row(self._connection, self._producer)
        for topic in topics:
            self._counters[topic] = take_counter(self._connection, topic, producer)

    def _version(self, stream: str) -> int:
        version = self._versions.get(stream)
        if version is None:
            version = self._versions[stream] = int(self._connection.execute(STREAM_VERSION, (stream,)).fetchone()[0])
        return version


# ── restored from a copy ─────────────────────────────────────────────────────────────────────────────────────────────


class Adoption:
    """Events of the log that the store lacks, on their way into it."""

    def __init__(self, connection: sqlite3.Connection, producer: str, topic: str, now_ms: int) -> None:
        self._connection = connection
        self._producer = producer
        self._topic = topic
        self._now_ms = now_ms
        self._counter = take_counter(connection, topic, producer_row(connection, producer))

    def take(self, wires: Sequence[bytes]) -> int:
        """Store what is not stored yet; return how many. What stands in the log without a hole before it is marked."""
        adopted = sum(self._take(wire) for wire in wires)
        values = (self._counter.count, self._counter.published, self._counter.row)
        self._connection.execute("UPDATE counters SET count = ?, published = ? WHERE id = ?", values)
        return adopted

    def _take(self, wire: bytes) -> bool:
        envelope = read_adopted(wire, self._producer)
        fresh = is_next(self._topic, envelope, self._counter.count)
        if fresh:
            self._insert(envelope, wire)
        else:
            check_same(envelope, self._stored_wire(envelope.number))
        if envelope.number == self._counter.published + 1:
            self._counter.published = envelope.number
        return fresh

    def _insert(self, envelope: Envelope, wire: bytes) -> None:
        source, stream = take_source(self._connection, envelope.source), stream_of(envelope)
        taken = "SELECT 1 FROM events WHERE source = ? AND event_id = ? UNION ALL SELECT 1 FROM events WHERE stream = ? AND version = ?"
        if self._connection.execute(taken, (source, envelope.id, stream, envelope.streamversion)).fetchone():
            check_same(envelope, None)
        position = self._connection.execute(_LAST_POSITION).fetchone()[0] + 1
        place = (position, self._counter.row, envelope.number, source, envelope.id, stream, envelope.streamversion)
        self._connection.execute(_INSERT, (*place, True, recorded_at(envelope, self._now_ms), ADOPTED, wire))
        self._counter.count = envelope.number

    def _stored_wire(self, number: int) -> bytes:
        which = "SELECT wire FROM events WHERE counter = ? AND sequence = ?"
        return bytes(self._connection.execute(which, (self._counter.row, number)).fetchone()[0])


def begin_epoch(connection: sqlite3.Connection, producer: str) -> str:
    """Give new numbers under a new producer to what is not published; return that producer."""
    row, after = producer_row(connection, producer), next_epoch(producer)
    new_row = int(connection.execute("INSERT INTO producers (producer) VALUES (?) RETURNING id", (after,)).fetchall()[0][0])
    waiting = "SELECT id, topic, published FROM counters WHERE producer = ? AND count > published"
    for counter, topic, published in connection.execute(waiting, (row,)).fetchall():
        fresh = take_counter(connection, topic, new_row)
        count = _count_anew(connection, (counter, published), fresh.row, after)
        connection.execute("UPDATE counters SET count = ? WHERE id = ?", (count, fresh.row))
        connection.execute("UPDATE counters SET count = published WHERE id = ?", (counter,))
    return after


def _count_anew(connection: sqlite3.Connection, old: tuple[int, int], counter: int, producer: str) -> int:
    """Move the events of a counter after a number to another counter, from 1; return how many."""
    which = "SELECT position FROM events WHERE counter = ? AND sequence > ? ORDER BY sequence"
    positions = [position for (position,) in connection.execute(which, old)]
    for sequence, position in enumerate(positions, start=1):
        (wire,) = connection.execute("SELECT wire FROM events WHERE position = ?", (position,)).fetchone()
        values = (counter, sequence, renumbered(wire, producer, sequence), position)
        connection.execute("UPDATE events SET counter = ?, sequence = ?, wire = ? WHERE position = ?", values)
    return len(positions)
