"""The event store in memory: plain Python, the specification of the port.

Everything is gone with the process. One lock stands for the transaction.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from sidestream.adapters.memory_answers import MemoryAnswers, MemoryLeases, MemorySnapshots
from sidestream.adapters.memory_tables import MemoryAdoption, MemoryAppend, MemoryTables
from sidestream.identifiers import milliseconds, new_id
from sidestream.ports import Answer, Append, StoredEvent
from sidestream.writing.answering import check_key
from sidestream.writing.appending import check_appends
from sidestream.writing.restoring import ADOPTED, next_epoch, read_adopted


class MemoryEventStore(MemoryAnswers, MemorySnapshots, MemoryLeases):
    """All events in lists: in commit order, per stream and per topic."""

    def __init__(self, clock_ms: Callable[[], int] = milliseconds) -> None:
        super().__init__(clock_ms)
        self._producer = f"{new_id()}.1"
        self._tables = MemoryTables()
        self._published: defaultdict[str, int] = defaultdict(int)

    @property
    def producer(self) -> str:
        """See `sidestream.ports.EventStore`."""
        return self._producer

    def append(self, appends: Sequence[Append], answer: Answer | None = None) -> tuple[StoredEvent, ...]:
        """See `sidestream.ports.EventStore`."""
        check_appends(appends)
        if answer is not None:
            check_key(answer.key, answer.request)
        with self._lock:
            now_ms = self._clock_ms()
            if answer is not None:
                self._check_answer(answer, now_ms)
            transaction = MemoryAppend(self._tables, self._producer, now_ms)
            stored = tuple(event for append in appends for event in transaction.append(append))
            for event, digest in transaction.fresh.values():
                self._tables.keep(event, digest)
            if answer is not None:
                self._keep_answer(answer, now_ms)
        return stored

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def read_stream(self, stream: str, after: int = 0, limit: int = 1000, *, until_ms: int | None = None) -> Sequence[StoredEvent]:
        """See `sidestream.ports.EventStore`. It ends before the first event that was recorded later: a state that there was."""
        page = []
        with self._lock:
            for event in self._tables.stream(stream):
                if until_ms is not None and event.recorded_ms > until_ms:
                    break
                if (event.version or 0) > after:
                    page.append(event)
        return tuple(page[: max(limit, 0)])

    def read_stream_back(self, stream: str, before: int | None = None, limit: int = 1000) -> Sequence[StoredEvent]:
        """See `sidestream.ports.EventStore`."""
        with self._lock:
            page = [event for event in self._tables.stream(stream) if before is None or (event.version or 0) < before]
        return tuple(page[::-1][: max(limit, 0)])

    def stream_version(self, stream: str) -> int:
        """See `sidestream.ports.EventStore`."""
        with self._lock:
            return self._tables.version(stream)

    def follow(self, after: int, limit: int = 1000) -> Sequence[StoredEvent]:
        """See `sidestream.ports.EventStore`."""
        begin = max(after, 0)
        with self._lock:
            return tuple(self._tables.events[begin : begin + max(limit, 0)])

    def read_topic(self, topic: str, start: int = 0, limit: int = 1000) -> Sequence[StoredEvent]:
        """See `sidestream.ports.EventStore`."""
        with self._lock:
            positions = self._tables.topics.get(topic, [])
            begin = bisect_left(positions, start)
            return self._tables.at(positions[begin : begin + max(limit, 0)])

    def read_topic_back(self, topic: str, before: int | None = None, limit: int = 1000) -> Sequence[StoredEvent]:
        """See `sidestream.ports.EventStore`."""
        with self._lock:
            positions = self._tables.topics.get(topic, [])
            end = len(positions) if before is None else bisect_left(positions, before)
            return self._tables.at(positions[:end][::-1][: max(limit, 0)])

    def count_topic(self, topic: str) -> int:
        """See `sidestream.ports.EventStore`."""
        with self._lock:
            return len(self._tables.topics.get(topic, ()))

    def topics(self) -> Sequence[str]:
        """See `sidestream.ports.EventStore`."""
        with self._lock:
            return tuple(sorted(self._tables.topics))

    # ── publishing ───────────────────────────────────────────────────────────────────────────────────────────────────

    def unpublished(self, topic: str, limit: int = 1000, after: int = 0) -> Sequence[StoredEvent]:
        """See `sidestream.ports.Outbox`."""
        with self._lock:
            begin = max(self._published[topic], after)
            return self._tables.at(self._tables.counted.get(topic, [])[begin : begin + max(limit, 0)])

    def mark_published(self, topic: str, sequence: int) -> None:
        """See `sidestream.ports.Outbox`."""
        with self._lock:
            self._published[topic] = max(self._published[topic], min(sequence, self._tables.count(topic)))

    def publish_again(self, topic: str, after: int) -> None:
        """See `sidestream.ports.Outbox`."""
        with self._lock:
            self._published[topic] = min(self._published[topic], max(after, 0))

    def backlog(self) -> Mapping[str, int]:
        """See `sidestream.ports.Outbox`."""
        with self._lock:
            return {topic: self._tables.count(topic) - self._published[topic] for topic in sorted(self._tables.topics)}

    # ── restored from a copy ─────────────────────────────────────────────────────────────────────────────────────────

    def adopt(self, topic: str, wires: Sequence[bytes]) -> int:
        """See `sidestream.ports.Restorable`. An event that the store has under the same number is passed over."""
        with self._lock:
            fresh = MemoryAdoption(self._tables, topic)
            envelopes = [read_adopted(wire, self._producer) for wire in wires]
            for envelope, wire in zip(envelopes, wires, strict=True):
                fresh.take(envelope, wire, self._clock_ms())
            for event in fresh.events:
                self._tables.keep(event, ADOPTED)
            for envelope in envelopes:  # what lies before it may be unpublished still, and is published first
                if envelope.number == self._published[topic] + 1:
                    self._published[topic] += 1
            return len(fresh.events)

    def begin_epoch(self) -> str:
        """See `sidestream.ports.Restorable`."""
        with self._lock:
            self._producer = next_epoch(self._producer)
            self._tables.count_anew(self._producer, self._published)
            self._published.clear()
            return self._producer

    def close(self) -> None:
        """Nothing to release; the events stay."""
