"""Every event store as a log, for the suite of the event log: with a hand that records and flushes."""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from sidestream.adapters.store_log import StoreLog
from sidestream.event import decode_event
from sidestream.ports import LogEntry, ServiceStore
from tests.contract.stores import ADAPTERS as STORES
from tests.contract.stores import event, facts, open_store

__all__ = ["STORES", "WrittenStore"]


class _Unwrapped(StoreLog):
    """What was recorded, without the envelope that a store writes around it: the suite's entries are no events."""

    def read(self, topic: str, start: str | None, limit: int) -> Sequence[LogEntry]:
        return list(map(_unwrapped, super().read(topic, start, limit)))

    def read_back(self, topic: str, before: str | None, limit: int) -> Sequence[LogEntry]:
        return list(map(_unwrapped, super().read_back(topic, before, limit)))


def _unwrapped(entry: LogEntry) -> LogEntry:
    return msgspec.structs.replace(entry, data=b64decode(decode_event(entry.data).data_base64 or ""))


class WrittenStore:
    """A store that facts of any bytes are appended to."""

    def __init__(self, adapter: str, request: pytest.FixtureRequest) -> None:
        self._adapter = adapter
        self._request = request
        self._store: ServiceStore = open_store(adapter, request)
        self.log = _Unwrapped(self._store)

    def record(self, topic: str, wires: Sequence[bytes]) -> None:
        new = (event(topic=topic) for _ in wires)
        changes = ({"data": None, "data_base64": b64encode(wire).decode()} for wire in wires)
        self._store.append([facts(*(msgspec.structs.replace(each, **change) for each, change in zip(new, changes, strict=True)))])

    def trim(self, topic: str, upto: str) -> None:
        raise AssertionError(f"an event store forgets nothing: {topic} up to {upto}")

    def flush(self, topic: str) -> None:
        """Somebody removes file or schema by hand, and the service is started again."""
        self.log.close()
        if self._adapter == "sqlite":
            folder: Path = self._request.getfixturevalue("tmp_path")
            for file in folder.glob("store.sqlite*"):
                file.unlink()
        if self._adapter == "postgres":
            import psycopg

            with psycopg.connect(self._request.getfixturevalue("postgres_database"), autocommit=True) as connection:
                connection.execute("DROP SCHEMA store_events CASCADE")
        self._store = open_store(self._adapter, self._request)
        self.log = _Unwrapped(self._store)
