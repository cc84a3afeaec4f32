"""One append as a transaction of PostgreSQL, in two round trips.

READ COMMITTED. The first trip takes the lock of the store's one row and reads what is known in statements of their own, so
that each of them sees what the last holder of the lock has committed; the second stores everything and commits. The lock is
let go by the commit itself: so positions and counts stand in commit order, whoever writes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import psycopg

from sidestream.adapters.postgres_columns import Column, bigints, booleans, byteas, integers, teach, texts
from sidestream.adapters.postgres_database import Database, escaped, failure, unescaped
from sidestream.adapters.postgres_places import Found, Places, Wanted
from sidestream.ports import Answer, StoredEvent
from sidestream.writing.answering import Claim

COLUMNS: Final = "e.position, t.name, e.sequence, s.name, e.event_id, e.stream, e.version, e.wire, e.ordered, e.recorded_ms"
FROM: Final = "FROM events e JOIN topics t ON t.id = e.topic JOIN sources s ON s.id = e.source"
INSERTED: Final = "position, topic, producer, sequence, source, event_id, stream, version, ordered, recorded_ms, digest, wire"
ARRAYED: Final = "topic, sequence, source, event_id, stream, version, ordered, digest, wire"
"""What differs from event to event, and travels as one array a column."""
ARRAYS: Final = "%b::int[], %b::bigint[], %b::int[], %b::text[], %b::text[], %b::bigint[], %b::boolean[], %b::bytea[], %b::bytea[]"
_MADE: Final[Sequence[Callable[[Sequence[Any]], Column]]] = (
    integers,
    bigints,
    integers,
    texts,
    texts,
    bigints,
    booleans,
    byteas,
    byteas,
)
NOW_MS: Final = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
LOCK: Final = f"SELECT position, producer, name, {NOW_MS} FROM store FOR UPDATE".encode()  # noqa: S608 - all our own text
BY_INDEX: Final = "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off"
"""Plans by index whatever the statistics say: a plan made while the store was empty is kept while it grows."""
_ON_THE_DISK: Final = b"SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
_SETTINGS: Final = f"{BY_INDEX} -c idle_in_transaction_session_timeout=10s -c lock_timeout=10s"
"""A process that is stopped with the lock in its hand is ended by the server; the others wait no longer than that."""

_COPY_EVENTS: Final = 5000
"""From so many events on COPY is quicker than `unnest`."""

_COUNTS: Final = (
    b"SELECT c.topic, c.count FROM counters c WHERE c.topic = ANY(%b::int[]) AND c.producer = (SELECT producer FROM store) ORDER BY c.topic"
)
_KNOWN: Final = (
    f"SELECT {COLUMNS}, e.digest FROM unnest(%b::int[], %b::text[]) AS k(source, event_id), "  # noqa: S608 - all our own text
    "LATERAL (SELECT * FROM events e WHERE e.source = k.source AND e.event_id = k.event_id LIMIT 1) e, "
    "LATERAL (SELECT name FROM topics t WHERE t.id = e.topic LIMIT 1) t, "
    "LATERAL (SELECT name FROM sources s WHERE s.id = e.source LIMIT 1) s"
).encode()
_VERSIONS: Final = (
    b"SELECT k.stream, v.version FROM unnest(%b::text[]) AS k(stream), "
    b"LATERAL (SELECT version FROM events e WHERE e.stream = k.stream ORDER BY e.version DESC LIMIT 1) v"
)
_ANSWERS: Final = b"SELECT key, request, content, until_ms FROM answers WHERE key = ANY(%b::text[])"
_INSERT: Final = (
    f"INSERT INTO events ({INSERTED}) "  # noqa: S608 - all our own text
    "SELECT %b::bigint + n, topic, %b, sequence, source, event_id, stream, version, ordered, %b, digest, wire "
    f"FROM unnest({ARRAYS}) WITH ORDINALITY AS k({ARRAYED}, n)"
).encode()
_COPY: Final = f"COPY events ({INSERTED}) FROM STDIN".encode()
_COUNT: Final = (
    b"INSERT INTO counters (topic, producer, count) SELECT k.topic, %b, k.count FROM unnest(%b::int[], %b::bigint[]) AS k(topic, count) "
    b"ORDER BY k.topic ON CONFLICT (topic, producer) DO UPDATE SET count = excluded.count"
)
_ANSWER: Final = (
    b"INSERT INTO answers (key, request, content, given_ms) SELECT k.key, k.request, k.content, %b "
    b"FROM unnest(%b::text[], %b::bytea[], %b::bytea[]) AS k(key, request, content) "
    b"ON CONFLICT (key) DO UPDATE SET request = excluded.request, content = excluded.content, until_ms = NULL, given_ms = excluded.given_ms"
)


def stored_event(row: Sequence[Any]) -> StoredEvent:
    """Return the event of a row of COLUMNS."""
    position, topic, sequence, source, event_id, stream, version, wire, ordered, recorded_ms = row[:10]
    name = None if stream is None else unescaped(stream)
    topic, source, event_id = unescaped(topic), unescaped(source), unescaped(event_id)
    return StoredEvent(position, topic, sequence, source, event_id, name, version, wire, ordered, recorded_ms)


class Seen(msgspec.Struct, frozen=True):
    """What the store looked like after this process appended last."""

    position: int
    number: int
    producer: str
    counts: dict[str, int]

    def places(self, versions: Mapping[str, int]) -> Places:
        """Return a view for an append that does not look again."""
        return Places(
            number=self.number,
            producer=self.producer,
            position=self.position,
            now_ms=0,
            counts=self.counts,
            versions=versions,
            known={},
            answers={},
        )


class Session:
    """A connection of the writer, the numbers of names that it has learned, and what it saw last."""

    def __init__(self, database: Database) -> None:
        try:
            self.connection = database.connect(_SETTINGS)
            teach(self.connection)
            self.connection.execute(_ON_THE_DISK)
        except psycopg.Error as error:
            raise failure(error, database.schema) from error
        self.topics: dict[str, int] = {}
        self.sources: dict[str, int] = {}
        self.seen: Seen | None = None
        self.last = 0

    def saw(self, places: Places) -> None:
        """Note what the store looks like now: nobody else appended between this append of ours and the one before."""
        self.last = places.position
        self.seen = Seen(places.position, places.number, places.producer, places.counts)

    def learn(self, topics: set[str], sources: set[str]) -> None:
        """Number names that are new; committed by itself, so that a number that is remembered is there."""
        for table, numbers, names in (("topics", self.topics, topics), ("sources", self.sources, sources)):
            for name in sorted(names - numbers.keys()):
                numbers[name] = self._number(table, escaped(name))

    def _number(self, table: str, name: str) -> int:
        find = f"SELECT id FROM {table} WHERE name = %s".encode()  # noqa: S608 - one of two words
        while (row := self.connection.execute(find, (name,)).fetchone()) is None:
            self.connection.execute(f"INSERT INTO {table} (name) VALUES (%s) ON CONFLICT DO NOTHING".encode(), (name,))  # noqa: S608
        return int(row[0])


# ── one transaction ──────────────────────────────────────────────────────────────────────────────────────────────────


def look(session: Session, wanted: Wanted) -> Places:
    """Begin, take the store's lock, and read what is known."""
    connection, empty = session.connection, None
    topics = {session.topics[topic]: topic for topic in wanted.topics}
    identities = list(wanted.identities)
    sources, ids = [session.sources[source] for source, _ in identities], [escaped(event_id) for _, event_id in identities]
    with connection.pipeline():
        connection.execute("BEGIN")
        store = connection.execute(LOCK, binary=True)
        counts = connection.execute(_COUNTS, (list(topics),), binary=True) if topics else empty
        known = connection.execute(_KNOWN, (sources, ids), binary=True) if ids else empty
        versions = connection.execute(_VERSIONS, (list(map(escaped, wanted.streams)),), binary=True) if wanted.streams else empty
        answers = connection.execute(_ANSWERS, (list(map(escaped, wanted.keys)),), binary=True) if wanted.keys else empty
    position, number, producer, now_ms = store.fetchone() or (0, 0, "", 0)
    return Places(
        number=number,
        producer=producer,
        position=position,
        now_ms=now_ms,
        counts={topics[topic]: count for topic, count in counts or ()},
        versions={unescaped(stream): version for stream, version in versions or ()},
        known=dict(map(_found, known or ())),
        answers=dict(map(_answered, answers or ())),
    )


