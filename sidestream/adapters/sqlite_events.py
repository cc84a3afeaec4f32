"""The event store in one SQLite file, shared by threads and processes.

An append is one `BEGIN IMMEDIATE` transaction, so that positions and counts stand in commit order. It is on the disk when
`append` returns (WAL, `synchronous=FULL`: a 2xx answer is a promise); only the marks of the relay, which may be lost without
harm, are not waited for. Appends that arrive together share one transaction and so one wait for the disk; each still
stands or falls by itself. The wire bytes are stored as they go out, so that a repeat is the same to the byte.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sidestream.appending import Identity, check_appends, check_repeat, check_version, identity_of
from sidestream.errors import ConfigurationError, SidestreamError, StoreAway
from sidestream.event import Counted, NewEvent, encode_event
from sidestream.identifiers import new_id
from sidestream.ports import Append, StoredEvent

APPLICATION_ID: Final = 0x53444556
"""`SDEV` in the file's header: this is an event store of Sidestream."""
SCHEMA_VERSION: Final = 1

_SCHEMA: Final = """
CREATE TABLE producers (id INTEGER PRIMARY KEY, producer TEXT NOT NULL UNIQUE);
CREATE TABLE sources (id INTEGER PRIMARY KEY, source TEXT NOT NULL UNIQUE);
CREATE TABLE counters (
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, producer INTEGER NOT NULL REFERENCES producers,
    count INTEGER NOT NULL DEFAULT 0, published INTEGER NOT NULL DEFAULT 0, UNIQUE (topic, producer)
);
CREATE TABLE events (
    position INTEGER PRIMARY KEY, counter INTEGER NOT NULL REFERENCES counters, sequence INTEGER NOT NULL,
    source INTEGER NOT NULL REFERENCES sources, event_id TEXT NOT NULL, stream TEXT, version INTEGER,
    ordered INTEGER NOT NULL, recorded_ms INTEGER NOT NULL, digest BLOB NOT NULL, wire BLOB NOT NULL
);
CREATE UNIQUE INDEX event_by_count ON events (counter, sequence);
CREATE UNIQUE INDEX event_by_identity ON events (source, event_id);
CREATE UNIQUE INDEX event_by_stream ON events (stream, version) WHERE stream IS NOT NULL;
"""
_COLUMNS: Final = "e.position, c.topic, e.sequence, s.source, e.event_id, e.stream, e.version, e.wire, e.ordered, e.recorded_ms"
_FROM: Final = "FROM events e JOIN counters c ON c.id = e.counter JOIN sources s ON s.id = e.source"
_INSERT: Final = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_IDS_A_QUERY: Final = 500
_PAGE_BYTES: Final = 8 * 1024 * 1024
"""A page of unpublished events ends after this many bytes, so that a relay's memory is bounded by bytes too."""
_SHARE: Final = 64
"""At most this many appends share one transaction."""

_MINE: Final = "producer = (SELECT id FROM producers WHERE producer = ?)"
_STREAM_VERSION: Final = "SELECT coalesce(max(version), 0) FROM events WHERE stream = ?"
_CACHE_KIB: Final = 16 * 1024

_Row = tuple[Any, ...]


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000


