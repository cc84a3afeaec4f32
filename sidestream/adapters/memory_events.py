"""The event store in memory: plain Python, the specification of the port.

Everything is gone with the process. One lock stands for the transaction.
"""

import threading
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from sidestream.appending import Identity, check_appends, check_repeat, check_version, identity_of
from sidestream.event import Counted, NewEvent, encode_event
from sidestream.identifiers import new_id
from sidestream.ports import Append, StoredEvent


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000


class MemoryEventStore:
    """All events in lists: in commit order, per stream and per topic."""

    def __init__(self, clock_ms: Callable[[], int] = _milliseconds) -> None:
        self._producer = f"{new_id()}.1"
        self._tables = _Tables()
        self._published: defaultdict[str, int] = defaultdict(int)
        self._lock = threading.Lock()
        self._clock_ms = clock_ms

    @property
    def producer(self) -> str:
        """See `sidestream.ports.EventStore`."""
        return self._producer

    def append(self, appends: Sequence[Append]) -> tuple[StoredEvent, ...]:
        """See `sidestream.ports.EventStore`."""
        check_appends(appends)
        with self._lock:
            transaction = _Transaction(self._tables, self._producer, self._clock_ms())
            stored = tuple(event for append in appends for event in transaction.append(append))
            for event, digest in transaction.fresh.values():
                self._tables.keep(event, digest)
        return stored

    def read_stream(self, stream: str, after: int = 0, limit: int = 1000) -> Sequence[StoredEvent]:
        """See `sidestream.ports.EventStore`."""
        with self._lock:
            return tuple(self._tables.streams.get(stream, ())[after : after + limit])

    def stream_version(self, stream: str) -> int:
        """See `sidestream.ports.EventStore`."""
        with self._lock:
            return len(self._tables.streams.get(stream, ()))

    def follow(self, after: int, limit: int = 1000) -> Sequence[StoredEvent]:
        """See `sidestream.ports.EventStore`."""
        with self._lock:
            begin = bisect_right(self._tables.events, after, key=lambda event: event.position)
            return tuple(self._tables.events[begin : begin + limit])

    def unpublished(self, topic: str, limit: int = 1000, after: int = 0) -> Sequence[StoredEvent]:
        """See `sidestream.ports.EventStore`."""
        with self._lock:
            begin = max(self._published[topic], after)
            return tuple(self._tables.topics.get(topic, ())[begin : begin + limit])

    def mark_published(self, topic: str, sequence: int) -> None:
        """See `sidestream.ports.EventStore`."""
        with self._lock:
            self._published[topic] = max(self._published[topic], min(sequence, len(self._tables.topics.get(topic, ()))))

    def topics(self) -> Sequence[str]:
        """See `sidestream.ports.EventStore`."""
        with self._lock:
            return tuple(sorted(self._tables.topics))

    def backlog(self) -> Mapping[str, int]:
        """See `sidestream.ports.EventStore`."""
        with self._lock:
            return {topic: len(events) - self._published[topic] for topic, events in self._tables.topics.items()}

    def close(self) -> None:
        """Nothing to release; the events stay."""


class _Tables:
    """What is stored, found in four ways."""

    def __init__(self) -> None:
        self.events: list[StoredEvent] = []
        self.streams: dict[str, list[StoredEvent]] = {}
        self.topics: dict[str, list[StoredEvent]] = {}
        self.by_identity: dict[Identity, tuple[StoredEvent, bytes]] = {}

    def keep(self, event: StoredEvent, digest: bytes) -> None:
        self.events.append(event)
        self.topics.setdefault(event.topic, []).append(event)
        self.by_identity[event.source, event.event_id] = (event, digest)
        if event.stream is not None:
            self.streams.setdefault(event.stream, []).append(event)


class _Transaction:
    """One append on its way: what it would add, kept apart until all of it is known to be good."""

    def __init__(self, tables: _Tables, producer: str, recorded_ms: int) -> None:
        self.fresh: dict[Identity, tuple[StoredEvent, bytes]] = {}
        self._tables = tables
        self._producer = producer
        self._recorded_ms = recorded_ms
        self._versions: dict[str, int] = {}
        self._counts: dict[str, int] = {}

    def append(self, append: Append) -> list[StoredEvent]:
        known = [self._find(event) for event in append.events]
        if append.stream is not None and None in known:
            check_version(append.stream, append.expected, self._version(append.stream))
        return [self._find(event) or self._add(event, append.stream) for event in append.events]

    def _find(self, event: NewEvent) -> StoredEvent | None:
        found = self.fresh.get(identity_of(event)) or self._tables.by_identity.get(identity_of(event))
        if found is None:
            return None
        check_repeat(event, event.content_digest(), found[1])
        return found[0]

    def _version(self, stream: str) -> int:
        return self._versions.get(stream, len(self._tables.streams.get(stream, ())))

    def _add(self, event: NewEvent, stream: str | None) -> StoredEvent:
        version = None if stream is None else self._version(stream) + 1
        sequence = self._counts.get(event.topic, len(self._tables.topics.get(event.topic, ()))) + 1
        stored = StoredEvent(
            position=len(self._tables.events) + len(self.fresh) + 1,
            topic=event.topic,
            sequence=sequence,
            source=event.source,
            event_id=event.id,
            stream=stream,
            version=version,
            wire=encode_event(event, Counted(self._producer, sequence, version)),
            ordered=event.ordered,
            recorded_ms=self._recorded_ms,
        )
        self._counts[event.topic] = sequence
        if stream is not None and version is not None:
            self._versions[stream] = version
        self.fresh[identity_of(event)] = (stored, event.content_digest())
        return stored
