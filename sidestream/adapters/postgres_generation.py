"""One generation in a PostgreSQL schema: its tables and its transactions.

READ COMMITTED; a transaction first takes `FOR UPDATE` the generation's one lock row and reads only after it, so that
replicas are exact. A replica that stops inside a transaction is ended by the server after a minute.
U+0000, which PostgreSQL's text cannot hold, is written as U+FDD0 followed by 0 (and U+FDD0 itself as U+FDD0 followed by 1).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec
import psycopg
from psycopg import sql
from psycopg_pool import ConnectionPool, PoolTimeout

from sidestream.adapters.postgres_database import CONNECT_SECONDS, failure
from sidestream.adapters.sql_text import columns, count_rows, create_table, delete_older, quoted, select_page
from sidestream.errors import UnreadableGeneration
from sidestream.ports import Condition, Query, Reader, Unit
from sidestream.projection import ColumnType, Key, Table

Row = TypeVar("Row", bound=msgspec.Struct)

_COPY_ROWS: Final = 5000
"""From so many rows on COPY is quicker than `unnest` (measured)."""
_COPY_PIECE: Final = 500
"""Rows that are looked through together for what needs escaping."""
_ESCAPE: Final = "\ufdd0"
_TYPES: Final[Mapping[ColumnType, str]] = {
    "text": 'text COLLATE "C"',
    "integer": "bigint",
    "real": "double precision",
    "boolean": "boolean",
    "bytes": "bytea",
}
_ARRAYS: Final[Mapping[ColumnType, str]] = {
    "text": "text[]",
    "integer": "bigint[]",
    "real": "double precision[]",
    "boolean": "boolean[]",
    "bytes": "bytea[]",
}
_GONE: Final = ("42P01", "3F000")
"""SQLSTATEs: no such table, no such schema. A generation has all its tables from its first moment to its last."""


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's failures into four kinds: the generation is gone, away, again, this value."""
    try:
        yield
    except (psycopg.Error, PoolTimeout, OverflowError, UnicodeEncodeError) as error:
        if isinstance(error, psycopg.Error) and error.sqlstate in _GONE:
            what = "expected a generation, found its tables gone. Somebody dropped it."
            raise UnreadableGeneration(f"PostgreSQL: {error}: {what}") from error
        raise failure(error, "read model") from error


def _escaped(value: Any) -> Any:
    if isinstance(value, str) and ("\x00" in value or _ESCAPE in value):
        return value.replace(_ESCAPE, _ESCAPE + "1").replace("\x00", _ESCAPE + "0")
    return value


def _unescaped(value: Any) -> Any:
    if isinstance(value, str) and _ESCAPE in value:
        return value.replace(_ESCAPE + "0", "\x00").replace(_ESCAPE + "1", _ESCAPE)
    return value


class _PostgresReader:
    def __init__(self, connection: psycopg.Connection[Any], schema: str) -> None:
        self._connection = connection
        self._connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(schema)))

    def read(self, table: Table[Row], keys: Iterable[Key]) -> Mapping[Key, Row]:
        wanted = list(keys)
        if not wanted:
            return {}
        statement = (
            f"SELECT {_prefixed(table.column_names)} FROM {_keys_as_rows(table)} JOIN {quoted(table.name)} t USING ({columns(table.key)})"
        )
        found = self._connection.execute(statement.encode(), _as_arrays(wanted))
        rows = [table.row([_unescaped(value) for value in values]) for values in found]
        return {table.key_of(row): row for row in rows}

    def select(self, table: Table[Row], query: Query) -> Sequence[Row]:
        statement, values = select_page(table, query, "%s")
        found = self._connection.execute(statement.encode(), [_escaped(value) for value in values])
        return [table.row([_unescaped(value) for value in row]) for row in found]

    def count(self, table: Table[Any], where: Sequence[Condition] = ()) -> int:
        statement, values = count_rows(table, where, "%s")
        row = self._connection.execute(statement.encode(), [_escaped(value) for value in values]).fetchone()
        return int(row[0]) if row else 0


def _prefixed(names: Sequence[str]) -> str:
    return ", ".join(f"t.{quoted(name)}" for name in names)


def _keys_as_rows(table: Table[Any]) -> str:
    types = {column.name: _ARRAYS[column.type] for column in table.columns}
    return f"unnest({', '.join(f'%s::{types[name]}' for name in table.key)}) AS k({columns(table.key)})"


def _on_conflict(table: Table[Any]) -> str:
    others = [name for name in table.column_names if name not in table.key]
    changes = ", ".join(f"{quoted(name)} = excluded.{quoted(name)}" for name in others)
    return f"ON CONFLICT ({columns(table.key)}) DO {f'UPDATE SET {changes}' if changes else 'NOTHING'}"


def _in_turn(table: Table[Any], rows: Iterable[Any]) -> Iterator[Sequence[Any]]:
    """Go through the values of rows, escaped where any of a piece needs it, which is seldom."""
    texts = [at for at, column in enumerate(table.columns) if column.type == "text"]
    all_values = map(msgspec.structs.astuple, rows)
    while piece := list(islice(all_values, _COPY_PIECE)):
        together = "".join([values[at] for at in texts for values in piece if values[at]])
        if "\x00" in together or _ESCAPE in together:
            yield from ([_escaped(value) for value in values] for values in piece)
        else:
            yield from piece


