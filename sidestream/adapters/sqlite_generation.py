"""One generation in a SQLite file: its tables, its transactions, and the mark that says which release can read it.

WAL, so that queries wait for no writer; synchronous NORMAL, because rows and checkpoint are one transaction: what a power
cut takes is read from the log again. What stands beside the generations is in no log: it is on the disk when its transaction
has ended (synchronous FULL). A transaction begins IMMEDIATE: it holds the file's one write lock from the start.
A generation is opened, never made by opening: a file that is missing is said to be missing.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from sidestream.adapters.sql_text import columns, count_rows, create_table, delete_older, quoted, select_page
from sidestream.adapters.sqlite_writing import switch_to_wal
from sidestream.errors import ReadModelError, RefusedByStore, StoreAway, TryAgain, UnreadableGeneration
from sidestream.ports import Condition, Query, Reader, Unit
from sidestream.projection import ColumnType, Key, Table

Row = TypeVar("Row", bound=msgspec.Struct)

APPLICATION_ID: Final = 0x53445352
"""Marks our files, as SQLite's header allows: "SDSR"."""
GENERATION_VERSION: Final = 1
"""Schema of the bookkeeping in a generation; a file of another version is refused."""
BESIDE_VERSION: Final = 1
"""Schema of the place beside the generations, which outlives them."""
LOCK_SECONDS: Final = 20.0
"""So long is another process's transaction waited for: far longer than any of ours takes, and less than the 30 s after which
a checkpoint that stands still is called wedged, so that the reason is known by then."""
_KEYS_A_QUERY: Final = 250
"""Keys in one query; SQLite takes some thousand values, and longer statements gain nothing."""
_TYPES: Final[Mapping[ColumnType, str]] = {"text": "TEXT", "integer": "INTEGER", "real": "REAL", "boolean": "INTEGER", "bytes": "BLOB"}
_BROKEN: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_WHO_LOCKS: Final = "is a replica frozen? Let it go on, or end it (lsof names who has the file open). Nothing was changed."
_REFUSED: Final = frozenset({sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE})


