"""Read models in PostgreSQL: a generation is a schema of its own, and one table names them and points to the live one.

READ COMMITTED; a transaction first takes `FOR UPDATE` the generation's one lock row and reads only after it, so that
replicas are exact. A replica that stops inside a transaction is ended by the server after a minute.
U+0000, which PostgreSQL's text cannot hold, is written as U+FDD0 followed by 0 (and U+FDD0 itself as U+FDD0 followed by 1).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeVar

import msgspec
import psycopg
from psycopg import sql
from psycopg_pool import ConnectionPool, PoolTimeout

from sidestream.adapters.sql_text import columns, count_rows, create_table, delete_older, quoted, select_page
from sidestream.errors import ReadModelError, RefusedByStore, StoreAway, TryAgain, UnknownGeneration
from sidestream.ports import Condition, GenerationInfo, Query, Reader, TableShape, Unit, shape_of
from sidestream.projection import ColumnType, Key, Table

Row = TypeVar("Row", bound=msgspec.Struct)

_STEPS: Final = (
    (
        "CREATE SCHEMA sidestream",
        "CREATE TABLE sidestream.generations (projection text NOT NULL, number integer NOT NULL, version integer NOT NULL, "
        "state text NOT NULL, created_at text NOT NULL, live boolean NOT NULL, PRIMARY KEY (projection, number))",
        "CREATE TABLE sidestream.counters (projection text PRIMARY KEY, last integer NOT NULL)",
    ),
    (
        "ALTER TABLE sidestream.generations ADD COLUMN shapes text NOT NULL DEFAULT '[]', "
        "ADD COLUMN switched integer NOT NULL DEFAULT 0, ADD COLUMN stale_since text NOT NULL DEFAULT '', "
        "ADD COLUMN built_events bigint NOT NULL DEFAULT 0, ADD COLUMN built_seconds double precision NOT NULL DEFAULT 0",
        "UPDATE sidestream.generations SET switched = 1 WHERE live",
        "CREATE TABLE sidestream.builders (projection text PRIMARY KEY, who text NOT NULL)",
    ),
)
"""How the catalogue grew: the statements that lead to each version. Older ones are taken on, newer ones refused."""
SCHEMA_VERSION: Final = len(_STEPS)
_CATALOG: Final = "sidestream"
_COPY_ROWS: Final = 5000
"""From so many rows on COPY is quicker than `unnest` (facts)."""
_IDLE_IN_TRANSACTION: Final = "60s"
_CONNECT_SECONDS: Final = 5.0
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
_AWAY: Final = ("08", "53", "57", "58", "28", "3D", "F0", "XX", "25")
"""SQLSTATE classes: connection, resources, operator, system, authorization, no such database, internal, idle timeout."""
_AGAIN: Final = ("40", "55")
"""SQLSTATE classes: serialization and deadlock; lock not available."""


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the driver's failures into the three kinds: away, again, this value."""
    try:
        yield
    except PoolTimeout as error:
        raise StoreAway(f"PostgreSQL did not answer within {_CONNECT_SECONDS:.0f} s: {error}. Is it running?") from error
    except psycopg.Error as error:
        state = error.sqlstate or ""
        if state.startswith(_AGAIN):
            raise TryAgain(f"PostgreSQL rolled back: {error}") from error
        if state.startswith(_AWAY) or (not state and isinstance(error, psycopg.OperationalError)):
            raise StoreAway(f"PostgreSQL is away: {error}") from error
        raise RefusedByStore(f"PostgreSQL refuses a value: {error}") from error
    except (OverflowError, UnicodeEncodeError) as error:
        raise RefusedByStore(f"PostgreSQL refuses a value: {error}") from error


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


