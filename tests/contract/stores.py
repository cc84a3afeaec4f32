"""Every event store, for all suites of its port: memory is the specification. An adapter is added by an entry in `_OPENERS`."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from sidestream.event import NewEvent
from sidestream.identifiers import new_id
from sidestream.ports import ANY, Append, ExpectedVersion, ServiceStore


def _memory(_request: pytest.FixtureRequest, _name: str) -> ServiceStore:
    from sidestream.adapters.memory_events import MemoryEventStore

    return MemoryEventStore()


def _sqlite(request: pytest.FixtureRequest, name: str) -> ServiceStore:
    from sidestream.adapters.sqlite_events import SqliteEventStore

    folder: Path = request.getfixturevalue("tmp_path")
    return SqliteEventStore(folder / f"{name}.sqlite")


def _postgres(request: pytest.FixtureRequest, name: str) -> ServiceStore:
    from sidestream.adapters.postgres_events import PostgresEventStore

    return PostgresEventStore(request.getfixturevalue("postgres_database"), name)


_OPENERS: Final[dict[str, Callable[[pytest.FixtureRequest, str], ServiceStore]]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "postgres": _postgres,
}

ADAPTERS: Final = tuple(_OPENERS)
SHARED: Final = tuple(adapter for adapter in ADAPTERS if adapter != "memory")
"""Those that keep what is stored: opened twice, it is the same store, for two processes too."""


def open_store(adapter: str, request: pytest.FixtureRequest, name: str = "store") -> ServiceStore:
    """A new store; the same one again, opened a second time, where the adapter is shared and the name was asked for in this test."""
    return _OPENERS[adapter](request, name)


def event(
    subject: str | None = None,
    *,
    event_id: str = "",
    data: bytes = b"{}",
    topic: str = "orders",
    fingerprint: bytes = b"",
    time: str | None = None,
) -> NewEvent:
    """An event of the service *orders*, with an id of its own where none is given."""
    return NewEvent(
        topic=topic,
        id=event_id or new_id(),
        source="/services/orders",
        type="order.placed",
        data=data,
        subject=subject,
        fingerprint=fingerprint,
        time=time,
    )


def to(stream: str, *events: NewEvent, expected: ExpectedVersion = ANY) -> Append:
    """These events to a stream."""
    return Append(stream, events, expected)


def facts(*events: NewEvent) -> Append:
    """These events without a stream."""
    return Append(None, events)
