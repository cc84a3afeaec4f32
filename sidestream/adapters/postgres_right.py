"""The exclusive right to build, move and drop the generations of a projection: an advisory lock of one PostgreSQL session.

The session idles while a rebuild folds for hours. It is kept from being cut, and may be ended all the same: the server
restarts, and somebody else takes the right. So whoever holds it makes his changes in that very session: the server takes
the lock from a session only by ending it, and one that has ended changes nothing.
"""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from sidestream.adapters.postgres_database import CONNECT_SECONDS
from sidestream.adapters.postgres_generation import translated
from sidestream.errors import ReadModelError, StoreAway

_KEPT_OPEN: Final = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
"""Seconds but for the last, milliseconds: sooner than firewalls forget a connection that idles, some after four minutes."""
_KEPT_BY_THE_SERVER: Final = (
    "SELECT set_config(name, value, false) FROM pg_settings JOIN (VALUES ('idle_session_timeout', '0'), ('tcp_keepalives_idle', '30'), "
    "('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '3')) AS wanted (name, value) USING (name)"
)
"""It ends no session because it idles (PostgreSQL 13 and older never do), and soon the one of a machine that is gone."""


class Right:
    """The right while it is held, or believed to be. Threads take turns."""

    def __init__(self, session: psycopg.Connection[Any], projection: str) -> None:
        self._session = session
        self._projection = projection
        self._turn = threading.RLock()

    def check(self) -> None:
        """Raise StoreAway where the right is lost."""
        try:
            with self._turn:
                self._session.execute("SELECT 1")
        except psycopg.Error as error:
            what = f"{self._projection}: the exclusive right to build was lost: its PostgreSQL session ended ({str(error).strip()})"
            remedy = "Nothing was changed without it; what is unfinished stays. Run it again: it goes on from there."
            raise StoreAway(f"{what}. {remedy}") from error

    @contextmanager
    def changing(self) -> Iterator[psycopg.Connection[Any]]:
        """Begin a transaction in the session that holds the right; raises StoreAway where it is lost."""
        with self._turn:
            self.check()
            with translated(), self._session.transaction():
                yield self._session


@contextmanager
def right_to_build(url: str, options: str, projection: str, who: str) -> Iterator[Right]:
    """Hold the right until the block ends.

    Args:
        url: a checked address of the database.
        options: settings of the server for the session.
        projection: whose generations.
        who: is told to whoever is refused meanwhile.

    Raises:
        ReadModelError: another process holds it.
        StoreAway: PostgreSQL is away.
    """
    key = f"sidestream rebuild {projection}"
    with translated():
        session = _session(url, options)
    with closing(session):
        with translated():
            session.execute(_KEPT_BY_THE_SERVER)
            _take(session, key, projection, who)
        try:
            yield Right(session, projection)
        finally:
            with suppress(psycopg.Error):  # a session that has ended gave it back
                session.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (key,))


def _session(url: str, options: str) -> psycopg.Connection[Any]:
    """Open a session of its own; what the address says of keeping it open counts."""
    given: dict[str, Any] = {**_KEPT_OPEN, "connect_timeout": int(CONNECT_SECONDS), **conninfo_to_dict(url), "options": options}
    return psycopg.connect(autocommit=True, **given)


def _take(session: psycopg.Connection[Any], key: str, projection: str, who: str) -> None:
    row = session.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (key,)).fetchone()
    if not row or not row[0]:
        raise ReadModelError(f"another rebuild of this projection is running: {_holder(session, projection)}. Wait for it, or stop it.")
    session.execute(
        "INSERT INTO sidestream.builders VALUES (%s, %s) ON CONFLICT (projection) DO UPDATE SET who = excluded.who", (projection, who)
    )


def _holder(session: psycopg.Connection[Any], projection: str) -> str:
    row = session.execute("SELECT who FROM sidestream.builders WHERE projection = %s", (projection,)).fetchone()
    return str(row[0]) if row and row[0] else "unnamed"
