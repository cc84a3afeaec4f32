"""What every SQLite file with several writing processes needs: a transaction that is whole or nothing, the switch to WAL, and
what is committed brought to the disk.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path


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


def bring_to_disk(path: Path) -> None:
    """Let a power cut take nothing of what is committed in a WAL file until now, whoever wrote it; raises OSError.

    A checkpoint would do it, but for what a reader makes it leave: it waits for him, or leaves it unsynced. Syncing waits
    for nobody. What is no longer in the WAL, SQLite has synced into the database when it moved it there. The database file
    itself must not be opened here: closing it would end the locks that SQLite holds on it in this process.
    """
    with suppress(FileNotFoundError):  # whoever closed it last has moved everything
        _sync(path.with_name(path.name + "-wal"))
    _sync(path.parent)  # the names of both


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
