"""Read models in SQLite: a generation is a file of its own, and a small catalogue names them and points to the live one.

WAL, so that queries wait for no writer; synchronous NORMAL, because rows and checkpoint are one transaction: what a power
cut takes is read from the log again. A transaction begins IMMEDIATE: it holds the file's one write lock from the start.
"""

import fcntl
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec

from sidestream.adapters.sql_text import columns, count_rows, create_table, delete_older, quoted, select_page
from sidestream.errors import ReadModelError, RefusedByStore, StoreAway, TryAgain, UnknownGeneration
from sidestream.ports import Condition, GenerationInfo, Query, Reader, TableShape, Unit, shape_of
from sidestream.projection import ColumnType, Key, Table

Row = TypeVar("Row", bound=msgspec.Struct)

APPLICATION_ID: Final = 0x53445352
"""Marks our files, as SQLite's header allows: "SDSR"."""
_CATALOG: Final = (
    (
        "CREATE TABLE generations (number INTEGER PRIMARY KEY AUTOINCREMENT, version INTEGER NOT NULL, "
        "state TEXT NOT NULL, created_at TEXT NOT NULL, live INTEGER NOT NULL)",
    ),
    (
        "ALTER TABLE generations ADD COLUMN shapes TEXT NOT NULL DEFAULT '[]'",
        "ALTER TABLE generations ADD COLUMN switched INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE generations ADD COLUMN stale_since TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE generations ADD COLUMN built_events INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE generations ADD COLUMN built_seconds REAL NOT NULL DEFAULT 0",
        "UPDATE generations SET switched = live",
    ),
)
"""How the catalogue grew: the statements that lead to each version. Older ones are taken on, newer ones refused."""
CATALOG_VERSION: Final = len(_CATALOG)
GENERATION_VERSION: Final = 1
"""Schema of the bookkeeping in a generation; a file of another version is refused."""
_BUSY_SECONDS: Final = 30.0
_KEYS_A_QUERY: Final = 250
"""Keys in one query; SQLite takes some thousand values, and longer statements gain nothing."""
_TYPES: Final[Mapping[ColumnType, str]] = {"text": "TEXT", "integer": "INTEGER", "real": "REAL", "boolean": "INTEGER", "bytes": "BLOB"}
_AGAIN: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_REFUSED: Final = frozenset({sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE})


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn the driver's failures into the three kinds: away, again, this value."""
    try:
        yield
    except sqlite3.Error as error:
        code = (getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_MISUSE) & 0xFF
        if code in _AGAIN:
            raise TryAgain(f"{path}: locked by another process for {_BUSY_SECONDS:.0f} s: {error}") from error
        if code in _REFUSED or isinstance(error, sqlite3.DataError | sqlite3.InterfaceError):
            raise RefusedByStore(f"SQLite refuses a value: {error}") from error
        raise StoreAway(f"{path}: {error}. Check the disk and the file; nothing was changed.") from error
    except (OverflowError, UnicodeEncodeError) as error:
        raise RefusedByStore(f"SQLite refuses a value: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def _mark(connection: sqlite3.Connection, version: int) -> None:
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={version}")


def _check_mark(connection: sqlite3.Connection, path: Path, version: int, remedy: str) -> None:
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
        self._connection.executemany(statement, map(table.values, rows))

    def delete(self, table: Table[Any], keys: Sequence[Key]) -> None:
        clause = " AND ".join(f"{quoted(name)}=?" for name in table.key)
        self._connection.executemany(f"DELETE FROM {quoted(table.name)} WHERE {clause}", keys)

    def keep_newest(self, table: Table[Any]) -> None:
        self._connection.execute(*delete_older(table, "?"))


class SqliteGeneration:
    """One generation in one file: one connection that writes, and a few that read."""

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        with _translated(path):
            self._writer = _connect(path)
        _check_mark(self._writer, path, GENERATION_VERSION, "Rebuild the projection with this release.")

    @contextmanager
    def unit(self) -> Iterator[Unit]:
        """See `sidestream.ports.Generation`."""
        with self._lock, _translated(self._path):
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
        with _translated(self._path):
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
            return _connect(self._path)

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()
            self._writer.close()


class SqliteReadModels:
    """The generations of one projection in one folder: `catalog.sqlite`, and a file for each generation."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "catalog.sqlite"
        folder.mkdir(parents=True, exist_ok=True)
        with _translated(self._path), closing(_connect(self._path)) as catalog:
            catalog.execute("BEGIN IMMEDIATE")
            _bring_up_to_date(catalog)
            catalog.execute("COMMIT")
            _check_mark(catalog, self._path, CATALOG_VERSION, "Use the release that wrote it, or remove the folder and rebuild.")

    @contextmanager
    def _catalog(self) -> Iterator[sqlite3.Connection]:
        with _translated(self._path), closing(_connect(self._path)) as catalog:
            catalog.execute("BEGIN IMMEDIATE")
            yield catalog
            catalog.execute("COMMIT")

    def generations(self) -> Sequence[GenerationInfo]:
        """See `sidestream.ports.ReadModels`."""
        with _translated(self._path), closing(_connect(self._path)) as catalog:
            all_ = catalog.execute(
                "SELECT number, version, state, created_at, live, switched, stale_since, built_events, built_seconds "
                "FROM generations ORDER BY number"
            ).fetchall()
        return tuple(
            GenerationInfo(f"g{number}", version, state, at, bool(live), *more) for number, version, state, at, live, *more in all_
        )

    def create(self, version: int, tables: Sequence[Table[Any]], created_at: str) -> str:
        """See `sidestream.ports.ReadModels`."""
        with self._catalog() as catalog:
            values = (version, "building", created_at, 0, msgspec.json.encode(list(map(shape_of, tables))).decode())
            statement = "INSERT INTO generations (version, state, created_at, live, shapes) VALUES (?, ?, ?, ?, ?)"
            cursor = catalog.execute(statement, values)
            name = f"g{cursor.lastrowid}"
            self._create_file(self._folder / f"{name}.sqlite", tables)
        return name

    def _create_file(self, path: Path, tables: Sequence[Table[Any]]) -> None:
        _remove(path)
        with closing(_connect(path)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            for table in tables:
                for statement in create_table(table, _TYPES, " WITHOUT ROWID"):
                    connection.execute(statement)
            _mark(connection, GENERATION_VERSION)
            connection.execute("COMMIT")

    def beside(self, tables: Sequence[Table[Any]]) -> SqliteGeneration:
        """See `sidestream.ports.ReadModels`."""
        path = self._folder / "beside.sqlite"
        with self._catalog():  # holds the lock: of two processes one makes it
            if not _is_marked(path):
                self._create_file(path, tables)
        return SqliteGeneration(path, "beside")

    def open(self, name: str) -> SqliteGeneration:
        """See `sidestream.ports.ReadModels`."""
        self._info(name)
        return SqliteGeneration(self._folder / f"{name}.sqlite", name)

    def shapes(self, name: str) -> Sequence[TableShape]:
        """See `sidestream.ports.ReadModels`."""
        self._info(name)
        with _translated(self._path), closing(_connect(self._path)) as catalog:
            row = catalog.execute("SELECT shapes FROM generations WHERE number=?", (_number(name),)).fetchone()
        return msgspec.json.decode(row[0] if row else "[]", type=tuple[TableShape, ...])

    def size(self, name: str) -> int:
        """See `sidestream.ports.ReadModels`."""
        self._info(name)
        path = self._folder / f"{name}.sqlite"
        return sum(each.stat().st_size for each in (path, path.with_name(path.name + "-wal")) if each.exists())

    def mark_ready(self, name: str) -> None:
        """See `sidestream.ports.ReadModels`."""
        self._change(name, "state='ready'")

    def set_aside(self, name: str, state: Literal["held", "scratch"]) -> None:
        """See `sidestream.ports.ReadModels`."""
        self._change(name, "state=?", state)

    def note_built(self, name: str, events: int, seconds: float) -> None:
        """See `sidestream.ports.ReadModels`."""
        self._change(name, "built_events = built_events + ?, built_seconds = built_seconds + ?", events, seconds)

    def _change(self, name: str, changes: str, *values: object) -> None:
        self._info(name)
        with self._catalog() as catalog:
            catalog.execute(f"UPDATE generations SET {changes} WHERE number=?", (*values, _number(name)))

    def switch(self, name: str, stale_since: str = "") -> None:
        """See `sidestream.ports.ReadModels`."""
        self._check_ready(name)
        with self._catalog() as catalog:
            _move_pointer(catalog, name, stale_since)

    def roll_back(self, name: str, stale_since: str = "") -> None:
        """See `sidestream.ports.ReadModels`."""
        self._check_ready(name)
        with self._catalog() as catalog:
            catalog.execute("UPDATE generations SET switched = 0 WHERE live")
            _move_pointer(catalog, name, stale_since)

    def _check_ready(self, name: str) -> None:
        state = self._info(name).state
        if state != "ready":
            raise ReadModelError(f"generation {name}: expected it ready, found it {state}. Let the rebuild finish first.")

    def drop(self, name: str) -> None:
        """See `sidestream.ports.ReadModels`."""
        if self._info(name).live:
            raise ReadModelError(f"generation {name} is live. Switch to another one first.")
        with self._catalog() as catalog:
            catalog.execute("DELETE FROM generations WHERE number=? AND NOT live", (_number(name),))
        _remove(self._folder / f"{name}.sqlite")

    @contextmanager
    def exclusively(self, who: str = "") -> Iterator[None]:
        """See `sidestream.ports.ReadModels`."""
        with (self._folder / "rebuild.lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                holder = file.read() or "unnamed"
                raise ReadModelError(f"another rebuild of this projection is running: {holder}. Wait for it, or stop it.") from None
            file.truncate(0)
            file.write(who)
            file.flush()
            yield

    def close(self) -> None:
        """Nothing is held open between calls."""

    def _info(self, name: str) -> GenerationInfo:
        infos = {info.name: info for info in self.generations()}
        if name not in infos:
            raise UnknownGeneration(f"{self._folder}: expected one of {', '.join(infos) or 'no generation'}, found {name!r}")
        return infos[name]


def _bring_up_to_date(catalog: sqlite3.Connection) -> None:
    found = catalog.execute("PRAGMA user_version").fetchone()[0]
    if found and catalog.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        return  # somebody else's file: refused by its mark
    for statements in _CATALOG[found:]:
        for statement in statements:
            catalog.execute(statement)
    if found < CATALOG_VERSION:
        _mark(catalog, CATALOG_VERSION)


def _move_pointer(catalog: sqlite3.Connection, name: str, stale_since: str) -> None:
    catalog.execute("UPDATE generations SET live = (number = ?)", (_number(name),))
    catalog.execute(
        "UPDATE generations SET switched = (SELECT max(switched) + 1 FROM generations), stale_since = ? WHERE live", (stale_since,)
    )


def _is_marked(path: Path) -> bool:
    """Return whether a file was made to the end: its mark is written in the transaction of its tables."""
    if not path.exists():
        return False
    with closing(_connect(path)) as connection:
        marked: bool = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    return marked


def _number(name: str) -> int:
    return int(name.removeprefix("g"))


def _remove(path: Path) -> None:
    """Remove a database with what WAL lays beside it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
