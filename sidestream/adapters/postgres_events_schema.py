"""The tables of an event store in one PostgreSQL schema: how they grew, who may open them.

The one row of `store` is the lock of every append, and holds the last position and who counts. No number of an event comes from an
identity column or a sequence: those are given out in the order of asking, not of committing, and a follower would skip
what commits late.
"""

from typing import Any, Final

import psycopg
from psycopg import sql

from sidestream.errors import ConfigurationError
from sidestream.identifiers import new_id

MARK: Final = "sidestream event store"
_TEXT: Final = 'text COLLATE "C" NOT NULL'
_STEPS: Final = (
    (
        f"CREATE TABLE store (position bigint NOT NULL, producer integer NOT NULL, name {_TEXT})",
        f"CREATE TABLE producers (id integer PRIMARY KEY, name {_TEXT} UNIQUE)",
        f"CREATE TABLE topics (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name {_TEXT} UNIQUE)",
        f"CREATE TABLE sources (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name {_TEXT} UNIQUE)",
        "CREATE TABLE counters (topic integer NOT NULL, producer integer NOT NULL, count bigint NOT NULL DEFAULT 0, "
        "published bigint NOT NULL DEFAULT 0, PRIMARY KEY (topic, producer)) WITH (fillfactor = 50)",
        "CREATE TABLE events (position bigint PRIMARY KEY, topic integer NOT NULL, producer integer NOT NULL, sequence bigint NOT NULL, "
        'source integer NOT NULL, event_id text COLLATE "C" NOT NULL, stream text COLLATE "C", version bigint, ordered boolean NOT NULL, '
        "recorded_ms bigint NOT NULL, digest bytea NOT NULL, wire bytea NOT NULL)",
        "CREATE UNIQUE INDEX event_by_count ON events (topic, producer, sequence)",
        "CREATE UNIQUE INDEX event_by_identity ON events (source, event_id)",
        "CREATE UNIQUE INDEX event_by_stream ON events (stream, version) WHERE stream IS NOT NULL",
        "CREATE INDEX event_by_topic ON events (topic, position)",
        f"CREATE TABLE answers (key {_TEXT} PRIMARY KEY, request bytea NOT NULL, content bytea, until_ms bigint, given_ms bigint)",
        "CREATE INDEX answer_by_time ON answers (given_ms) WHERE given_ms IS NOT NULL",
        f"CREATE TABLE snapshots (stream {_TEXT} PRIMARY KEY, version bigint NOT NULL, shape {_TEXT}, state bytea NOT NULL)",
        f"CREATE TABLE leases (name {_TEXT} PRIMARY KEY, holder {_TEXT}, until_ms bigint NOT NULL)",
    ),
)
"""How the tables grew: the statements that lead to each version. Older ones are taken on, newer ones refused."""
SCHEMA_VERSION: Final = len(_STEPS)


def open_store(connection: psycopg.Connection[Any], schema: str) -> None:
    """Make the tables, take older ones on, and refuse what is not ours; on a connection that looks into the schema first.

    Raises:
        ConfigurationError: the schema belongs to something else, or to a newer Sidestream.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"sidestream {schema}",))
        if not _is_there(connection, schema):
            _make_schema(connection, schema)
        version = _version(connection, schema)
        for step in _STEPS[version:]:
            for statement in step:
                connection.execute(statement.encode())
        connection.execute("UPDATE schema_version SET version = %s WHERE version < %s", (SCHEMA_VERSION, SCHEMA_VERSION))
        if version == 0:
            _begin(connection)


def _is_there(connection: psycopg.Connection[Any], schema: str) -> bool:
    found = connection.execute("SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone()
    if found is None:
        return False
    if found[0] != MARK:
        raise ConfigurationError(
            f"schema {schema}: expected an event store ({MARK!r} as its comment), found {found[0]!r}. Name another database."
        )
    return True


def _make_schema(connection: psycopg.Connection[Any], schema: str) -> None:
    name = sql.Identifier(schema)
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
    connection.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(name, MARK))
    connection.execute("CREATE TABLE schema_version (version integer NOT NULL)")
    connection.execute("INSERT INTO schema_version VALUES (0)")


def _version(connection: psycopg.Connection[Any], schema: str) -> int:
    row = connection.execute("SELECT version FROM schema_version").fetchone()
    version = int(row[0]) if row else 0
    if version > SCHEMA_VERSION:
        raise ConfigurationError(
            f"schema {schema}: expected an event store of schema version {SCHEMA_VERSION} or older, found {version}. "
            "Start the version of Sidestream that wrote it, or restore a backup of before the upgrade."
        )
    return version


def _begin(connection: psycopg.Connection[Any]) -> None:
    producer = f"{new_id()}.1"
    connection.execute("INSERT INTO producers VALUES (1, %s)", (producer,))
    connection.execute("INSERT INTO store VALUES (0, 1, %s)", (producer,))
