"""The tables of the event store in memory, and what is on its way into them.

An event stands at `events[position - 1]`; streams and topics are lists of positions. The caller holds the store's lock.
"""

from bisect import insort
from collections.abc import Iterable, Mapping

import msgspec

from sidestream.event import Counted, Envelope, NewEvent, encode_event
from sidestream.ports import Append, StoredEvent
from sidestream.writing.appending import Identity, check_repeat, check_version, identity_of
from sidestream.writing.restoring import check_same, is_next, recorded_at, renumbered, stream_of


class MemoryTables:
    """What is stored, found in four ways."""

    def __init__(self) -> None:
        self.events: list[StoredEvent] = []
        self.streams: dict[str, list[int]] = {}
        self.topics: dict[str, list[int]] = {}
        self.counted: dict[str, list[int]] = {}
        """Per topic what the present producer counted: number n stands at n - 1."""
        self.by_identity: dict[Identity, tuple[int, bytes]] = {}

    def at(self, positions: Iterable[int]) -> tuple[StoredEvent, ...]:
        """Return the events at these positions."""
        return tuple(self.events[position - 1] for position in positions)

    def stream(self, stream: str) -> tuple[StoredEvent, ...]:
        """Return the events of a stream, in order."""
        return self.at(self.streams.get(stream, ()))

    def version(self, stream: str) -> int:
        """Return the version of a stream, 0 where there is none."""
        positions = self.streams.get(stream)
        return self._version_at(positions[-1]) if positions else 0

    def count(self, topic: str) -> int:
        """Return the last number that the present producer gave on a topic."""
        return len(self.counted.get(topic, ()))

    def keep(self, event: StoredEvent, digest: bytes) -> None:
        """Store one event that is known to be good."""
        self.events.append(event)
        self.topics.setdefault(event.topic, []).append(event.position)
        self.counted.setdefault(event.topic, []).append(event.position)
        self.by_identity[event.source, event.event_id] = event.position, digest
        if event.stream is not None:
            insort(self.streams.setdefault(event.stream, []), event.position, key=self._version_at)

    def count_anew(self, producer: str, published: Mapping[str, int]) -> None:
        """Give new numbers to what is not published; nothing else is counted by the new producer yet."""
        for topic, positions in self.counted.items():
            self.counted[topic] = positions[published.get(topic, 0) :]
            for sequence, position in enumerate(self.counted[topic], start=1):
                event = self.events[position - 1]
                wire = renumbered(event.wire, producer, sequence)
                self.events[position - 1] = msgspec.structs.replace(event, sequence=sequence, wire=wire)

    def _version_at(self, position: int) -> int:
        return self.events[position - 1].version or 0


class MemoryAppend:
    """One append on its way: what it would add, kept apart until all of it is known to be good."""

    def __init__(self, tables: MemoryTables, producer: str, recorded_ms: int) -> None:
        self.fresh: dict[Identity, tuple[StoredEvent, bytes]] = {}
        self._tables = tables
        self._producer = producer
        self._recorded_ms = recorded_ms
        self._versions: dict[str, int] = {}
        self._counts: dict[str, int] = {}

    def append(self, append: Append) -> list[StoredEvent]:
        """Give every event its place."""
        known = [self._find(event) for event in append.events]
        if append.stream is not None and None in known:
            check_version(append.stream, append.expected, self._version(append.stream))
        return [self._find(event) or self._add(event, append.stream) for event in append.events]

    def _find(self, event: NewEvent) -> StoredEvent | None:
        found = self.fresh.get(identity_of(event)) or self._stored(identity_of(event))
        if found is None:
            return None
        stored, digest = found
        check_repeat(event, event.content_digest(), digest, stored.wire)
        return msgspec.structs.replace(stored, repeated=True)

    def _stored(self, identity: Identity) -> tuple[StoredEvent, bytes] | None:
        if identity not in self._tables.by_identity:
            return None
        position, digest = self._tables.by_identity[identity]
        return self._tables.events[position - 1], digest

    def _version(self, stream: str) -> int:
        return self._versions.get(stream, self._tables.version(stream))

    def _add(self, event: NewEvent, stream: str | None) -> StoredEvent:
        version = None if stream is None else self._version(stream) + 1
        sequence = self._counts.get(event.topic, self._tables.count(event.topic)) + 1
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


class MemoryAdoption:
    """Events of the log that the store lacks, kept apart until all of them are known to be good."""

    def __init__(self, tables: MemoryTables, topic: str) -> None:
        self.events: list[StoredEvent] = []
        self._tables = tables
        self._topic = topic
        self._identities: set[Identity] = set()
        self._places: set[tuple[str, int | None]] = set()

    def take(self, envelope: Envelope, wire: bytes, now_ms: int) -> None:
        """Take in an event that is the next one; pass over one that is stored already."""
        count = self._tables.count(self._topic) + len(self.events)
        if not is_next(self._topic, envelope, count):
            check_same(envelope, self._wire_of(envelope.number))
            return
        stream = stream_of(envelope)
        if self._is_taken(envelope, stream):
            check_same(envelope, None)
        self._identities.add((envelope.source, envelope.id))
        if stream is not None:
            self._places.add((stream, envelope.streamversion))
        self.events.append(
            StoredEvent(
                position=len(self._tables.events) + len(self.events) + 1,
                topic=self._topic,
                sequence=envelope.number,
                source=envelope.source,
                event_id=envelope.id,
                stream=stream,
                version=envelope.streamversion,
                wire=wire,
                ordered=True,
                recorded_ms=recorded_at(envelope, now_ms),
            )
        )

    def _wire_of(self, number: int) -> bytes:
        counted = self._tables.counted.get(self._topic, [])
        if number <= len(counted):
            return self._tables.events[counted[number - 1] - 1].wire
        return self.events[number - len(counted) - 1].wire

    def _is_taken(self, envelope: Envelope, stream: str | None) -> bool:
        identity = (envelope.source, envelope.id)
        if identity in self._identities or identity in self._tables.by_identity:
            return True
        if stream is None:
            return False
        place = (stream, envelope.streamversion)
        return place in self._places or any(event.version == envelope.streamversion for event in self._tables.stream(stream))
