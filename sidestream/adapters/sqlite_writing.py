"""What every SQLite file with several writing processes needs: a transaction that is whole or nothing, and the switch to WAL."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write all of it or nothing; wait for other processes that write."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk has rolled back already
            connection.execute("ROLLBACK")
        raise


def switch_to_wal(connection: sqlite3.Connection, lock_seconds: float) -> None:
    """Let readers and the writer stand beside each other. SQLite does not wait by itself while another process switches."""
    deadline = time.monotonic() + lock_seconds
    while True:
        try:
            with closing(connection.execute("PRAGMA journal_mode = WAL")):
                return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
