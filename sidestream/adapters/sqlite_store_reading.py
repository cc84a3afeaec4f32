"""Reading an event store in SQLite: streams by version, the store by position, topics in commit order, the relay's page.

A topic has one counter per epoch of the producer. Within one, numbers and positions rise together, and a later epoch has
the higher positions; so a place in a topic is found by halving, without an index that every append would pay for.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from sidestream.adapters.sqlite_store_file import Row, StoreFile, findable, producer_row
from sidestream.event import MAX_NUMBER
from sidestream.ports import StoredEvent

COLUMNS: Final = "e.position, c.topic, e.sequence, s.source, e.event_id, e.stream, e.version, e.wire, e.ordered, e.recorded_ms"
FROM: Final = "FROM events e JOIN counters c ON c.id = e.counter JOIN sources s ON s.id = e.source"
STREAM_VERSION: Final = "SELECT coalesce(max(version), 0) FROM events WHERE stream = ?"
_UNTIL: Final = "SELECT version FROM events WHERE stream = ? AND recorded_ms > ? ORDER BY version LIMIT 1"
"""The first event of a stream that was recorded later: the stream as it was ends before it, whatever the clock did then."""
_PAGE_BYTES: Final = 8 * 1024 * 1024
"""A page of unpublished events ends after this many bytes, so that a relay's memory is bounded by bytes too."""


class SqliteReading(StoreFile):
    """The reading half of the store."""

    def read_stream(self, stream: str, after: int = 0, limit: int = 1000, *, until_ms: int | None = None) -> Sequence[StoredEvent]:
        """See `sidestream.ports.EventStore`. It ends before the first event that was recorded later: a state that there was."""
        name, order = findable(stream), "ORDER BY e.version LIMIT ?"
        if until_ms is None:
            return self._events(f"WHERE e.stream = ? AND e.version > ? {order}", (name, bounded(after), page_size(limit)))
        where = f"WHERE e.stream = ? AND e.version > ? AND e.version < coalesce(({_UNTIL}), {MAX_NUMBER}) {order}"
        return self._events(where, (name, bounded(after), name, bounded(until_ms), page_size(limit)))

    def read_stream_back(self, stream: str, before: int | None = None, limit: int = 1000) -> Sequence[StoredEvent]:
        """See `sidestream.ports.EventStore`."""
        end = bounded(MAX_NUMBER if before is None else before)
        where = "WHERE e.stream = ? AND e.version < ? ORDER BY e.version DESC LIMIT ?"
        return self._events(where, (findable(stream), end, page_size(limit)))

    def stream_version(self, stream: str) -> int:
        """See `sidestream.ports.EventStore`."""
        return int(self._rows(STREAM_VERSION, (findable(stream),))[0][0])

    def follow(self, after: int, limit: int = 1000) -> Sequence[StoredEvent]:
        """See `sidestream.ports.EventStore`."""
        return self._events("WHERE e.position > ? ORDER BY e.position LIMIT ?", (bounded(after), page_size(limit)))

    def read_topic(self, topic: str, start: int = 0, limit: int = 1000) -> Sequence[StoredEvent]:
        """See `sidestream.ports.EventStore`."""
        page: list[StoredEvent] = []
        where = "WHERE e.counter = ? AND e.sequence >= ? ORDER BY e.sequence LIMIT ?"
        with self._reading() as reader:
            for counter, count in _counters(reader, topic):
                first = _first_at(reader, counter, count, bounded(start))
                page += _found(reader, where, (counter, first, page_size(limit) - len(page)))
        return tuple(page)

    def read_topic_back(self, topic: str, before: int | None = None, limit: int = 1000) -> Sequence[StoredEvent]:
        """See `sidestream.ports.EventStore`."""
        page: list[StoredEvent] = []
        where = "WHERE e.counter = ? AND e.sequence < ? ORDER BY e.sequence DESC LIMIT ?"
        end = bounded(MAX_NUMBER if before is None else before)
        with self._reading() as reader:
            for counter, count in reversed(_counters(reader, topic)):
                beyond = _first_at(reader, counter, count, end)
                page += _found(reader, where, (counter, beyond, page_size(limit) - len(page)))
        return tuple(page)

    def count_topic(self, topic: str) -> int:
        """See `sidestream.ports.EventStore`."""
        return int(self._rows("SELECT coalesce(sum(count), 0) FROM counters WHERE topic = ?", (findable(topic),))[0][0])

    def topics(self) -> Sequence[str]:
        """See `sidestream.ports.EventStore`."""
        return tuple(topic for (topic,) in self._rows("SELECT DISTINCT topic FROM counters ORDER BY topic", ()))

    # ── what a relay reads ───────────────────────────────────────────────────────────────────────────────────────────

    def unpublished(self, topic: str, limit: int = 1000, after: int = 0) -> Sequence[StoredEvent]:
        """See `sidestream.ports.Outbox`."""
        counted = "SELECT id, published FROM counters WHERE topic = ? AND producer = ?"
        where = "WHERE e.counter = ? AND e.sequence > ? ORDER BY e.sequence LIMIT ?"
        with self._reading() as reader:
            found = reader.execute(counted, (findable(topic), producer_row(reader, self._producer))).fetchone()
            if found is None:
                return ()
            return _found(reader, where, (found[0], max(found[1], bounded(after)), page_size(limit)), _PAGE_BYTES)

    def backlog(self) -> Mapping[str, int]:
        """See `sidestream.ports.Outbox`."""
        return dict(self._rows("SELECT topic, sum(count - published) FROM counters GROUP BY topic ORDER BY topic", ()))

    def _events(self, where: str, values: Row) -> Sequence[StoredEvent]:
        with self._read_lock, self._translated():
            return _found(self._reader, where, values)