class SqliteEventStore:
    """One file. Raises ConfigurationError when it is another program's, or a newer Sidestream's."""

    def __init__(self, path: Path | str, *, lock_seconds: float = 10.0, clock_ms: Callable[[], int] = _milliseconds) -> None:
        self._path = Path(path)
        self._clock_ms = clock_ms
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._queue_lock = threading.Lock()
        self._queue: list[_Ticket] = []
        with self._translated():
            self._writer = _connect(self._path, lock_seconds)
            try:
                self._producer = _open_schema(self._writer, self._path, lock_seconds)
                self._reader = _connect(self._path, lock_seconds)
            except BaseException:
                self._writer.close()
                raise

    @property
    def producer(self) -> str:
        """See `sidestream.ports.EventStore`."""
        return self._producer

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def append(self, appends: Sequence[Append]) -> tuple[StoredEvent, ...]:
        """See `sidestream.ports.EventStore`. Threads that append at once share a transaction, led by whoever gets the lock."""
        check_appends(appends)
        ticket = _Ticket(appends)
        with self._queue_lock:
            self._queue.append(ticket)
        with self._write_lock:
            while not ticket.settled:  # nobody took it along, or only older ones
                self._lead()
        return ticket.result()

    def _lead(self) -> None:
        """Store what waits, oldest first; the write lock is held."""
        with self._queue_lock:
            tickets, self._queue = self._queue[:_SHARE], self._queue[_SHARE:]
        failure: Exception | None = StoreAway(f"event store {self._path}: the append was interrupted. Try again.")
        try:
            with self._translated(), _transaction(self._writer):
                store = self._store_apart if tickets[1:] else self._store
                for ticket in tickets:
                    store(ticket)
            failure = None
        except Exception as error:
            failure = error
        finally:
            for ticket in tickets:
                ticket.settle(failure)

    def _store(self, ticket: "_Ticket") -> None:
        ticket.stored = _Part(self._writer, self._producer, self._clock_ms()).append(ticket.appends)

    def _store_apart(self, ticket: "_Ticket") -> None:
        self._writer.execute("SAVEPOINT part")
        try:
            self._store(ticket)
        except SidestreamError as error:  # refused: the others of this transaction do not suffer for it
            ticket.failure = error
            self._writer.execute("ROLLBACK TO part")
        self._writer.execute("RELEASE part")

    def mark_published(self, topic: str, sequence: int) -> None:
        """See `sidestream.ports.EventStore`. The disk is not waited for: a lost mark means a repeat, never a loss."""
        mark = "UPDATE counters SET published = min(count, ?) WHERE topic = ? AND published < ? AND " + _MINE  # noqa: S608 - all our own text
        with self._write_lock, self._translated():
            self._writer.execute("PRAGMA synchronous = NORMAL")
            try:
                with _transaction(self._writer):
                    self._writer.execute(mark, (sequence, topic, sequence, self._producer))
            finally:
                self._writer.execute("PRAGMA synchronous = FULL")

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def read_stream(self, stream: str, after: int = 0, limit: int = 1000) -> Sequence[StoredEvent]:
        """See `sidestream.ports.EventStore`."""
        return self._events("WHERE e.stream = ? AND e.version > ? ORDER BY e.version LIMIT ?", (stream, after, limit))

    def stream_version(self, stream: str) -> int:
        """See `sidestream.ports.EventStore`."""
        return int(self._rows(_STREAM_VERSION, (stream,))[0][0])

    def follow(self, after: int, limit: int = 1000) -> Sequence[StoredEvent]:
        """See `sidestream.ports.EventStore`."""
        return self._events("WHERE e.position > ? ORDER BY e.position LIMIT ?", (after, limit))

    def unpublished(self, topic: str, limit: int = 1000, after: int = 0) -> Sequence[StoredEvent]:
        """See `sidestream.ports.EventStore`."""
        mine = f"SELECT id, published FROM counters WHERE topic = ? AND {_MINE}"  # noqa: S608 - all our own text
        counters = self._rows(mine, (topic, self._producer))
        if not counters:
            return ()
        counter, published = counters[0]
        where = "WHERE e.counter = ? AND e.sequence > ? ORDER BY e.sequence LIMIT ?"
        return self._events(where, (counter, max(published, after), limit), _PAGE_BYTES)

    def topics(self) -> Sequence[str]:
        """See `sidestream.ports.EventStore`."""
        return tuple(topic for (topic,) in self._rows("SELECT DISTINCT topic FROM counters ORDER BY topic", ()))

    def backlog(self) -> Mapping[str, int]:
        """See `sidestream.ports.EventStore`."""
        mine = f"SELECT topic, count - published FROM counters WHERE {_MINE}"  # noqa: S608 - all our own text
        return dict(self._rows(mine, (self._producer,)))

    def close(self) -> None:
        """See `sidestream.ports.EventStore`."""
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._writer.close()

    def _events(self, where: str, values: _Row, page_bytes: int | None = None) -> Sequence[StoredEvent]:
        with self._read_lock, self._translated():
            rows = self._reader.execute(f"SELECT {_COLUMNS} {_FROM} {where}", values)
            try:
                return tuple(_until_full(map(_stored_event, rows), page_bytes))
            finally:
                rows.close()

    def _rows(self, statement: str, values: _Row) -> list[_Row]:
        with self._read_lock, self._translated():
            return self._reader.execute(statement, values).fetchall()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Say what the database could not do in the words of the port."""
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "") == "SQLITE_NOTADB":
                raise ConfigurationError(f"{self._path}: expected an event store, found a file that is no SQLite database.") from error
            raise StoreAway(f"event store {self._path}: {error}. Nothing was stored; make it reachable and try again.") from error


# ── one append ───────────────────────────────────────────────────────────────────────────────────────────────────────


class _Ticket:
    """One call of `append` that waits for its transaction."""

    __slots__ = ("appends", "failure", "settled", "stored")

    def __init__(self, appends: Sequence[Append]) -> None:
        self.appends = appends
        self.stored: tuple[StoredEvent, ...] = ()
        self.failure: Exception | None = None
        self.settled = False

    def settle(self, failure: Exception | None) -> None:
        """Note the end of the transaction; what was refused for itself stays refused for that."""
        self.failure = self.failure or failure
        self.settled = True

    def result(self) -> tuple[StoredEvent, ...]:
        if self.failure is not None:
            raise self.failure
        return self.stored


class _Counter:
    """The counter row of one topic, as this append sees it."""

    __slots__ = ("count", "row")

    def __init__(self, row: int, count: int) -> None:
        self.row = row
        self.count = count


class _Part:
    """One append inside a transaction: counters first, in sorted order, then versions, then events with their numbers."""

    def __init__(self, connection: sqlite3.Connection, producer: str, recorded_ms: int) -> None:
        self._connection = connection
        self._producer = producer
        self._recorded_ms = recorded_ms
        self._known: dict[Identity, tuple[StoredEvent, bytes]] = {}
        self._counters: dict[str, _Counter] = {}
        self._sources: dict[str, int] = {}
        self._versions: dict[str, int] = {}
        self._fresh: list[_Row] = []
        self._position = 0

    def append(self, appends: Sequence[Append]) -> tuple[StoredEvent, ...]:
        events = [event for append in appends for event in append.events]
        self._find(events)
        fresh: dict[Identity, NewEvent] = {}
        for event in events:
            if identity_of(event) not in self._known:
                fresh.setdefault(identity_of(event), event)
        self._take_counters(sorted({event.topic for event in fresh.values()}))
        self._take_sources({event.source for event in fresh.values()})
        self._position = self._connection.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()[0]
        stored = tuple(event for append in appends for event in self._append(append))
        self._connection.executemany(_INSERT, self._fresh)
        counts = [(counter.count, counter.row) for counter in self._counters.values()]
        self._connection.executemany("UPDATE counters SET count = ? WHERE id = ?", counts)
        return stored

    def _append(self, append: Append) -> list[StoredEvent]:
        known = [self._known_place(event) for event in append.events]
        if append.stream is not None and None in known:
            check_version(append.stream, append.expected, self._version(append.stream))
        return [self._known_place(event) or self._add(event, append.stream) for event in append.events]

    def _known_place(self, event: NewEvent) -> StoredEvent | None:
        found = self._known.get(identity_of(event))
        if found is None:
            return None
        check_repeat(event, event.content_digest(), found[1])
        return found[0]

    def _add(self, event: NewEvent, stream: str | None) -> StoredEvent:
        version = None if stream is None else self._version(stream) + 1
        counter = self._counters[event.topic]
        sequence, position, source, ordered = counter.count + 1, self._position + 1, event.source, event.ordered
        wire, digest = encode_event(event, Counted(self._producer, sequence, version)), event.content_digest()
        stored = StoredEvent(position, event.topic, sequence, source, event.id, stream, version, wire, ordered, self._recorded_ms)
        self._fresh.append(
            (position, counter.row, sequence, self._sources[source], event.id, stream, version, ordered, self._recorded_ms, digest, wire)
        )
        counter.count, self._position = sequence, position
        if stream is not None and version is not None:
            self._versions[stream] = version
        self._known[identity_of(event)] = (stored, digest)
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
                for row in self._connection.execute(f"SELECT {_COLUMNS}, e.digest {_FROM} {where}", (source, *some)):
                    self._known[row[3], row[4]] = (_stored_event(row), row[10])

    def _take_counters(self, topics: Iterable[str]) -> None:
        producer = self._connection.execute("SELECT id FROM producers WHERE producer = ?", (self._producer,)).fetchone()[0]
        for topic in topics:
            self._connection.execute("INSERT OR IGNORE INTO counters (topic, producer) VALUES (?, ?)", (topic, producer))
            row = self._connection.execute("SELECT id, count FROM counters WHERE topic = ? AND producer = ?", (topic, producer)).fetchone()
            self._counters[topic] = _Counter(*row)

    def _take_sources(self, sources: Iterable[str]) -> None:
        for source in sources:
            self._connection.execute("INSERT OR IGNORE INTO sources (source) VALUES (?)", (source,))
            self._sources[source] = self._connection.execute("SELECT id FROM sources WHERE source = ?", (source,)).fetchone()[0]

    def _version(self, stream: str) -> int:
        if stream not in self._versions:
            self._versions[stream] = self._connection.execute(_STREAM_VERSION, (stream,)).fetchone()[0]
        return self._versions[stream]


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _stored_event(row: _Row) -> StoredEvent:
    position, topic, sequence, source, event_id, stream, version, wire, ordered, recorded_ms = row[:10]
    return StoredEvent(position, topic, sequence, source, event_id, stream, version, wire, bool(ordered), recorded_ms)


def _until_full(events: Iterable[StoredEvent], page_bytes: int | None) -> Iterator[StoredEvent]:
    """Yield events until they weigh more than a page; at least one."""
    weight = 0
    for event in events:
        yield event
        weight += len(event.wire)
        if page_bytes is not None and weight >= page_bytes:
            return


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk has rolled back already
            connection.execute("ROLLBACK")
        raise


def _connect(path: Path, lock_seconds: float) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=lock_seconds, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return connection


def _open_schema(connection: sqlite3.Connection, path: Path, lock_seconds: float) -> str:
    """Make the tables in a new file, refuse a file that is not ours, and return who counts in it."""
    if _is_empty(connection):
        with _transaction(connection):
            if _is_empty(connection):  # another process may have been faster
                _create(connection)
    _check_header(connection, path)
    _switch_to_wal(connection, lock_seconds)
    return str(connection.execute("SELECT producer FROM producers ORDER BY id DESC LIMIT 1").fetchone()[0])


def _is_empty(connection: sqlite3.Connection) -> bool:
    return _header(connection) == (0, 0) and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0


def _header(connection: sqlite3.Connection) -> tuple[int, int]:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    return application, connection.execute("PRAGMA user_version").fetchone()[0]


def _create(connection: sqlite3.Connection) -> None:
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute("INSERT INTO producers (producer) VALUES (?)", (f"{new_id()}.1",))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _check_header(connection: sqlite3.Connection, path: Path) -> None:
    application, version = _header(connection)
    if application != APPLICATION_ID:
        raise ConfigurationError(
            f"{path}: expected an event store, found a SQLite file of another program (application id {application:#x}). "
            "Name another file, or move this one away."
        )
    if version != SCHEMA_VERSION:
        raise ConfigurationError(
            f"{path}: expected an event store of schema version {SCHEMA_VERSION}, found {version}. "
            "Start the version of Sidestream that wrote it, or restore a backup of before the upgrade."
        )


def _switch_to_wal(connection: sqlite3.Connection, lock_seconds: float) -> None:
    """Let readers and the writer stand beside each other. SQLite does not wait by itself while another process switches."""
    deadline = time.monotonic() + lock_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
