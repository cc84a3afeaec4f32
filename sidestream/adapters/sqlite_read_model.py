"""Read models in SQLite: a generation is a file of its own, and a small catalogue names them and points to the live one.

The catalogue holds little and is written seldom; every change of it is one transaction under its write lock.
"""

import fcntl
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from sidestream.adapters.sqlite_generation import (
    APPLICATION_ID,
    BESIDE_VERSION,
    GENERATION_VERSION,
    LOCK_SECONDS,
    SqliteGeneration,
    check_mark,
    connect,
    create_file,
    is_marked,
    mark,
    refuse_foreign,
    remove_file,
    translated,
)
from sidestream.adapters.sqlite_writing import bring_to_disk
from sidestream.errors import ReadModelError, StoreAway, UnknownGeneration
from sidestream.ports import GenerationInfo, TableShape, shape_of
from sidestream.projection import Table

__all__ = ["APPLICATION_ID", "CATALOG_VERSION", "SqliteGeneration", "SqliteReadModels"]

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
_GENERATIONS_FILE: Final = re.compile(r"g([1-9][0-9]{0,17})\.sqlite(-wal|-shm|-journal)?")


class SqliteReadModels:
    """The generations of one projection in one folder: `catalog.sqlite`, and a file for each generation.

    Args:
        folder: where; made when it is missing.
        lock_seconds: how long another process's transaction is waited for before the file is called away.
    """

    def __init__(self, folder: Path, lock_seconds: float = LOCK_SECONDS) -> None:
        self._folder = folder
        self._lock_seconds = lock_seconds
        self._path = folder / "catalog.sqlite"
        folder.mkdir(parents=True, exist_ok=True)
        with self._translated():
            refuse_foreign(self._path)
        with self._translated(), closing(connect(self._path, lock_seconds, make=True)) as catalog:
            catalog.execute("BEGIN IMMEDIATE")
            _bring_up_to_date(catalog)
            catalog.execute("COMMIT")
            check_mark(catalog, self._path, CATALOG_VERSION, "Use the release that wrote it, or remove the folder and rebuild.")

    @contextmanager
    def _catalog(self) -> Iterator[sqlite3.Connection]:
        with self._translated(), closing(connect(self._path, self._lock_seconds)) as catalog:
            catalog.execute("PRAGMA synchronous=FULL")  # which generation is live stands nowhere else
            catalog.execute("BEGIN IMMEDIATE")
            yield catalog
            catalog.execute("COMMIT")

    def _translated(self) -> AbstractContextManager[None]:
        return translated(self._path, lock_seconds=self._lock_seconds)

    def generations(self) -> Sequence[GenerationInfo]:
        """See `sidestream.ports.ReadModels`."""
        with self._translated(), closing(connect(self._path, self._lock_seconds)) as catalog:
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
            create_file(self._folder / f"{name}.sqlite", tables)
        return name

    def beside(self, tables: Sequence[Table[Any]]) -> SqliteGeneration:
        """See `sidestream.ports.ReadModels`."""
        path = self._folder / "beside.sqlite"
        with self._catalog():  # holds the lock: of two processes one makes it
            if not is_marked(path):
                create_file(path, tables, BESIDE_VERSION)
        return SqliteGeneration(path, "beside", BESIDE_VERSION, self._lock_seconds, in_no_log=True)

    def open(self, name: str) -> SqliteGeneration:
        """See `sidestream.ports.ReadModels`."""
        self._info(name)
        return SqliteGeneration(self._folder / f"{name}.sqlite", name, GENERATION_VERSION, self._lock_seconds)

    def shapes(self, name: str) -> Sequence[TableShape]:
        """See `sidestream.ports.ReadModels`."""
        self._info(name)
        with self._translated(), closing(connect(self._path, self._lock_seconds)) as catalog:
            row = catalog.execute("SELECT shapes FROM generations WHERE number=?", (_number(name),)).fetchone()
        return msgspec.json.decode(row[0] if row else "[]", type=tuple[TableShape, ...])

    def size(self, name: str) -> int:
        """See `sidestream.ports.ReadModels`."""
        self._info(name)
        path = self._folder / f"{name}.sqlite"
        return sum(each.stat().st_size for each in (path, path.with_name(path.name + "-wal")) if each.exists())

    def mark_ready(self, name: str) -> None:
        """See `sidestream.ports.ReadModels`."""
        self._settle(name)
        self._change(name, "state='ready'")

    def set_aside(self, name: str, state: Literal["held", "scratch"]) -> None:
        """See `sidestream.ports.ReadModels`."""
        self._settle(name)
        self._change(name, "state=?", state)

    def note_built(self, name: str, events: int, seconds: float) -> None:
        """See `sidestream.ports.ReadModels`."""
        self._change(name, "built_events = built_events + ?, built_seconds = built_seconds + ?", events, seconds)

    def _settle(self, name: str) -> None:
        """Bring its rows to the disk before the catalogue says what it is: after a power cut the word is true, or was not given."""
        self._info(name)
        path = self._folder / f"{name}.sqlite"
        with _away(path):
            bring_to_disk(path)

    def _change(self, name: str, changes: str, *values: object) -> None:
        self._info(name)
        with self._catalog() as catalog:
            catalog.execute(f"UPDATE generations SET {changes} WHERE number=?", (*values, _number(name)))

    def switch(self, name: str, stale_since: str = "") -> None:
        """See `sidestream.ports.ReadModels`."""
        self._check_ready(name)
        self._settle(name)
        with self._catalog() as catalog:
            _move_pointer(catalog, name, stale_since)

    def roll_back(self, name: str, stale_since: str = "") -> None:
        """See `sidestream.ports.ReadModels`."""
        self._check_ready(name)
        self._settle(name)
        with self._catalog() as catalog:
            catalog.execute("UPDATE generations SET switched = 0 WHERE live")
            _move_pointer(catalog, name, stale_since)

    def _check_ready(self, name: str) -> None:
        state = self._info(name).state
        if state != "ready":
            raise ReadModelError(f"generation {name}: expected it ready, found it {state}. Let the rebuild finish first.")

    def drop(self, name: str) -> None:
        """See `sidestream.ports.ReadModels`."""
        self._info(name)
        with self._catalog() as catalog:
            if not catalog.execute("DELETE FROM generations WHERE number=? AND NOT live", (_number(name),)).rowcount:
                self._info(name)  # somebody else may have dropped it meanwhile
                raise ReadModelError(f"generation {name} is live. Switch to another one first.")
        remove_file(self._folder / f"{name}.sqlite")

    @contextmanager
    def exclusively(self, who: str = "") -> Iterator[None]:
        """See `sidestream.ports.ReadModels`."""
        path = self._folder / "rebuild.lock"
        with ExitStack() as held:
            with _away(path):
                file = held.enter_context(path.open("a+b", buffering=0))  # closing it has nothing left to write
                _lock(file)
                file.truncate(0)
                file.write(who.encode())
            self._remove_dropped()
            yield

    def _remove_dropped(self) -> None:
        """Remove what a drop left that was killed after the row and before the file.

        A number that was given and has no row is never given again. One that is not given yet may be a file in the making.
        """
        with self._translated(), closing(connect(self._path, self._lock_seconds)) as catalog:
            row = catalog.execute("SELECT seq FROM sqlite_sequence WHERE name='generations'").fetchone()
        given = row[0] if row else 0
        there = {_number(info.name) for info in self.generations()}
        for path in self._folder.iterdir():
            found = _GENERATIONS_FILE.fullmatch(path.name)
            if found and int(found[1]) <= given and int(found[1]) not in there:
                with suppress(OSError):  # it is in nobody's way: the next verb tries again
                    path.unlink(missing_ok=True)

    def close(self) -> None:
        """Nothing is held open between calls."""

    def _info(self, name: str) -> GenerationInfo:
        infos = {info.name: info for info in self.generations()}
        if name not in infos:
            raise UnknownGeneration(f"{self._folder}: expected one of {', '.join(infos) or 'no generation'}, found {name!r}")
        return infos[name]


@contextmanager
def _away(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreAway(f"{path}: {error}. Check the disk and the file; nothing was changed.") from error


def _lock(file: FileIO) -> None:
    """Hold a file for this process alone; whoever holds it has written into it who he is."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().decode("utf-8", "replace") or "unnamed"
        raise ReadModelError(f"another rebuild of this projection is running: {holder}. Wait for it, or stop it.") from None


def _bring_up_to_date(catalog: sqlite3.Connection) -> None:
    found = catalog.execute("PRAGMA user_version").fetchone()[0]
    if found and catalog.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        return  # somebody else's file: refused by its mark
    for statements in _CATALOG[found:]:
        for statement in statements:
            catalog.execute(statement)
    if found < CATALOG_VERSION:
        mark(catalog, CATALOG_VERSION)


def _move_pointer(catalog: sqlite3.Connection, name: str, stale_since: str) -> None:
    catalog.execute("UPDATE generations SET live = (number = ?)", (_number(name),))
    catalog.execute(
        "UPDATE generations SET switched = (SELECT max(switched) + 1 FROM generations), stale_since = ? WHERE live", (stale_since,)
    )


def _number(name: str) -> int:
    return int(name.removeprefix("g"))
