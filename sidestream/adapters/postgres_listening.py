"""Hearing what other processes append to a PostgreSQL store: LISTEN on a connection of its own.

The server keeps what it has to tell until it is asked, so nothing is missed between two calls; what was appended while the
connection was lost is seen by the store's position, which is compared after each new connection.
"""

import threading
import time

import psycopg
from psycopg import sql

from sidestream.adapters.postgres_database import Connection, Database, failure

_SETTINGS = "-c idle_session_timeout=0"


class Listener:
    """One connection that listens. One thread at a time waits; raises StoreAway, and connects again when it is called again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._seen: int | None = None

    def wait(self, seconds: float) -> bool:
        """Wait until the store has a position beyond the last one seen, at most so long; say whether it has."""
        end = time.monotonic() + seconds
        with self._lock:
            try:
                return self._listening() or self._told(end)
            except psycopg.Error as error:
                self._drop()
                raise failure(error, self._database.schema) from error

    def close(self) -> None:
        """Close the connection; the next call opens another one."""
        with self._lock:
            self._drop()

    def _listening(self) -> bool:
        """Connect if need be; say whether there is more than was seen through the last connection."""
        if self._connection is not None:
            return False
        self._connection = self._database.connect(_SETTINGS)
        self._connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._database.schema)))
        row = self._connection.execute("SELECT position FROM store").fetchone()
        return self._saw(int(row[0]) if row else 0)

    def _told(self, end: float) -> bool:
        assert self._connection is not None
        told = False
        while not told and (left := end - time.monotonic()) > 0:
            told = self._heard(left)
        return self._heard(0) or told

    def _heard(self, seconds: float) -> bool:
        assert self._connection is not None
        positions = [int(notice.payload) for notice in self._connection.notifies(timeout=seconds, stop_after=1)]
        return self._saw(max(positions, default=0))

    def _saw(self, position: int) -> bool:
        """Note a position; say whether it is news. The first one is not: nobody has asked before."""
        seen = position if self._seen is None else self._seen
        self._seen = max(position, seen)
        return position > seen

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