def _found(row: Sequence[Any]) -> tuple[tuple[str, str], Found]:
    event = stored_event(row)
    return (event.source, event.event_id), (event, row[10])


def _answered(row: Sequence[Any]) -> tuple[str, tuple[Answer | None, Claim | None]]:
    key, request, content, until_ms = row
    name = unescaped(key)
    return name, (None, Claim(request, until_ms)) if content is None else (Answer(name, request, content), None)


def keep(session: Session, places: Places, channel: str) -> None:
    """Store what the view has added, tell those who listen, and commit."""
    connection = session.connection
    if not places.is_changed:
        connection.execute("ROLLBACK")
        return
    fresh = [stored for stored, _ in places.fresh]
    if len(fresh) >= _COPY_EVENTS:
        _copy(session, places)
    with connection.pipeline():
        if 0 < len(fresh) < _COPY_EVENTS:
            connection.execute(_INSERT, (places.position - len(fresh), places.number, places.now_ms, *columns_of(session, places)))
        if fresh:
            counts = {session.topics[topic]: places.counts[topic] for topic in {event.topic for event in fresh}}
            connection.execute(_COUNT, (places.number, list(counts), list(counts.values())))
            connection.execute("UPDATE store SET position = %b", (places.position,))
            connection.execute("SELECT pg_notify(%b, %b)", (channel, str(places.position)))
        if places.given:
            keys, requests, contents = zip(*((escaped(a.key), a.request, a.content) for a in places.given), strict=True)
            connection.execute(_ANSWER, (places.now_ms, list(keys), list(requests), list(contents)))
        connection.execute("COMMIT")


def _values(session: Session, found: Found) -> tuple[Any, ...]:
    event, digest = found
    stream = None if event.stream is None else escaped(event.stream)
    topic, source = session.topics[event.topic], session.sources[event.source]
    return topic, event.sequence, source, escaped(event.event_id), stream, event.version, event.ordered, digest, event.wire


def columns_of(session: Session, places: Places) -> list[Column]:
    """Return what is fresh, column by column, as ARRAYED names them."""
    columns = zip(*(_values(session, found) for found in places.fresh), strict=True)
    return [made(column) for made, column in zip(_MADE, columns, strict=True)]


def _copy(session: Session, places: Places) -> None:
    with session.connection.cursor().copy(_COPY) as copy:
        for found in places.fresh:
            topic, sequence, *identity, ordered, digest, wire = _values(session, found)
            copy.write_row((found[0].position, topic, places.number, sequence, *identity, ordered, found[0].recorded_ms, digest, wire))