def _as_arrays(tuples: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [[_escaped(value) for value in values] for values in zip(*tuples, strict=True)]


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
            for row in rows:
                copy.write_row([_escaped(value) for value in table.values(row)])

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
    """One generation in one schema; connections come from the pool of its read models."""

    def __init__(self, pool: ConnectionPool, schema: str, name: str) -> None:
        self.name = name
        self._pool = pool
        self._schema = schema

    @contextmanager
    def unit(self) -> Iterator[Unit]:
        """See `sidestream.ports.Generation`."""
        with _translated(), self._pool.connection(timeout=_CONNECT_SECONDS) as connection, connection.transaction():
            yield _PostgresUnit(connection, self._schema)

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """See `sidestream.ports.Generation`."""
        with _translated(), self._pool.connection(timeout=_CONNECT_SECONDS) as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield _PostgresReader(connection, self._schema)

    def close(self) -> None:
        """Nothing of its own; the pool belongs to the read models."""


class PostgresReadModels:
    """The generations of one projection in one database: a table `sidestream.generations`, and a schema for each."""

    def __init__(self, url: str, projection: str) -> None:
        self._projection = projection
        options = {"options": f"-c idle_in_transaction_session_timeout={_IDLE_IN_TRANSACTION}", "connect_timeout": 5}
        self._pool = ConnectionPool(
            url, min_size=0, max_size=8, kwargs=options, open=True, reconnect_timeout=0, check=ConnectionPool.check_connection
        )
        self._prepared = False

    @contextmanager
    def _catalog(self) -> Iterator[psycopg.Connection[Any]]:
        with _translated(), self._pool.connection(timeout=_CONNECT_SECONDS) as connection, connection.transaction():
            if not self._prepared:
                _prepare(connection)
                self._prepared = True
            yield connection

    def generations(self) -> Sequence[GenerationInfo]:
        """See `sidestream.ports.ReadModels`."""
        statement = (
            "SELECT number, version, state, created_at, live, switched, stale_since, built_events, built_seconds "
            "FROM sidestream.generations WHERE projection = %s ORDER BY number"
        )
        with self._catalog() as connection:
            found = connection.execute(statement, (self._projection,)).fetchall()
        return tuple(GenerationInfo(f"g{number}", *more) for number, *more in found)

    def create(self, version: int, tables: Sequence[Table[Any]], created_at: str) -> str:
        """See `sidestream.ports.ReadModels`."""
        with self._catalog() as connection:
            _lock(connection, self._projection)
            name = f"g{_next_number(connection, self._projection)}"
            connection.execute(
                "INSERT INTO sidestream.generations (projection, number, version, state, created_at, live, shapes) "
                "VALUES (%s, %s, %s, 'building', %s, false, %s)",
                (self._projection, _number(name), version, created_at, msgspec.json.encode(list(map(shape_of, tables))).decode()),
            )
            self._create_schema(connection, self._schema(name), tables)
        return name

    def _create_schema(self, connection: psycopg.Connection[Any], schema: str, tables: Sequence[Table[Any]]) -> None:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(schema)))
        connection.execute("CREATE TABLE generation_lock (one integer PRIMARY KEY)")
        connection.execute("INSERT INTO generation_lock VALUES (1)")
        for table in tables:
            for statement in create_table(table, _TYPES):
                connection.execute(statement.encode())

    def beside(self, tables: Sequence[Table[Any]]) -> PostgresGeneration:
        """See `sidestream.ports.ReadModels`."""
        schema = self._schema("beside")
        with self._catalog() as connection:
            _lock(connection, self._projection)
            row = connection.execute("SELECT to_regnamespace(%s) IS NOT NULL", (quoted(schema),)).fetchone()
            if not row or not row[0]:
                self._create_schema(connection, schema, tables)
        return PostgresGeneration(self._pool, schema, "beside")

    def open(self, name: str) -> PostgresGeneration:
        """See `sidestream.ports.ReadModels`."""
        self._info(name)
        return PostgresGeneration(self._pool, self._schema(name), name)

    def shapes(self, name: str) -> Sequence[TableShape]:
        """See `sidestream.ports.ReadModels`."""
        self._info(name)
        statement = "SELECT shapes FROM sidestream.generations WHERE projection = %s AND number = %s"
        with self._catalog() as connection:
            row = connection.execute(statement, (self._projection, _number(name))).fetchone()
        return msgspec.json.decode(row[0] if row else "[]", type=tuple[TableShape, ...])

    def size(self, name: str) -> int:
        """See `sidestream.ports.ReadModels`."""
        self._info(name)
        sizes = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class"
        statement = f"{sizes} WHERE relnamespace = to_regnamespace(%s) AND relkind = 'r'"
        with self._catalog() as connection:
            row = connection.execute(statement.encode(), (quoted(self._schema(name)),)).fetchone()
        return int(row[0]) if row else 0

    def mark_ready(self, name: str) -> None:
        """See `sidestream.ports.ReadModels`."""
        self._change(name, "state = 'ready'")

    def set_aside(self, name: str, state: Literal["held", "scratch"]) -> None:
        """See `sidestream.ports.ReadModels`."""
        self._change(name, "state = %s", state)

    def note_built(self, name: str, events: int, seconds: float) -> None:
        """See `sidestream.ports.ReadModels`."""
        self._change(name, "built_events = built_events + %s, built_seconds = built_seconds + %s", events, seconds)

    def _change(self, name: str, changes: str, *values: object) -> None:
        self._info(name)
        statement = f"UPDATE sidestream.generations SET {changes} WHERE projection = %s AND number = %s"
        with self._catalog() as connection:
            connection.execute(statement.encode(), (*values, self._projection, _number(name)))

    def switch(self, name: str, stale_since: str = "") -> None:
        """See `sidestream.ports.ReadModels`."""
        self._check_ready(name)
        with self._catalog() as connection:
            self._move_pointer(connection, name, stale_since)

    def roll_back(self, name: str, stale_since: str = "") -> None:
        """See `sidestream.ports.ReadModels`."""
        self._check_ready(name)
        with self._catalog() as connection:
            connection.execute("UPDATE sidestream.generations SET switched = 0 WHERE projection = %s AND live", (self._projection,))
            self._move_pointer(connection, name, stale_since)

    def _move_pointer(self, connection: psycopg.Connection[Any], name: str, stale_since: str) -> None:
        connection.execute(
            "UPDATE sidestream.generations SET live = (number = %s) WHERE projection = %s", (_number(name), self._projection)
        )
        connection.execute(
            "UPDATE sidestream.generations SET stale_since = %s, "
            "switched = (SELECT max(switched) + 1 FROM sidestream.generations WHERE projection = %s) WHERE projection = %s AND live",
            (stale_since, self._projection, self._projection),
        )

    def _check_ready(self, name: str) -> None:
        state = self._info(name).state
        if state != "ready":
            raise ReadModelError(f"generation {name}: expected it ready, found it {state}. Let the rebuild finish first.")

    def drop(self, name: str) -> None:
        """See `sidestream.ports.ReadModels`."""
        if self._info(name).live:
            raise ReadModelError(f"generation {name} is live. Switch to another one first.")
        with self._catalog() as connection:
            connection.execute(
                "DELETE FROM sidestream.generations WHERE projection = %s AND number = %s", (self._projection, _number(name))
            )
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(self._schema(name))))

    @contextmanager
    def exclusively(self, who: str = "") -> Iterator[None]:
        """See `sidestream.ports.ReadModels`."""
        key = f"sidestream rebuild {self._projection}"
        with self._catalog():
            pass  # the table of builders exists
        with _translated(), self._pool.connection(timeout=_CONNECT_SECONDS) as connection:
            connection.autocommit = True
            row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (key,)).fetchone()
            if not row or not row[0]:
                holder = _builder(connection, self._projection)
                raise ReadModelError(f"another rebuild of this projection is running: {holder}. Wait for it, or stop it.")
            try:
                connection.execute(
                    "INSERT INTO sidestream.builders VALUES (%s, %s) ON CONFLICT (projection) DO UPDATE SET who = excluded.who",
                    (self._projection, who),
                )
                yield
            finally:
                connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (key,))
                connection.autocommit = False

    def close(self) -> None:
        """Close the pool."""
        self._pool.close()

    def _schema(self, name: str) -> str:
        return f"{self._projection}_{name}"

    def _info(self, name: str) -> GenerationInfo:
        infos = {info.name: info for info in self.generations()}
        if name not in infos:
            raise UnknownGeneration(f"{self._projection}: expected one of {', '.join(infos) or 'no generation'}, found {name!r}")
        return infos[name]


