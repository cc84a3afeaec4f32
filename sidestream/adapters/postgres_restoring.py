"""A PostgreSQL store that was restored from a copy: adopting what stands in the log, and counting anew.

Both hold the store's one row, as an append does. They are rare, so they are plain: statement by statement.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from sidestream.adapters.postgres_append_transaction import LOCK, Session
from sidestream.adapters.postgres_database import Connection, escaped
from sidestream.event import Envelope, decode_event
from sidestream.writing.restoring import ADOPTED, check_same, is_next, next_epoch, read_adopted, recorded_at, renumbered, stream_of

Check = Callable[[str], None]
"""Raises unless this is who counts."""

_PAGE: Final = 100
_COUNTER: Final = "SELECT count, published FROM counters WHERE topic = %s AND producer = %s"
_WIRE: Final = "SELECT wire FROM events WHERE topic = %s AND producer = %s AND sequence = %s"
_TAKEN: Final = "SELECT FROM events WHERE (source = %s AND event_id = %s) OR (stream = %s AND version = %s)"
_ADOPT: Final = "INSERT INTO events VALUES (%s, %s, %s, %s, %s, %s, %s, %s, true, %s, %s, %s)"
_COUNT: Final = (
    "INSERT INTO counters VALUES (%s, %s, %s, %s) "
    "ON CONFLICT (topic, producer) DO UPDATE SET count = excluded.count, published = excluded.published"
)
_LEFT: Final = "SELECT topic, published, count FROM counters WHERE producer = %s ORDER BY topic"
_UNPUBLISHED: Final = "SELECT position, wire FROM events WHERE topic = %s AND producer = %s AND sequence > %s ORDER BY sequence LIMIT %s"
_RENUMBER: Final = (
    "UPDATE events e SET producer = %s, sequence = k.sequence, wire = k.wire "
    "FROM unnest(%s::bigint[], %s::bigint[], %s::bytea[]) AS k(position, sequence, wire) WHERE e.position = k.position"
)


def adopt(session: Session, topic: str, wires: Sequence[bytes], channel: str, check: Check) -> int:
    """Store events of the log that the store lacks; return how many. See `sidestream.ports.Restorable`."""
    session.learn({topic}, {decode_event(wire).source for wire in wires})
    with session.connection.transaction():
        adoption = _Adoption(session, topic, check)
        for wire in wires:
            adoption.take(wire)
        return adoption.keep(channel)


class _Adoption:
    """Events of the log on their way into the store; the transaction holds its lock."""

    def __init__(self, session: Session, topic: str, check: Check) -> None:
        self._session = session
        self._connection: Connection = session.connection
        self._topic = topic
        self._number = session.topics[topic]
        self._position, self._producer, self._name, self._now_ms = _lock(self._connection)
        check(self._name)
        counter = self._connection.execute(_COUNTER, (self._number, self._producer)).fetchone()
        self._count: int
        self._published: int
        self._count, self._published = counter or (0, 0)
        self._adopted = 0

    def take(self, wire: bytes) -> None:
        envelope = read_adopted(wire, self._name)
        if is_next(self._topic, envelope, self._count):
            self._add(envelope, wire)
        else:
            found = self._connection.execute(_WIRE, (self._number, self._producer, envelope.number)).fetchone()
            check_same(envelope, found[0] if found else None)
        if envelope.number == self._published + 1:  # what lies before it may be unpublished still, and is published first
            self._published += 1

    def _add(self, envelope: Envelope, wire: bytes) -> None:
        source, event_id = self._session.sources[envelope.source], escaped(envelope.id)
        stream = stream_of(envelope)
        place = (None if stream is None else escaped(stream), envelope.streamversion)
        if self._connection.execute(_TAKEN, (source, event_id, *place)).fetchone() is not None:
            check_same(envelope, None)
        self._adopted += 1
        self._count += 1
        numbers = (self._position + self._adopted, self._number, self._producer, envelope.number)
        self._connection.execute(_ADOPT, (*numbers, source, event_id, *place, recorded_at(envelope, self._now_ms), ADOPTED, wire))

    def keep(self, channel: str) -> int:
        position = self._position + self._adopted
        self._connection.execute(_COUNT, (self._number, self._producer, self._count, self._published))
        self._connection.execute("UPDATE store SET position = %s", (position,))
        self._connection.execute("SELECT pg_notify(%s, %s)", (channel, str(position)))
        return self._adopted


def begin_epoch(session: Session, check: Check) -> str:
    """Count anew under a new producer and return it. See `sidestream.ports.Restorable`."""
    connection = session.connection
    with connection.transaction():
        _, old, name, _ = _lock(connection)
        check(name)
        new, new_name = old + 1, next_epoch(name)
        connection.execute("INSERT INTO producers VALUES (%s, %s)", (new, new_name))
        for topic, published, count in connection.execute(_LEFT, (old,)).fetchall():
            connection.execute(_COUNT, (topic, old, published, published))
            connection.execute(_COUNT, (topic, new, count - published, 0))
            _renumber(connection, (topic, old), published, new, new_name)
        connection.execute("UPDATE store SET producer = %s, name = %s", (new, new_name))
        return new_name


def _renumber(connection: Connection, counter: tuple[int, int], published: int, new: int, name: str) -> None:
    """Give the events after a number to the new producer, from 1 on."""
    sequence = 0
    while rows := connection.execute(_UNPUBLISHED, (*counter, published, _PAGE), binary=True).fetchall():
        sequences = list(range(sequence + 1, sequence + len(rows) + 1))
        wires = [renumbered(wire, name, number) for number, (_, wire) in zip(sequences, rows, strict=True)]
        connection.execute(_RENUMBER, (new, [position for position, _ in rows], sequences, wires))
        sequence += len(rows)


def _lock(connection: Connection) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(LOCK, binary=True).fetchone()
    assert row is not None, "the store's one row is made with its table"
    return row
