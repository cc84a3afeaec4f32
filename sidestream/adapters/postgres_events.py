"""The event store in one PostgreSQL schema, for services of several processes.

An append holds the store's one row from its first read to its commit, so that positions and counts stand in commit order. It
is on the server's disk when `append` returns; claims, leases and the marks of the relay, which may be lost without harm, are
not waited for. The wire bytes are stored as they go out, so that a repeat is the same to the byte.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sidestream.adapters.postgres_answers import PostgresAnswers, PostgresLeases, PostgresSnapshots
from sidestream.adapters.postgres_append import Writer
from sidestream.adapters.postgres_append_transaction import BY_INDEX, COLUMNS, FROM, stored_event
from sidestream.adapters.postgres_database import Database, escaped, unescaped
from sidestream.adapters.postgres_events_schema import open_store
from sidestream.adapters.postgres_listening import Listener
from sidestream.adapters.postgres_restoring import adopt, begin_epoch
from sidestream.errors import InvalidEvent
from sidestream.event import MAX_ATTRIBUTE_BYTES
from sidestream.ports import Answer, Append, StoredEvent
from sidestream.writing.answering import check_key
from sidestream.writing.appending import check_appends

_SETTINGS: Final = f"{BY_INDEX} -c synchronous_commit=off -c idle_in_transaction_session_timeout=10s -c lock_timeout=10s"
_LAST: Final = 2**63 - 1
_PAGE_BYTES: Final = 8 * 1024 * 1024
"""A page of unpublished events ends after this many bytes, so that a relay's memory is bounded by bytes too."""
_SELECT: Final = f"SELECT {COLUMNS} {FROM}"
_TOPIC: Final = "e.topic = (SELECT id FROM topics WHERE name = %s)"
_MINE: Final = "producer = (SELECT producer FROM store WHERE name = %s) AND topic = (SELECT id FROM topics WHERE name = %s)"
_COUNTER: Final = (
    "SELECT s.name, c.topic, c.producer, c.published FROM store s LEFT JOIN topics t ON t.name = %s "
    "LEFT JOIN counters c ON c.topic = t.id AND c.producer = s.producer"
)
_MARK: Final = (
    "WITH marked AS (UPDATE counters SET published = least(count, %s) "  # noqa: S608 - all our own text
    f"WHERE published < %s AND {_MINE}) SELECT name FROM store"
)
_AGAIN: Final = f"WITH marked AS (UPDATE counters SET published = %s WHERE published > %s AND {_MINE}) SELECT name FROM store"  # noqa: S608
_NOT_LATER: Final = "AND NOT EXISTS (SELECT FROM events l WHERE l.stream = e.stream AND l.version <= e.version AND l.recorded_ms > %s)"