@contextmanager
def translated(path: Path, broken: type[ReadModelError] = StoreAway, lock_seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Turn the driver's failures into the three kinds: away, again, this value; and a file that is gone or no database into `broken`.

    A lock that another process holds is *away*, not *again at once*: it has been waited for already, and whoever holds it
    may be frozen.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = (getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_MISUSE) & 0xFF
        if code == sqlite3.SQLITE_BUSY:
            raise StoreAway(f"{path}: locked by another process for {lock_seconds:g} s: {_WHO_LOCKS}") from error
        if code == sqlite3.SQLITE_LOCKED:
            raise TryAgain(f"{path}: {error}") from error
        if code in _REFUSED or isinstance(error, sqlite3.DataError | sqlite3.InterfaceError) or _is_about_a_value(error):
            raise RefusedByStore(f"SQLite refuses a value: {error}") from error
        if code in _BROKEN:
            raise broken(f"{path}: expected a read model, found a broken file: {error}. Nothing was changed.") from error
        if code == sqlite3.SQLITE_CANTOPEN and not path.exists():
            raise broken(f"{path}: expected the file of {_named(path)}, found none.") from error
        raise StoreAway(f"{path}: {error}. Check the disk and the file; nothing was changed.") from error
    except (OverflowError, UnicodeEncodeError) as error:
        raise RefusedByStore(f"SQLite refuses a value: {error}") from error


def _is_about_a_value(error: sqlite3.Error) -> bool:
    """Return whether a value cannot be bound, or one too many: the driver raises what it raises for a closed connection too."""
    return isinstance(error, sqlite3.ProgrammingError) and "binding" in str(error)


def connect(path: Path, lock_seconds: float = LOCK_SECONDS, *, make: bool = False) -> sqlite3.Connection:
    """Open a file as we want it, or make it; threads may share the connection, one at a time."""
    uri = f"{path.absolute().as_uri()}?mode={'rwc' if make else 'rw'}"
    connection = sqlite3.connect(uri, uri=True, timeout=lock_seconds, isolation_level=None, check_same_thread=False, cached_statements=256)
    switch_to_wal(connection, lock_seconds)
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def _as_it_stands(path: Path) -> sqlite3.Connection:
    """Open a file to look at it: even the switch to WAL would be written into it."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=LOCK_SECONDS)


def refuse_foreign(path: Path) -> None:
    """Look before anything is changed."""
    if not path.exists():
        return
    with closing(_as_it_stands(path)) as found:
        tables = found.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        application = found.execute("PRAGMA application_id").fetchone()[0]  # asked last: tables and mark are committed together
    if tables and application != APPLICATION_ID:
        raise ReadModelError(
            f"{path}: expected a read model, found a SQLite file of another program (application id {application:#x}). Move it away."
        )


def refuse_unfinished(path: Path) -> None:
    """Raise UnreadableGeneration for a file without any table, which is not touched either."""
    refuse_foreign(path)
    if path.exists() and not is_marked(path):
        raise UnreadableGeneration(f"{path}: expected the file of {_named(path)}, found an empty one.")


def _named(path: Path) -> str:
    return f"generation {path.stem}" if path.stem.startswith("g") else f"the {path.stem}"


def identity(path: Path) -> tuple[int, int]:
    """Return what tells a file from another one that was put in its place; raises UnreadableGeneration where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        raise UnreadableGeneration(f"{path}: expected the file of {_named(path)}, found none.") from None
    except OSError as error:
        raise StoreAway(f"{path}: {error}. Check the disk and the file; nothing was changed.") from error
    return found.st_dev, found.st_ino


def mark(connection: sqlite3.Connection, version: int) -> None:
    """Write into the file whose it is, and the version of its schema."""
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={version}")


def check_mark(connection: sqlite3.Connection, path: Path, version: int, remedy: str) -> None:
    """Raise ReadModelError where a file is not ours, or of another version."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID or found != version:
        raise ReadModelError(f"{path}: expected a Sidestream file of version {version}, found version {found}. {remedy}")


class _SqliteReader:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def read(self, table: Table[Row], keys: Iterable[Key]) -> Mapping[Key, Row]:
        wanted = list(keys)
        found: dict[Key, Row] = {}
        for begin in range(0, len(wanted), _KEYS_A_QUERY):
            some = wanted[begin : begin + _KEYS_A_QUERY]
            values = [value for key in some for value in key]
            rows = map(table.row, _from_sqlite(table, self._connection.execute(_read_statement(table, len(some)), values)))
            found.update({table.key_of(row): row for row in rows})
        return found

    def select(self, table: Table[Row], query: Query) -> Sequence[Row]:
        statement, values = select_page(table, query, "?")
        return list(map(table.row, _from_sqlite(table, self._connection.execute(statement, values))))

    def count(self, table: Table[Any], where: Sequence[Condition] = ()) -> int:
        number: int = self._connection.execute(*count_rows(table, where, "?")).fetchone()[0]
        return number


def _read_statement(table: Table[Any], keys: int) -> str:
    one = f"({', '.join('?' * len(table.key))})"
    wanted = f"({columns(table.key)}) IN (VALUES {', '.join([one] * keys)})"
    return f"SELECT {columns(table.column_names)} FROM {quoted(table.name)} WHERE {wanted}"


def _from_sqlite(table: Table[Any], found: Iterable[Sequence[Any]]) -> Iterable[Sequence[Any]]:
    """SQLite knows no boolean: 0 and 1 become False and True again."""
    booleans = [at for at, column in enumerate(table.columns) if column.type == "boolean"]
    return (_with_booleans(values, booleans) for values in found) if booleans else found


def _with_booleans(values: Sequence[Any], booleans: Sequence[int]) -> Sequence[Any]:
    changed = list(values)
    for at in booleans:
        changed[at] = None if changed[at] is None else bool(changed[at])
    return changed


class _SqliteUnit(_SqliteReader):
    def write(self, table: Table[Row], rows: Sequence[Row]) -> None:
        marks = ", ".join("?" * len(table.columns))
        statement = f"INSERT OR REPLACE INTO {quoted(table.name)} ({columns(table.column_names)}) VALUES ({marks})"
        self._connection.executemany(statement, map(msgspec.structs.astuple, rows))

    def delete(self, table: Table[Any], keys: Sequence[Key]) -> None:
        clause = " AND ".join(f"{quoted(name)}=?" for name in table.key)
        self._connection.executemany(f"DELETE FROM {quoted(table.name)} WHERE {clause}", keys)

    def keep_newest(self, table: Table[Any]) -> None:
        self._connection.execute(*delete_older(table, "?"))


class SqliteGeneration:
    """One generation in one file: one connection that writes, and a few that read."""

    def __init__(
        self, path: Path, name: str, version: int = GENERATION_VERSION, lock_seconds: float = LOCK_SECONDS, *, in_no_log: bool = False
    ) -> None:
        self.name = name
        self._path = path
        self._lock_seconds = lock_seconds
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        with self._translated():
            refuse_unfinished(path)
            self._writer = connect(path, lock_seconds)
        try:
            if in_no_log:
                self._writer.execute("PRAGMA synchronous=FULL")
            self._opened = identity(path)
            check_mark(self._writer, path, version, "Rebuild the projection with this release.")
        except BaseException:
            self._writer.close()
            raise

    @contextmanager
    def unit(self) -> Iterator[Unit]:
        """See `sidestream.ports.Generation`."""
        with self._lock, self._translated():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield _SqliteUnit(self._writer)
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """See `sidestream.ports.Generation`."""
        with self._translated():
            connection = self._reader()
            connection.execute("BEGIN")
            try:
                yield _SqliteReader(connection)
            finally:
                connection.execute("ROLLBACK")
                self._idle.append(connection)

    def _reader(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return connect(self._path, self._lock_seconds)

    def _translated(self) -> AbstractContextManager[None]:
        return translated(self._path, UnreadableGeneration, self._lock_seconds)

    def check(self) -> None:
        """See `sidestream.ports.Generation`."""
        if identity(self._path) != self._opened:
            raise UnreadableGeneration(f"{self._path}: expected the file that was opened as {self.name}, found another in its place.")

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()
            self._writer.close()


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def create_file(path: Path, tables: Sequence[Table[Any]], version: int = GENERATION_VERSION) -> None:
    """Make the file of a generation with these tables, in the place of whatever stands there."""
    remove_file(path)
    with closing(connect(path, make=True)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for table in tables:
            for statement in create_table(table, _TYPES, " WITHOUT ROWID"):
                connection.execute(statement)
        mark(connection, version)
        connection.execute("COMMIT")


def is_marked(path: Path) -> bool:
    """Return whether a file was made to the end: its mark is written in the transaction of its tables."""
    if not path.exists():
        return False
    with closing(_as_it_stands(path)) as connection:
        marked: bool = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    return marked


def remove_file(path: Path) -> None:
    """Remove a database with what WAL lays beside it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
