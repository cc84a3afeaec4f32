"""The inbox log in one PostgreSQL schema beside the generations.

READ COMMITTED; an append first takes `FOR UPDATE` the topic's row, which is the counter, and looks for what is there
already only after it. So two deliveries of one event take turns, and positions stand in commit order: an identity column
would let a reader overtake an open transaction.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg_pool import ConnectionPool, PoolTimeout

from sidestream.adapters.inbox_reading import InboxReading
from sidestream.adapters.numbered_positions import number_of
from sidestream.adapters.postgres_address import checked
from sidestream.errors import ConfigurationError, LogUnavailable, SidestreamError, StoreAway
from sidestream.identifiers import milliseconds, new_id
from sidestream.logs.inbox import Arrival, fresh

SCHEMA_VERSION: Final = 1
_CONNECT_SECONDS: Final = 5.0
_IDLE_IN_TRANSACTION: Final = "60s"
_TABLES: Final = (
    "CREATE TABLE inbox (identity text NOT NULL)",
    "CREATE TABLE topics (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, topic text NOT NULL UNIQUE, "
    "last bigint NOT NULL DEFAULT 0, trimmed bigint NOT NULL DEFAULT 0)",
    "CREATE TABLE entries (topic integer NOT NULL, position bigint NOT NULL, identity bytea NOT NULL, "
    "recorded_ms bigint NOT NULL, data bytea NOT NULL, PRIMARY KEY (topic, position), UNIQUE (topic, identity))",
)


class PostgresInbox(InboxReading):
    """See `sidestream.logs.inbox.Inbox`. Connects when first asked.

    Args:
        url: the database.
        schema: the schema; made when it is not there.
        began_late: whether events were published before it that it never got.
    """

    mark = "%s"

    def __init__(self, url: str, schema: str, *, began_late: bool = False) -> None:
        super().__init__(began_late=began_late)
        self._schema = schema
        self._identity = ""
        options = {"options": f"-c idle_in_transaction_session_timeout={_IDLE_IN_TRANSACTION}", "connect_timeout": 5}
        self._pool = ConnectionPool(
            checked(url), min_size=0, max_size=8, kwargs=options, open=True, reconnect_timeout=0, check=ConnectionPool.check_connection
        )

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def append(self, topic: str, arrivals: Sequence[Arrival]) -> int:
        """See `sidestream.logs.inbox.Inbox`."""
        with self._transaction(StoreAway) as connection:
            number, last = _counter(connection, topic)
            new = fresh(arrivals, _known(connection, number, arrivals))
            _insert(connection, number, last + 1, milliseconds(), new)
            connection.execute("UPDATE topics SET last = %s WHERE id = %s", (last + len(new), number))
            return len(new)

    def trim(self, topic: str, upto: str) -> None:
        """See `sidestream.logs.inbox.Inbox`."""
        with self._transaction(StoreAway) as connection:
            number, last = _counter(connection, topic)
            cut = min(number_of(upto), last)
            connection.execute("DELETE FROM entries WHERE topic = %s AND position <= %s", (number, cut))
            connection.execute("UPDATE topics SET trimmed = greatest(trimmed, %s) WHERE id = %s", (cut, number))

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def identity(self) -> str:
        """See `InboxReading`."""
        return self._identity

    def _rows(self, statement: str, values: tuple[Any, ...]) -> Sequence[tuple[Any, ...]]:
        with self._transaction(LogUnavailable) as connection:
            return connection.execute(statement.encode(), values, binary=True).fetchall()

    def close(self) -> None:
        """See `sidestream.ports.EventLog`."""
        self._pool.close()

    @contextmanager
    def _transaction(self, away: type[SidestreamError]) -> Iterator[psycopg.Connection[Any]]:
        """Begin in the schema, which is made when it is missing; say what the database could not do in the words of the port."""
        try:
            with self._pool.connection(timeout=_CONNECT_SECONDS) as connection:
                self._identity = self._identity or _open_schema(connection, self._schema)
                with connection.transaction():
                    connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(self._schema)))
                    yield connection
        except (psycopg.Error, PoolTimeout) as error:
            raise away(f"inbox log {self._schema}: PostgreSQL: {error}. Nothing was changed. Is it running?") from error


def _counter(connection: psycopg.Connection[Any], topic: str) -> tuple[int, int]:
    """Lock the topic's row and return its number and its last position."""
    locked = "SELECT id, last FROM topics WHERE topic = %s FOR UPDATE"
    found = connection.execute(locked, (topic,)).fetchone()
    if found is None:
        connection.execute("INSERT INTO topics (topic) VALUES (%s) ON CONFLICT DO NOTHING", (topic,))
        found = connection.execute(locked, (topic,)).fetchone()
    number, last = found or (0, 0)
    return number, last


def _known(connection: psycopg.Connection[Any], topic: int, arrivals: Sequence[Arrival]) -> set[bytes]:
    identities = [arrival.identity for arrival in arrivals]
    statement = "SELECT e.identity FROM unnest(%s::bytea[]) AS k(identity) JOIN entries e ON e.topic = %s AND e.identity = k.identity"
    return {identity for (identity,) in connection.execute(statement, (identities, topic))}


def _insert(connection: psycopg.Connection[Any], topic: int, begin: int, recorded_ms: int, new: Sequence[Arrival]) -> None:
    statement = (
        "INSERT INTO entries SELECT %s, %s + n - 1, identity, %s, data "
        "FROM unnest(%s::bytea[], %s::bytea[]) WITH ORDINALITY AS k(identity, data, n)"
    )
    identities, wires = [arrival.identity for arrival in new], [arrival.wire for arrival in new]
    connection.execute(statement, (topic, begin, recorded_ms, identities, wires))


# ── the schema ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _open_schema(connection: psycopg.Connection[Any], schema: str) -> str:
    """Make the schema if it is missing, refuse one that is not ours, and return the inbox's identity once that is committed."""
    with connection.transaction():
        return _made_or_found(connection, schema)


def _made_or_found(connection: psycopg.Connection[Any], schema: str) -> str:
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"sidestream {schema}",))
    there = connection.execute(
        "SELECT oid, obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s", (schema,)
    ).fetchone()
    mark = f"sidestream inbox {SCHEMA_VERSION}"
    name = sql.Identifier(schema)
    if there is None:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
        connection.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(name, mark))
        connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(name))
        for statement in _TABLES:
            connection.execute(statement.encode())
        connection.execute("INSERT INTO inbox VALUES (%s)", (new_id(),))
    elif there[1] != mark:
        raise ConfigurationError(
            f"schema {schema}: expected {mark!r}, found {there[1]!r}. Use the release that wrote it, or another database."
        )
    row = connection.execute(sql.SQL("SELECT identity FROM {}.inbox").format(name)).fetchone()
    return str(row[0]) if row else ""