def _as_arrays(tuples: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [_alike([_escaped(value) for value in values]) for values in zip(*tuples, strict=True)]


def _alike(values: list[Any]) -> list[Any]:
    """The driver takes an array of one type only: integers that stand beside floats are made such, as the column would."""
    return [float(value) if type(value) is int else value for value in values] if {int, float} <= set(map(type, values)) else values


class _PostgresUnit(_PostgresReader):
    def __init__(self, connection: psycopg.Connection[Any], schema: str) -> None:
        super().__init__(connection, schema)
        connection.execute("SELECT 1 FROM generation_lock FOR UPDATE")

    def write(self, table: Table[Row], rows: Sequence[Row]) -> None:
        """See `sidestream.ports.Unit`. Few rows by `unnest`; many by COPY, into the table itself while it is empty."""
        if not rows:
            return
        if len(rows) < _COPY_ROWS:
            self._upsert(table, rows)
        elif self._is_empty(table):
            self._copy(table.name, table, rows)
        else:
            self._copy_and_merge(table, rows)

    def _is_empty(self, table: Table[Any]) -> bool:
        row = self._connection.execute(f"SELECT EXISTS (SELECT FROM {quoted(table.name)})".encode()).fetchone()
        return row is not None and not row[0]

    def _copy(self, target: str, table: Table[Row], rows: Sequence[Row]) -> None:
        with self._connection.cursor().copy(f"COPY {quoted(target)} ({columns(table.column_names)}) FROM STDIN".encode()) as copy:
            for values in _in_turn(table, rows):
                copy.write_row(values)

    def _copy_and_merge(self, table: Table[Row], rows: Sequence[Row]) -> None:
        names, incoming = columns(table.column_names), f"incoming_{table.name}"
        like = f"CREATE TEMP TABLE {quoted(incoming)} ON COMMIT DROP AS SELECT {names} FROM {quoted(table.name)} WITH NO DATA"
        self._connection.execute(like.encode())
        self._copy(incoming, table, rows)
        merge = f"INSERT INTO {quoted(table.name)} ({names}) SELECT {names} FROM {quoted(incoming)} {_on_conflict(table)}"
        self._connection.execute(merge.encode())
        self._connection.execute(f"DROP TABLE {quoted(incoming)}".encode())

    def _upsert(self, table: Table[Row], rows: Sequence[Row]) -> None:
        arrays = ", ".join(f"%s::{_ARRAYS[column.type]}" for column in table.columns)
        statement = f"INSERT INTO {quoted(table.name)} ({columns(table.column_names)}) SELECT * FROM unnest({arrays}) {_on_conflict(table)}"
        self._connection.execute(statement.encode(), _as_arrays([table.values(row) for row in rows]))

    def delete(self, table: Table[Any], keys: Sequence[Key]) -> None:
        matches = " AND ".join(f"t.{quoted(name)} = k.{quoted(name)}" for name in table.key)
        statement = f"DELETE FROM {quoted(table.name)} t USING {_keys_as_rows(table)} WHERE {matches}"
        self._connection.execute(statement.encode(), _as_arrays(keys))

    def keep_newest(self, table: Table[Any]) -> None:
        statement, values = delete_older(table, "%s")
        self._connection.execute(statement.encode(), values)


class PostgresGeneration:
    """One generation in one schema; connections come from the pool of its read models.

    Args:
        pool: of its read models.
        schema: the schema.
        name: of the generation.
        check_right: is asked before every transaction and raises where the writer has lost his right to write.
    """

    def __init__(self, pool: ConnectionPool, schema: str, name: str, check_right: Callable[[], object] = lambda: None) -> None:
        self.name = name
        self._pool = pool
        self._schema = schema
        self._check_right = check_right

    @contextmanager
    def unit(self) -> Iterator[Unit]:
        """See `sidestream.ports.Generation`."""
        self._check_right()
        with translated(), self._pool.connection(timeout=CONNECT_SECONDS) as connection, connection.transaction():
            yield _PostgresUnit(connection, self._schema)

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """See `sidestream.ports.Generation`."""
        with translated(), self._pool.connection(timeout=CONNECT_SECONDS) as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield _PostgresReader(connection, self._schema)

    def check(self) -> None:
        """See `sidestream.ports.Generation`."""
        with translated(), self._pool.connection(timeout=CONNECT_SECONDS) as connection:
            row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (f"{quoted(self._schema)}.generation_lock",)).fetchone()
        if not row or not row[0]:
            raise UnreadableGeneration(f"PostgreSQL: expected schema {self._schema} of generation {self.name}, found none.")

    def close(self) -> None:
        """Nothing of its own; the pool belongs to the read models."""


def create_schema(connection: psycopg.Connection[Any], schema: str, tables: Sequence[Table[Any]]) -> None:
    """Make the schema of a generation with these tables."""
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(schema)))
    connection.execute("CREATE TABLE generation_lock (one integer PRIMARY KEY)")
    connection.execute("INSERT INTO generation_lock VALUES (1)")
    for table in tables:
        for statement in create_table(table, _TYPES):
            connection.execute(statement.encode())
