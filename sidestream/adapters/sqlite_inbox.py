"""The inbox log in one SQLite file beside the generations, shared by threads and processes.

An append is one `BEGIN IMMEDIATE` transaction: the topic's row is the locked counter, so that positions stand in commit
order. It is on the disk when `append` returns (WAL, `synchronous=FULL`): the sidecar's SUCCESS lets the broker forget.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sidestream.adapters.inbox_reading import InboxReading
from sidestream.adapters.numbered_positions import number_of
from sidestream.adapters.sqlite_writing import switch_to_wal, transaction
from sidestream.errors import ConfigurationError, LogUnavailable, SidestreamError, StoreAway
from sidestream.identifiers import milliseconds, new_id
from sidestream.logs.inbox import Arrival, fresh

APPLICATION_ID: Final = 0x53444958
"""`SDIX` in the file's header: this is an inbox log of Sidestream."""
SCHEMA_VERSION: Final = 1
_BUSY_SECONDS: Final = 10.0
_IDENTITIES_A_QUERY: Final = 500
_SCHEMA: Final = (
    "CREATE TABLE inbox (identity TEXT NOT NULL)",
    "CREATE TABLE topics (id INTEGER PRIMARY KEY, topic TEXT NOT NULL UNIQUE, "
    "last INTEGER NOT NULL DEFAULT 0, trimmed INTEGER NOT NULL DEFAULT 0)",
    "CREATE TABLE entries (topic INTEGER NOT NULL REFERENCES topics, position INTEGER NOT NULL, identity BLOB NOT NULL, "
    "recorded_ms INTEGER NOT NULL, data BLOB NOT NULL)",
    "CREATE UNIQUE INDEX entry_by_position ON entries (topic, position)",
    "CREATE UNIQUE INDEX entry_by_identity ON entries (topic, identity)",
)


class SqliteInbox(InboxReading):
    """See `sidestream.logs.inbox.Inbox`.

    Args:
        path: the file; made when it is not there.
        began_late: whether events were published before it that it never got.
        clock_ms: milliseconds since 1970.

    Raises:
        ConfigurationError: the file is another program's, or a newer Sidestream's.
        LogUnavailable: it cannot be opened now.
    """

    mark = "?"

    def __init__(self, path: Path, *, began_late: bool = False, clock_ms: Callable[[], int] = milliseconds) -> None:
        super().__init__(began_late=began_late)
        self._path = path
        self._clock_ms = clock_ms
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        with self._translated(LogUnavailable):
            self._writer = _connect(path)
            try:
                self._identity = _open_schema(self._writer, path)
                self._reader = _connect(path)
            except BaseException:
                self._writer.close()
                raise

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def append(self, topic: str, arrivals: Sequence[Arrival]) -> int:
        """See `sidestream.logs.inbox.Inbox`."""
        with self._write_lock, self._translated(StoreAway), transaction(self._writer):
            number, last = self._counter(topic)
            new = fresh(arrivals, self._known(number, arrivals))
            now = self._clock_ms()
            rows = [(number, last + at, arrival.identity, now, arrival.wire) for at, arrival in enumerate(new, start=1)]
            self._writer.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", rows)
            self._writer.execute("UPDATE topics SET last = ? WHERE id = ?", (last + len(new), number))
            return len(new)

    def _counter(self, topic: str) -> tuple[int, int]:
        self._writer.execute("INSERT OR IGNORE INTO topics (topic) VALUES (?)", (topic,))
        number, last = self._writer.execute("SELECT id, last FROM topics WHERE topic = ?", (topic,)).fetchone()
        return number, last

    def _known(self, topic: int, arrivals: Sequence[Arrival]) -> set[bytes]:
        known: set[bytes] = set()
        identities = [arrival.identity for arrival in arrivals]
        for begin in range(0, len(identities), _IDENTITIES_A_QUERY):
            some = identities[begin : begin + _IDENTITIES_A_QUERY]
            marks = ",".join("?" * len(some))
            statement = f"SELECT identity FROM entries WHERE topic = ? AND identity IN ({marks})"  # noqa: S608 - marks only
            known.update(identity for (identity,) in self._writer.execute(statement, (topic, *some)))
        return known

    def trim(self, topic: str, upto: str) -> None:
        """See `sidestream.logs.inbox.Inbox`."""
        with self._write_lock, self._translated(StoreAway), transaction(self._writer):
            number, last = self._counter(topic)
            cut = min(number_of(upto), last)
            self._writer.execute("DELETE FROM entries WHERE topic = ? AND position <= ?", (number, cut))
            self._writer.execute("UPDATE topics SET trimmed = max(trimmed, ?) WHERE id = ?", (cut, number))

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def identity(self) -> str:
        """See `InboxReading`."""
        return self._identity

    def _rows(self, statement: str, values: tuple[Any, ...]) -> Sequence[tuple[Any, ...]]:
        with self._read_lock, self._translated(LogUnavailable):
            return self._reader.execute(statement, values).fetchall()

    def close(self) -> None:
        """See `sidestream.ports.EventLog`."""
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._writer.close()

    @contextmanager
    def _translated(self, away: type[SidestreamError]) -> Iterator[None]:
        """Say what the database could not do in the words of the port."""
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "") == "SQLITE_NOTADB":
                raise ConfigurationError(f"{self._path}: expected an inbox log, found a file that is no SQLite database.") from error
            raise away(f"inbox log {self._path}: {error}. Nothing was changed; check the disk and the file.") from error


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _open_schema(connection: sqlite3.Connection, path: Path) -> str:
    """Make the tables in a new file, refuse a file that is not ours, and return the inbox's identity."""
    with transaction(connection):
        if _is_empty(connection):
            _create(connection)
    _check_header(connection, path)
    switch_to_wal(connection, _BUSY_SECONDS)
    return str(connection.execute("SELECT identity FROM inbox").fetchone()[0])


def _is_empty(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0)


def _create(connection: sqlite3.Connection) -> None:
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.execute("INSERT INTO inbox VALUES (?)", (new_id(),))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _check_header(connection: sqlite3.Connection, path: Path) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise ConfigurationError(
            f"{path}: expected an inbox log, found a SQLite file of another program (application id {application:#x}). Move it away."
        )
    if version != SCHEMA_VERSION:
        raise ConfigurationError(
            f"{path}: expected an inbox log of schema version {SCHEMA_VERSION}, found {version}. "
            "Start the version of Sidestream that wrote it, or restore a backup of before the upgrade."
        )