def _number(name: str) -> int:
    return int(name.removeprefix("g"))


def _next_number(connection: psycopg.Connection[Any], projection: str) -> int:
    """Count generations for ever: a dropped one's name is not given again."""
    row = connection.execute(
        "INSERT INTO sidestream.counters (projection, last) VALUES (%s, 1) "
        "ON CONFLICT (projection) DO UPDATE SET last = counters.last + 1 RETURNING last",
        (projection,),
    ).fetchone()
    return int(row[0]) if row else 0


def _lock(connection: psycopg.Connection[Any], what: str) -> None:
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"sidestream {what}",))


def _builder(connection: psycopg.Connection[Any], projection: str) -> str:
    row = connection.execute("SELECT who FROM sidestream.builders WHERE projection = %s", (projection,)).fetchone()
    connection.autocommit = False
    return str(row[0]) if row and row[0] else "unnamed"


def _prepare(connection: psycopg.Connection[Any]) -> None:
    """Make the catalogue if it is missing, bring an older one up to date, refuse a newer one."""
    _lock(connection, _CATALOG)
    row = connection.execute("SELECT obj_description(to_regnamespace(%s), 'pg_namespace')", (_CATALOG,)).fetchone()
    found = row[0] if row and row[0] else _mark(0)
    version = next((version for version in range(SCHEMA_VERSION + 1) if found == _mark(version)), None)
    if version is None:
        remedy = "Use the release that wrote it, or another database."
        raise ReadModelError(f"schema sidestream: expected {_mark(SCHEMA_VERSION)!r}, found {found!r}. {remedy}")
    if version < SCHEMA_VERSION:
        for statement in (statement for statements in _STEPS[version:] for statement in statements):
            connection.execute(statement.encode())
        connection.execute(sql.SQL("COMMENT ON SCHEMA sidestream IS {}").format(_mark(SCHEMA_VERSION)))


def _mark(version: int) -> str:
    return f"sidestream catalogue {version}"
