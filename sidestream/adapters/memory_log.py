"""The event log and the publisher in memory: plain Python, the specification of both ports.

Positions are the numbers 1, 2, 3 … as text. A publish rings whoever registered, as a sidecar would deliver.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from sidestream.identifiers import milliseconds
from sidestream.ports import LogEntry, LogExtent, Outgoing

Bell = Callable[[str], None]


class MemoryLog:
    """All topics in lists. One instance is one log; give the same one to publishers and projectors."""

    def __init__(self, clock_ms: Callable[[], int] = milliseconds) -> None:
        self._entries: defaultdict[str, list[LogEntry]] = defaultdict(list)
        self._trimmed: defaultdict[str, int] = defaultdict(int)
        self._bells: defaultdict[str, list[Bell]] = defaultdict(list)
        self._lock = threading.Lock()
        self._clock_ms = clock_ms

    def record(self, topic: str, wires: Sequence[bytes]) -> None:
        """Add entries at the end and ring the bells of the topic."""
        with self._lock:
            entries = self._entries[topic]
            begin = self._trimmed[topic] + len(entries) + 1
            recorded_ms = self._clock_ms()
            entries.extend(LogEntry(str(begin + at), wire, recorded_ms) for at, wire in enumerate(wires))
        for bell in tuple(self._bells[topic]):
            bell(topic)

    def trim(self, topic: str, upto: str) -> None:
        """Forget every entry up to and including a position, as a broker would that has run out of room."""
        with self._lock:
            entries = self._entries[topic]
            cut = min(max(int(upto) - self._trimmed[topic], 0), len(entries))
            del entries[:cut]
            self._trimmed[topic] += cut

    def flush(self, topic: str) -> None:
        """Lose the topic and begin again at position 1: another log under the same name."""
        with self._lock:
            self._entries[topic].clear()
            self._trimmed[topic] = 0

    def rewrite(
        self,
        topic: str,
        wires: Iterable[bytes],
        keep: Callable[[bytes], bool] = lambda wire: False,
        may_write: Callable[[], None] = lambda: None,
    ) -> None:
        """See `sidestream.logs.rewriting.LogRewriter`. Positions begin at 1 again."""
        anew = list(wires)
        may_write()
        with self._lock:
            anew += [entry.data for entry in self._entries[topic] if keep(entry.data)]
            self._entries[topic].clear()
            self._trimmed[topic] = 0
        self.record(topic, anew)

    def on_delivery(self, topic: str, bell: Bell) -> None:
        """Call `bell(topic)` after every publish to the topic, in the publisher's thread."""
        self._bells[topic].append(bell)

    def read(self, topic: str, start: str | None, limit: int) -> Sequence[LogEntry]:
        """See `sidestream.ports.EventLog`."""
        with self._lock:
            at = 0 if start is None else max(int(start) - self._trimmed[topic] - 1, 0)
            return self._entries[topic][at : at + limit]

    def read_back(self, topic: str, before: str | None, limit: int) -> Sequence[LogEntry]:
        """See `sidestream.ports.EventLog`."""
        with self._lock:
            entries = self._entries[topic]
            end = len(entries) if before is None else min(max(int(before) - self._trimmed[topic] - 1, 0), len(entries))
            return entries[max(end - limit, 0) : end][::-1]

    def extent(self, topic: str) -> LogExtent:
        """See `sidestream.ports.EventLog`."""
        with self._lock:
            entries, trimmed = self._entries[topic], self._trimmed[topic]
            return LogExtent(
                first=entries[0].position if entries else None,
                last=entries[-1].position if entries else None,
                trimmed_to=str(trimmed) if trimmed else None,
                length=len(entries),
            )

    def compare(self, left: str, right: str) -> int:
        """See `sidestream.ports.EventLog`."""
        return int(left) - int(right)

    def close(self) -> None:
        """Nothing to release; the entries stay."""


class MemoryPublisher:
    """Publishes into a MemoryLog; confirms everything."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def publish(self, topic: str, events: Sequence[Outgoing]) -> Mapping[int, str]:
        """See `sidestream.ports.Publisher`."""
        self._log.record(topic, [event.wire for event in events])
        return {}

    async def close(self) -> None:
        """Nothing to release."""
