"""The file of the event store in SQLite: its tables, how it is opened, migrated or refused, and its transactions.

A file says in its header whose it is and of which schema version. One of an older version is migrated in place, in one
transaction: a crash leaves it as it was. One of a newer version, and another program's, are refused and left alone.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sidestream.adapters.sqlite_writing import switch_to_wal, transaction
from sidestream.errors import ConfigurationError, StoreAway
from sidestream.identifiers import milliseconds, new_id

APPLICATION_ID: Final = 0x53444556
"""`SDEV` in the file's header: this is an event store of Sidestream."""
SCHEMA_VERSION: Final = 2

_EVENTS: Final = """
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
_SINCE_VERSION_2: Final = """
CREATE TABLE answers (
    key TEXT NOT NULL UNIQUE, request BLOB NOT NULL, content BLOB, until_ms INTEGER, answered_ms INTEGER,
    CHECK ((answered_ms IS NULL) = (content IS NULL) AND (answered_ms IS NULL) <> (until_ms IS NULL))
);
CREATE INDEX answer_by_time ON answers (answered_ms);
CREATE TABLE snapshots (stream TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, shape TEXT NOT NULL, state BLOB NOT NULL);
CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until_ms INTEGER NOT NULL) WITHOUT ROWID;
"""
_MIGRATIONS: Final = {1: _SINCE_VERSION_2}
"""Statements that lift a file of this version to the next."""
_CACHE_KIB: Final = 16 * 1024

Row = tuple[Any, ...]


class StoreFile:
    """One open file: a connection that writes, one that reads, and a lock for each.

    Raises ConfigurationError when the file is another program's, or a newer Sidestream's.
    """

    def __init__(self, path: Path | str, *, lock_seconds: float = 10.0, clock_ms: Callable[[], int] = milliseconds) -> None:
        self._path = Path(path)
        self._clock_ms = clock_ms
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        with self._translated():
            self._writer = _connect(self._path, lock_seconds)
            try:
                self._producer = _open_schema(self._writer, self._path, lock_seconds)
                self._reader = _connect(self._path, lock_seconds)
            except BaseException:
                self._writer.close()
                raise

    def close(self) -> None:
        """See `sidestream.ports.EventStore`."""
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._writer.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that is on the disk at the end."""
        with self._write_lock, self._translated(), transaction(self._writer):
            yield self._writer

    @contextmanager
    def _writing_lightly(self) -> Iterator[sqlite3.Connection]:
        """One transaction that a power cut may take back, whole: for what is only repeated, or dies with its process."""
        with self._write_lock, self._translated():
            self._writer.execute("PRAGMA synchronous = NORMAL")
            try:
                with transaction(self._writer):
                    yield self._writer
            finally:
                self._writer.execute("PRAGMA synchronous = FULL")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """One view of the store for several questions."""
        with self._read_lock, self._translated():
            self._reader.execute("BEGIN")
            try:
                yield self._reader
            finally:
                with suppress(sqlite3.Error):
                    self._reader.execute("ROLLBACK")

    def _rows(self, statement: str, values: Row) -> list[Row]:
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


def producer_row(connection: sqlite3.Connection, known: str) -> int:
    """Return the row of who counts, if that is whom the caller knows.

    Raises:
        StoreAway: another process has begun an epoch since the store was opened.
    """
    row, found = connection.execute("SELECT id, producer FROM producers ORDER BY id DESC LIMIT 1").fetchone()
    if found != known:
        raise StoreAway(f"event store: expected to count as {known}, found that another process counts as {found}. Start this one again.")
    return int(row)


def findable(text: str) -> str | None:
    """Return the text as a value to look for; None, which finds nothing, where it is no valid Unicode and so was never stored."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return None
    return text


# ── opening ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _connect(path: Path, lock_seconds: float) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=lock_seconds, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute("PRAGMA temp_store = MEMORY")  # what a savepoint would take back: by default, a file is written for each
    return connection


def _open_schema(connection: sqlite3.Connection, path: Path, lock_seconds: float) -> str:
    """Make the tables in a new file, migrate an old one, refuse one that is not ours, and return who counts in it."""
    if _is_empty(connection):
        with transaction(connection):
            if _is_empty(connection):  # another process may have been faster
                _create(connection)
    _check_header(connection, path)
    _migrate(connection)
    switch_to_wal(connection, lock_seconds)
    return str(connection.execute("SELECT producer FROM producers ORDER BY id DESC LIMIT 1").fetchone()[0])


def _is_empty(connection: sqlite3.Connection) -> bool:
    return _header(connection) == (0, 0) and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0


def _header(connection: sqlite3.Connection) -> tuple[int, int]:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    return application, connection.execute("PRAGMA user_version").fetchone()[0]


def _create(connection: sqlite3.Connection) -> None:
    _run(connection, _EVENTS + _SINCE_VERSION_2)
    connection.execute("INSERT INTO producers (producer) VALUES (?)", (f"{new_id()}.1",))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _migrate(connection: sqlite3.Connection) -> None:
    if _header(connection)[1] == SCHEMA_VERSION:
        return
    with transaction(connection):
        for version in range(_header(connection)[1], SCHEMA_VERSION):  # asked again: another process may have been faster
            _run(connection, _MIGRATIONS[version])
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _run(connection: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";"):
        connection.execute(statement)


def _check_header(connection: sqlite3.Connection, path: Path) -> None:
    application, version = _header(connection)
    if application != APPLICATION_ID:
        raise ConfigurationError(
            f"{path}: expected an event store, found a SQLite file of another program (application id {application:#x}). "
            "Name another file, or move this one away."
        )
    if version != SCHEMA_VERSION and version not in _MIGRATIONS:
        raise ConfigurationError(
            f"{path}: expected an event store of schema version {SCHEMA_VERSION} or older, found {version}. "
            "Start the version of Sidestream that wrote it, or restore a backup of before the upgrade."
        )
