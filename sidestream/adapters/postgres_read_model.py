"""Read models in PostgreSQL: a generation is a schema of its own, and one table names them and points to the live one.

The table is in a schema of its own, `sidestream`, shared by all projections of a database; advisory locks keep its changes
apart. A replica that stops inside a transaction is ended by the server after a minute.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, Literal

import msgspec
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool

from sidestream.adapters.postgres_address import checked
from sidestream.adapters.postgres_database import CONNECT_SECONDS
from sidestream.adapters.postgres_generation import PostgresGeneration, create_schema, translated
from sidestream.adapters.postgres_right import Right, right_to_build
from sidestream.adapters.sql_text import quoted
from sidestream.errors import ReadModelError, UnknownGeneration
from sidestream.ports import GenerationInfo, TableShape, shape_of
from sidestream.projection import Table

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
_IDLE_IN_TRANSACTION: Final = "60s"


class PostgresReadModels:
    """The generations of one projection in one database: a table `sidestream.generations`, and a schema for each."""

    def __init__(self, url: str, projection: str) -> None:
        self._projection = projection
        self._url = checked(url)
        self._right: Right | None = None
        options = {"options": _session_options(self._url), "connect_timeout": 5}
        self._pool = ConnectionPool(
            self._url, min_size=0, max_size=8, kwargs=options, open=True, reconnect_timeout=0, check=ConnectionPool.check_connection
        )
        self._prepared = False

    @contextmanager
    def _catalog(self) -> Iterator[psycopg.Connection[Any]]:
        with translated(), self._pool.connection(timeout=CONNECT_SECONDS) as connection, connection.transaction():
            if not self._prepared:
                _prepare(connection)
                self._prepared = True
            yield connection

    def _changing(self) -> AbstractContextManager[psycopg.Connection[Any]]:
        """Begin a transaction that changes the catalogue; while the exclusive right is held, in the session that holds it."""
        right = self._right
        return self._catalog() if right is None else right.changing()

    def _check_right(self) -> None:
        if (right := self._right) is not None:
            right.check()

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
        with self._changing() as connection:
            _lock(connection, self._projection)
            name = f"g{_next_number(connection, self._projection)}"
            connection.execute(
                "INSERT INTO sidestream.generations (projection, number, version, state, created_at, live, shapes) "
                "VALUES (%s, %s, %s, 'building', %s, false, %s)",
                (self._projection, _number(name), version, created_at, msgspec.json.encode(list(map(shape_of, tables))).decode()),
            )
            create_schema(connection, self._schema(name), tables)
        return name

    def beside(self, tables: Sequence[Table[Any]]) -> PostgresGeneration:
        """See `sidestream.ports.ReadModels`."""
        schema = self._schema("beside")
        with self._catalog() as connection:
            _lock(connection, self._projection)
            row = connection.execute("SELECT to_regnamespace(%s) IS NOT NULL", (quoted(schema),)).fetchone()
            if not row or not row[0]:
                create_schema(connection, schema, tables)
        return PostgresGeneration(self._pool, schema, "beside")

    def open(self, name: str) -> PostgresGeneration:
        """See `sidestream.ports.ReadModels`."""
        self._info(name)
        generation = PostgresGeneration(self._pool, self._schema(name), name, self._check_right)
        generation.check()
        return generation

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
        with self._changing() as connection:
            connection.execute(statement.encode(), (*values, self._projection, _number(name)))

    def switch(self, name: str, stale_since: str = "") -> None:
        """See `sidestream.ports.ReadModels`."""
        self._check_ready(name)
        with self._changing() as connection:
            self._move_pointer(connection, name, stale_since)

    def roll_back(self, name: str, stale_since: str = "") -> None:
        """See `sidestream.ports.ReadModels`."""
        self._check_ready(name)
        with self._changing() as connection:
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
        self._info(name)
        statement = "DELETE FROM sidestream.generations WHERE projection = %s AND number = %s AND NOT live"
        with self._changing() as connection:
            if not connection.execute(statement, (self._projection, _number(name))).rowcount:
                self._info(name)  # somebody else may have dropped it meanwhile
                raise ReadModelError(f"generation {name} is live. Switch to another one first.")
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(self._schema(name))))

    @contextmanager
    def exclusively(self, who: str = "") -> Iterator[None]:
        """See `sidestream.ports.ReadModels`."""
        with self._catalog():
            pass  # the table of builders exists
        with right_to_build(self._url, _session_options(self._url), self._projection, who) as right:
            self._right = right
            try:
                yield
            finally:
                self._right = None

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


def _session_options(url: str) -> str:
    """Return ours and, because the last one counts, those of the address behind them."""
    return f"-c idle_in_transaction_session_timeout={_IDLE_IN_TRANSACTION} {conninfo_to_dict(url).get('options') or ''}".strip()


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
