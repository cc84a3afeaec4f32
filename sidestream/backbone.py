"""What stands below an app: the adapters of every port, chosen in one place.

`connect(settings)` gives the real ones (sidecar, broker, database); `MemoryBackbone()` the specification, one instance
shared by all apps of a process. A bootstrap takes one of them and builds its app on it.
"""

from pathlib import Path
from typing import Protocol

from sidestream.ports import EventLog, EventStore, Publisher, ReadModels
from sidestream.settings import Settings


class Backbone(Protocol):
    """Makes adapters on demand; whoever asks closes what it got."""

    def publisher(self) -> Publisher:
        """Return the way to the broker."""
        ...

    def log(self) -> EventLog:
        """Return the log that the publisher writes to."""
        ...

    def event_store(self, name: str) -> EventStore:
        """Return the event store of a service."""
        ...

    def read_models(self, projection: str) -> ReadModels:
        """Return the generations of a projection."""
        ...


class MemoryBackbone:
    """Everything in memory: no sidecar, no broker, nothing on disk."""

    def __init__(self) -> None:
        from sidestream.adapters.memory_log import MemoryLog

        self._log = MemoryLog()
        self._stores: dict[str, EventStore] = {}
        self._read_models: dict[str, ReadModels] = {}

    def publisher(self) -> Publisher:
        """Return a publisher into the shared log."""
        from sidestream.adapters.memory_log import MemoryPublisher

        return MemoryPublisher(self._log)

    def log(self) -> EventLog:
        """Return the shared log."""
        return self._log

    def event_store(self, name: str) -> EventStore:
        """Return the store of this name, the same one each time."""
        from sidestream.adapters.memory_events import MemoryEventStore

        return self._stores.setdefault(name, MemoryEventStore())

    def read_models(self, projection: str) -> ReadModels:
        """Return the generations of this projection, the same each time."""
        from sidestream.adapters.memory_read_model import MemoryReadModels

        return self._read_models.setdefault(projection, MemoryReadModels())


class DaprBackbone:
    """The real parts: the sidecar for publishing, the broker of its component for reading, SQLite or PostgreSQL for keeping."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def publisher(self) -> Publisher:
        """Return the sidecar's bulk publish."""
        from sidestream.adapters.dapr_publisher import DaprPublisher

        settings = self._settings
        return DaprPublisher(pubsub=settings.pubsub, grpc_port=settings.dapr_grpc_port, api_token=settings.dapr_api_token)

    def log(self) -> EventLog:
        """Return a reader of the broker that the component names."""
        from sidestream.adapters.components import open_log

        return open_log(self._settings.components, self._settings.pubsub)

    def event_store(self, name: str) -> EventStore:
        """Return a store in a SQLite file below the data folder."""
        from sidestream.adapters.sqlite_events import SqliteEventStore

        return SqliteEventStore(self._folder("stores") / f"{name}.sqlite")

    def read_models(self, projection: str) -> ReadModels:
        """Return generations in SQLite files below the data folder, or in PostgreSQL schemas."""
        if self._settings.database_url:
            from sidestream.adapters.postgres_read_model import PostgresReadModels

            return PostgresReadModels(self._settings.database_url, projection)
        from sidestream.adapters.sqlite_read_model import SqliteReadModels

        return SqliteReadModels(self._folder("read-models") / projection)

    def _folder(self, name: str) -> Path:
        folder = self._settings.data / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def connect(settings: Settings) -> Backbone:
    """Return the real adapters; nothing is connected before it is asked for."""
    return DaprBackbone(settings)
