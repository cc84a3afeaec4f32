"""Every inbox log, for the suite of the event log and for its own: memory is the specification."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from sidestream.logs.inbox import Arrival, Inbox

ADAPTERS = ("memory", "sqlite", "postgres")


def open_inbox(adapter: str, request: pytest.FixtureRequest, *, began_late: bool = False) -> Inbox:
    """A new inbox; on disk or in the database the same one again when it is asked for twice in a test."""
    if adapter == "memory":
        from sidestream.adapters.memory_inbox import MemoryInbox

        return MemoryInbox(began_late=began_late)
    if adapter == "sqlite":
        from sidestream.adapters.sqlite_inbox import SqliteInbox

        folder: Path = request.getfixturevalue("tmp_path")
        return SqliteInbox(folder / "inbox.sqlite", began_late=began_late)
    from sidestream.adapters.postgres_inbox import PostgresInbox

    return PostgresInbox(request.getfixturevalue("postgres_database"), "tally_inbox", began_late=began_late)


class WrittenInbox:
    """An inbox as the suite of the event log wants it: with a hand that records, trims and flushes."""

    def __init__(self, adapter: str, request: pytest.FixtureRequest) -> None:
        self.log = open_inbox(adapter, request)
        self._adapter = adapter
        self._request = request

    def record(self, topic: str, wires: Sequence[bytes]) -> None:
        """Append without looking what it is: the suite's entries are no events."""
        arrivals = [Arrival(topic.encode() + wire + bytes([at]), wire) for at, wire in enumerate(wires)]
        assert self.log.append(topic, arrivals) == len(wires)

    def trim(self, topic: str, upto: str) -> None:
        self.log.trim(topic, upto)

    def flush(self, topic: str) -> None:
        """Somebody removes file or schema by hand, and the app is started again."""
        if self._adapter == "memory":
            self.log.flush(topic)  # type: ignore[attr-defined]
            return
        self.log.close()
        if self._adapter == "sqlite":
            folder: Path = self._request.getfixturevalue("tmp_path")
            for file in folder.glob("inbox.sqlite*"):
                file.unlink()
        else:
            import psycopg

            with psycopg.connect(self._request.getfixturevalue("postgres_database"), autocommit=True) as connection:
                connection.execute("DROP SCHEMA tally_inbox CASCADE")
        self.log = open_inbox(self._adapter, self._request)
