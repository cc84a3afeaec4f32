"""What stands below an app: the adapters of every port, chosen in one place.

`connect(settings)` gives the real ones (sidecar, broker, database); `MemoryBackbone()` the specification, one instance
shared by all apps of a process. A bootstrap takes one of them and builds its app on it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sidestream.logs.inbox import Inbox
from sidestream.ports import EventLog, Publisher, ReadModels, ServiceStore
from sidestream.settings import Settings
from sidestream.tracing import TracedPublisher, tracing_of

if TYPE_CHECKING:
    import httpx
    from starlette.types import ASGIApp


class Backbone(Protocol):
    """Makes adapters on demand; whoever asks closes what it got."""

    def publisher(self) -> Publisher:
        """Return the way to the broker."""
        ...

    def log(self) -> EventLog:
        """Return the log that the publisher writes to."""
        ...

    def inbox(self, projection: str) -> Inbox:
        """Return the log that a projection keeps of what is delivered to it."""
        ...

    def event_store(self, name: str) -> ServiceStore:
        """Return the event store of a service."""
        ...

    def read_models(self, projection: str) -> ReadModels:
        """Return the generations of a projection."""
        ...

    def offer(self, name: str, app: "ASGIApp") -> None:
        """Say that other apps may command this one."""
        ...

    def door(self, name: str, address: str = "") -> "httpx.AsyncClient":
        """Return the way to another app's doors. `address`: where it answers, if the sidecar cannot find it by its name."""
        ...


class MemoryBackbone:
    """Everything in memory: no sidecar, no broker, nothing on disk."""

    def __init__(self) -> None:
        from sidestream.adapters.memory_log import MemoryLog

        self._log = MemoryLog()
        self._inboxes: dict[str, Inbox] = {}
        self._stores: dict[str, ServiceStore] = {}
        self._read_models: dict[str, ReadModels] = {}
        self._apps: dict[str, ASGIApp] = {}

    def publisher(self) -> Publisher:
        """Return a publisher into the shared log."""
        from sidestream.adapters.memory_log import MemoryPublisher

        return MemoryPublisher(self._log)

    def log(self) -> EventLog:
        """Return the shared log."""
        return self._log

    def inbox(self, projection: str) -> Inbox:
        """Return the inbox log of this projection, the same one each time."""
        from sidestream.adapters.memory_inbox import MemoryInbox

        return self._inboxes.setdefault(projection, MemoryInbox())

    def event_store(self, name: str) -> ServiceStore:
        """Return the store of this name, the same one each time."""
        from sidestream.adapters.memory_events import MemoryEventStore

        return self._stores.setdefault(name, MemoryEventStore())

    def read_models(self, projection: str) -> ReadModels:
        """Return the generations of this projection, the same each time."""
        from sidestream.adapters.memory_read_model import MemoryReadModels

        return self._read_models.setdefault(projection, MemoryReadModels())

    def offer(self, name: str, app: "ASGIApp") -> None:
        """Keep the app for whoever asks for its door."""
        self._apps[name] = app

    def door(self, name: str, address: str = "") -> "httpx.AsyncClient":
        """Return a client that calls the app in this process."""
        from sidestream.adapters.doors import in_this_process

        return in_this_process(self._apps, name)


class DaprBackbone:
    """The real parts: the sidecar for publishing, the broker of its component for reading, SQLite or PostgreSQL for keeping."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def publisher(self) -> Publisher:
        """Return the sidecar's bulk publish. It stands still while the log is moved to another broker."""
        from sidestream.adapters.dapr_publisher import DaprPublisher, load_sdk_ahead
        from sidestream.publishing.standstill import Gate, StandingPublisher

        settings = self._settings
        load_sdk_ahead()
        way_out = DaprPublisher(pubsub=settings.pubsub, grpc_port=settings.dapr_grpc_port, api_token=settings.dapr_api_token)
        tracing = tracing_of(settings.app_id)
        return StandingPublisher(TracedPublisher(way_out, tracing) if tracing else way_out, Gate(settings.data))

    def log(self) -> EventLog:
        """Return a reader of the broker that the component names."""
        from sidestream.adapters.broker_kinds import in_force
        from sidestream.adapters.components import open_log
        from sidestream.adapters.no_log import NoLog

        settings = self._settings
        if settings.follow == "inbox" and in_force(settings.components, settings.pubsub).follow == "inbox":
            return NoLog("the broker keeps no log that can be read; each projection has what was delivered to it.")
        return open_log(settings.components, settings.pubsub)

    def inbox(self, projection: str) -> Inbox:
        """Return an inbox log beside the projection's generations: a SQLite file, or a PostgreSQL schema."""
        late = self._settings.inbox_began_late
        if self._settings.database_url:
            from sidestream.adapters.postgres_inbox import PostgresInbox

            return PostgresInbox(self._settings.database_url, f"{projection}_inbox", began_late=late)
        from sidestream.adapters.sqlite_inbox import SqliteInbox

        folder = self._folder("read-models") / projection
        folder.mkdir(parents=True, exist_ok=True)
        return SqliteInbox(folder / "inbox.sqlite", began_late=late)

    def event_store(self, name: str) -> ServiceStore:
        """Return a store in a SQLite file below the data folder, or in a PostgreSQL schema."""
        if self._settings.store_url:
            from sidestream.adapters.postgres_events import PostgresEventStore

            return PostgresEventStore(self._settings.store_url, name)
        from sidestream.adapters.sqlite_events import SqliteEventStore

        return SqliteEventStore(self._folder("stores") / f"{name}.sqlite")

    def read_models(self, projection: str) -> ReadModels:
        """Return generations in SQLite files below the data folder, or in PostgreSQL schemas."""
        if self._settings.database_url:
            from sidestream.adapters.postgres_read_model import PostgresReadModels

            return PostgresReadModels(self._settings.database_url, projection)
        from sidestream.adapters.sqlite_read_model import SqliteReadModels

        return SqliteReadModels(self._folder("read-models") / projection)

    def offer(self, name: str, app: "ASGIApp") -> None:
        """Do nothing: the sidecar knows its own app."""

    def door(self, name: str, address: str = "") -> "httpx.AsyncClient":
        """Return a client that asks the sidecar to invoke the app."""
        from sidestream.adapters.doors import through_sidecar

        return through_sidecar(self._settings.dapr_http_port, self._settings.dapr_api_token, address or name)

    def _folder(self, name: str) -> Path:
        folder = self._settings.data / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def followed(backbone: Backbone, settings: Settings, projection: str) -> EventLog:
    """Return the log that a projection follows: the broker's, or its own inbox log."""
    return backbone.inbox(projection) if settings.follow == "inbox" else backbone.log()


def connect(settings: Settings) -> Backbone:
    """Return the real adapters; nothing is connected before it is asked for."""
    return DaprBackbone(settings)
