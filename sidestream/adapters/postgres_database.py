"""What every adapter on PostgreSQL needs: connections, its failures in our words, and text that may hold anything.

PostgreSQL's text cannot hold U+0000, nor half of a surrogate pair: each is written as U+FDD0 and its four digits, and so is
U+FDD0 itself.
"""

import re
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from sidestream.adapters.postgres_address import checked
from sidestream.errors import ConfigurationError, RefusedByStore, SidestreamError, StoreAway, TryAgain

Connection = psycopg.Connection[Any]
Result = TypeVar("Result")

CONNECT_SECONDS: Final = 5.0
_AWAY: Final = ("08", "53", "57", "58", "28", "3D", "F0", "XX", "25")
"""SQLSTATE classes: connection, resources, operator, system, authorization, no such database, internal, idle timeout."""
_AGAIN: Final = ("40", "55")
"""SQLSTATE classes: serialization and deadlock; lock not available."""
_ESCAPE: Final = "\ufdd0"
_IMPOSSIBLE: Final = re.compile("[\\x00\\ud800-\\udfff\\ufdd0]")
_ESCAPED: Final = re.compile(_ESCAPE + "([0-9a-f]{4})")
_NAME_BYTES: Final = 63


def escaped(text: str) -> str:
    """Return text as PostgreSQL can hold it."""
    if text.isascii() and "\x00" not in text:
        return text
    return _IMPOSSIBLE.sub(lambda found: f"{_ESCAPE}{ord(found[0]):04x}", text)


def unescaped(text: str) -> str:
    """Return text as it was before `escaped`."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if _ESCAPE in text else text


def failure(error: Exception, where: str) -> SidestreamError:
    """Return the driver's failure as one of three kinds: away, again, this value."""
    if isinstance(error, PoolTimeout):
        return StoreAway(f"{where}: PostgreSQL did not answer within {CONNECT_SECONDS:.0f} s: {error}. Is it running?")
    state = (error.sqlstate or "") if isinstance(error, psycopg.Error) else ""
    if state.startswith(_AGAIN):
        return TryAgain(f"{where}: PostgreSQL rolled back: {error}")
    if state.startswith(_AWAY) or (not state and isinstance(error, psycopg.OperationalError)):
        return StoreAway(f"{where}: PostgreSQL is away: {error} Try again: a repeat of what was stored is the same success.")
    return RefusedByStore(f"{where}: PostgreSQL refuses a value: {error}")


class Database:
    """Connections that look into one schema first. Nothing is connected before it is asked for.

    Args:
        url: `postgresql://…`.
        schema: the schema; need not be there yet.
        settings: settings of the server for each connection of the pool.
        prepare: makes the tables, on a connection of its own, before the first use.
    """

    def __init__(self, url: str, schema: str, settings: str, prepare: Callable[[Connection, str], None]) -> None:
        if not schema or "\x00" in schema or len(schema.encode(errors="replace")) > _NAME_BYTES:
            raise ConfigurationError(f"PostgreSQL: expected the name of a schema of at most {_NAME_BYTES} bytes, found {schema[:80]!a}")
        self.schema = schema
        self._conninfo = checked(url)
        self._prepare = prepare
        self._is_prepared = False
        self._lock = threading.Lock()
        self._path = "-c search_path=" + '"{}"'.format(schema.replace("\\", "\\\\").replace(" ", "\\ ").replace('"', '""'))
        kwargs = {"options": f"{self._path} {settings}", "connect_timeout": CONNECT_SECONDS, "autocommit": True}
        self._pool = ConnectionPool(self._conninfo, min_size=0, max_size=8, kwargs=kwargs, open=True, reconnect_timeout=0)

    def connect(self, settings: str) -> Connection:
        """Return a connection of one's own, committing each statement by itself; whoever asks closes it."""
        self._see_to_tables()
        return self._connect(settings)

    def _connect(self, settings: str) -> Connection:
        options = f"{self._path} {settings}"
        return psycopg.connect(
            self._conninfo, autocommit=True, options=options, connect_timeout=int(CONNECT_SECONDS), client_encoding="UTF8"
        )

    def run(self, work: Callable[[Connection], Result]) -> Result:
        """Do work on a connection of the pool. On one that the server ended meanwhile it is done again on another one."""
        self._see_to_tables()
        try:
            return self._run(work)
        except (StoreAway, TryAgain) as error:
            if isinstance(error.__cause__, PoolTimeout):  # there is no server: nothing to do again
                raise
            with suppress(psycopg.Error):
                self._pool.check()
            return self._run(work)

    def _run(self, work: Callable[[Connection], Result]) -> Result:
        try:
            with self._pool.connection(timeout=CONNECT_SECONDS) as connection:
                return work(connection)
        except (psycopg.Error, PoolTimeout) as error:
            raise failure(error, self.schema) from error

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return what a statement returns."""
        return self.run(lambda connection: connection.execute(statement.encode(), values, binary=True).fetchall())

    def change(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Do a statement; return how many rows it changed."""
        return self.run(lambda connection: connection.execute(statement.encode(), values).rowcount)

    def _see_to_tables(self) -> None:
        with self._lock:
            if self._is_prepared:
                return
            try:
                with self._connect("") as connection:
                    self._prepare(connection, self.schema)
            except psycopg.Error as error:
                raise failure(error, self.schema) from error
            self._is_prepared = True

    def close(self) -> None:
        """Close every connection of the pool."""
        self._pool.close()