class PostgresEventStore(PostgresAnswers, PostgresSnapshots, PostgresLeases):
    """One schema, `<name>_events`. Connects when first asked; raises ConfigurationError when the schema is something else's.

    Args:
        url: the database.
        name: the store's name.
    """

    def __init__(self, url: str, name: str) -> None:
        self._database = Database(url, f"{name}_events", _SETTINGS, open_store)
        self._writer = Writer(self._database)
        self._listener = Listener(self._database)

    @property
    def producer(self) -> str:
        """See `sidestream.ports.EventStore`."""
        if not self._writer.producer:
            self._writer.check(self._rows("SELECT name FROM store")[0][0])
        return self._writer.producer

    def append(self, appends: Sequence[Append], answer: Answer | None = None) -> tuple[StoredEvent, ...]:
        """See `sidestream.ports.EventStore`. Threads that append at once share a transaction."""
        check_appends(appends)
        _check_topics(appends)
        if answer is not None:
            check_key(answer.key, answer.request)
        return self._writer.append(appends, answer)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def read_stream(self, stream: str, after: int = 0, limit: int = 1000, *, until_ms: int | None = None) -> Sequence[StoredEvent]:
        """See `sidestream.ports.EventStore`. It ends before the first event that was recorded later: a state that there was."""
        where, values = ("", ()) if until_ms is None else (_NOT_LATER, (until_ms,))
        return self._events(f"WHERE e.stream = %s AND e.version > %s {where} ORDER BY e.version", (escaped(stream), after, *values), limit)

    def read_stream_back(self, stream: str, before: int | None = None, limit: int = 1000) -> Sequence[StoredEvent]:
        """See `sidestream.ports.EventStore`."""
        end = _LAST if before is None else before
        return self._events("WHERE e.stream = %s AND e.version < %s ORDER BY e.version DESC", (escaped(stream), end), limit)

    def stream_version(self, stream: str) -> int:
        """See `sidestream.ports.EventStore`."""
        return int(self._rows("SELECT coalesce(max(version), 0) FROM events WHERE stream = %s", (escaped(stream),))[0][0])

    def follow(self, after: int, limit: int = 1000) -> Sequence[StoredEvent]:
        """See `sidestream.ports.EventStore`."""
        return self._events("WHERE e.position > %s ORDER BY e.position", (after,), limit)

    def read_topic(self, topic: str, start: int = 0, limit: int = 1000) -> Sequence[StoredEvent]:
        """See `sidestream.ports.EventStore`."""
        return self._events(f"WHERE {_TOPIC} AND e.position >= %s ORDER BY e.position", (escaped(topic), start), limit)

    def read_topic_back(self, topic: str, before: int | None = None, limit: int = 1000) -> Sequence[StoredEvent]:
        """See `sidestream.ports.EventStore`."""
        end = _LAST if before is None else before
        return self._events(f"WHERE {_TOPIC} AND e.position < %s ORDER BY e.position DESC", (escaped(topic), end), limit)

    def count_topic(self, topic: str) -> int:
        """See `sidestream.ports.EventStore`."""
        statement = "SELECT coalesce(sum(c.count), 0)::bigint FROM counters c JOIN topics t ON t.id = c.topic WHERE t.name = %s"
        return int(self._rows(statement, (escaped(topic),))[0][0])

    def topics(self) -> Sequence[str]:
        """See `sidestream.ports.EventStore`."""
        statement = "SELECT DISTINCT t.name FROM topics t JOIN counters c ON c.topic = t.id WHERE c.count > 0"
        return tuple(sorted(unescaped(topic) for (topic,) in self._rows(statement)))

    # ── publishing ───────────────────────────────────────────────────────────────────────────────────────────────────

    def unpublished(self, topic: str, limit: int = 1000, after: int = 0) -> Sequence[StoredEvent]:
        """See `sidestream.ports.Outbox`."""
        name, number, producer, published = self._rows(_COUNTER, (escaped(topic),))[0]
        self._writer.check(name)
        if number is None:
            return ()
        page = (
            "WHERE e.position = ANY(ARRAY(SELECT p.position FROM (SELECT w.position, sum(octet_length(w.wire)) OVER (ORDER BY w.sequence) "
            "- octet_length(w.wire) AS before FROM events w WHERE w.topic = %s AND w.producer = %s AND w.sequence > %s "
            "ORDER BY w.sequence LIMIT %s) p WHERE p.before < %s)) ORDER BY e.sequence"
        )
        return self._events(page, (number, producer, max(published, after), max(limit, 0), _PAGE_BYTES), limit)

    def mark_published(self, topic: str, sequence: int) -> None:
        """See `sidestream.ports.Outbox`. The disk is not waited for: a lost mark means a repeat, never a loss."""
        upto = _bounded(sequence)
        self._writer.check(self._rows(_MARK, (upto, upto, self.producer, escaped(topic)))[0][0])

    def publish_again(self, topic: str, after: int) -> None:
        """See `sidestream.ports.Outbox`."""
        begin = _bounded(max(after, 0))
        values = (begin, begin, self.producer, escaped(topic))
        self._writer.check(self._writer.transaction(lambda session: session.connection.execute(_AGAIN.encode(), values).fetchall())[0][0])

    def backlog(self) -> Mapping[str, int]:
        """See `sidestream.ports.Outbox`."""
        statement = (
            "SELECT t.name, coalesce(sum(c.count - c.published) FILTER (WHERE c.producer = (SELECT producer FROM store)), 0)::bigint "
            "FROM topics t JOIN counters c ON c.topic = t.id GROUP BY t.name HAVING sum(c.count) > 0"
        )
        return dict(sorted((unescaped(topic), int(count)) for topic, count in self._rows(statement)))

    def wait_for_append(self, seconds: float) -> bool:
        """See `sidestream.ports.Announcing`."""
        return self._listener.wait(seconds)

    # ── restored from a copy ─────────────────────────────────────────────────────────────────────────────────────────

    def adopt(self, topic: str, wires: Sequence[bytes]) -> int:
        """See `sidestream.ports.Restorable`. An event that the store has under the same number is passed over."""
        return self._writer.transaction(lambda session: adopt(session, topic, wires, self._database.schema, self._writer.check))

    def begin_epoch(self) -> str:
        """See `sidestream.ports.Restorable`."""
        self._writer.producer = self._writer.transaction(lambda session: begin_epoch(session, self._writer.check))
        return self._writer.producer

    def close(self) -> None:
        """See `sidestream.ports.EventStore`."""
        self._listener.close()
        self._writer.close()
        self._database.close()

    def _events(self, where: str, values: Sequence[Any], limit: int) -> Sequence[StoredEvent]:
        bounded = (_bounded(value) if isinstance(value, int) else value for value in (*values, max(limit, 0)))
        return tuple(map(stored_event, self._rows(f"{_SELECT} {where} LIMIT %s", tuple(bounded))))

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._database.rows(statement, values)


def _bounded(number: int) -> int:
    """Return the nearest number that PostgreSQL has; no event's is beyond."""
    return max(-_LAST, min(number, _LAST))


def _check_topics(appends: Sequence[Append]) -> None:
    for topic in {event.topic for append in appends for event in append.events}:
        if (size := len(topic.encode())) > MAX_ATTRIBUTE_BYTES:
            raise InvalidEvent(f"topic {topic[:40]!a}…: expected at most {MAX_ATTRIBUTE_BYTES} bytes, found {size}")