def stored_event(row: Row) -> StoredEvent:
    """Return what a row of `COLUMNS` says."""
    position, topic, sequence, source, event_id, stream, version, wire, ordered, recorded_ms = row[:10]
    return StoredEvent(position, topic, sequence, source, event_id, stream, version, wire, bool(ordered), recorded_ms)


def bounded(number: int) -> int:
    """Return a number that SQLite can take and that compares with every stored one as the given one does."""
    return max(-MAX_NUMBER, min(number, MAX_NUMBER))


def page_size(limit: int) -> int:
    """Return how many rows to ask for. SQLite takes a number below zero for all there are."""
    return max(0, bounded(limit))


def _found(reader: sqlite3.Connection, where: str, values: Row, page_bytes: int | None = None) -> tuple[StoredEvent, ...]:
    rows = reader.execute(f"SELECT {COLUMNS} {FROM} {where}", values)
    try:
        return tuple(_until_full(map(stored_event, rows), page_bytes))
    finally:
        rows.close()


def _until_full(events: Iterable[StoredEvent], page_bytes: int | None) -> Iterator[StoredEvent]:
    """Yield events until they weigh more than a page; at least one."""
    weight = 0
    for event in events:
        yield event
        weight += len(event.wire)
        if page_bytes is not None and weight >= page_bytes:
            return


def _counters(reader: sqlite3.Connection, topic: str) -> list[Row]:
    """Return the counters of a topic, oldest epoch first. Each has the numbers from 1 to its count."""
    return reader.execute("SELECT id, count FROM counters WHERE topic = ? ORDER BY producer", (findable(topic),)).fetchall()


def _first_at(reader: sqlite3.Connection, counter: int, count: int, position: int) -> int:
    """Return the first number of a counter that stands at a position or later; one beyond the count where none does."""
    low, beyond = 1, count + 1
    while low < beyond:
        middle = (low + beyond) // 2
        (found,) = reader.execute("SELECT position FROM events WHERE counter = ? AND sequence = ?", (counter, middle)).fetchone()
        if found < position:
            low = middle + 1
        else:
            beyond = middle
    return low
