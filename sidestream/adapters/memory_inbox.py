"""The inbox log in memory: plain Python, the specification of the port."""

import threading
from collections import defaultdict
from collections.abc import Sequence

from sidestream.adapters.memory_log import MemoryLog
from sidestream.logs.inbox import Arrival, fresh
from sidestream.ports import LogExtent


class MemoryInbox(MemoryLog):
    """A memory log that takes each entry once.

    Args:
        began_late: whether events were published before it that it never got.
    """

    def __init__(self, *, began_late: bool = False) -> None:
        super().__init__()
        self._began_late = began_late
        self._places: defaultdict[str, dict[bytes, int]] = defaultdict(dict)
        self._appending = threading.Lock()

    def append(self, topic: str, arrivals: Sequence[Arrival]) -> int:
        """See `sidestream.logs.inbox.Inbox`."""
        with self._appending:
            places = self._places[topic]
            new = fresh(arrivals, set(places))
            begin = int(self.extent(topic).last or self.extent(topic).trimmed_to or 0) + 1
            places.update((arrival.identity, begin + at) for at, arrival in enumerate(new))
            self.record(topic, [arrival.wire for arrival in new])
        return len(new)

    def trim(self, topic: str, upto: str) -> None:
        """See `sidestream.logs.inbox.Inbox`."""
        with self._appending:
            super().trim(topic, upto)
            self._places[topic] = {identity: place for identity, place in self._places[topic].items() if place > int(upto)}

    def flush(self, topic: str) -> None:
        """Lose the topic, and what is known of it."""
        with self._appending:
            super().flush(topic)
            self._places[topic].clear()

    def extent(self, topic: str) -> LogExtent:
        """See `sidestream.ports.EventLog`."""
        found = super().extent(topic)
        return LogExtent(found.first, found.last, found.trimmed_to, found.length, began_late=self._began_late)
