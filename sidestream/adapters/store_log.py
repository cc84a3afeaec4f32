"""The log of event stores themselves: every event in commit order, before any broker has seen it.

For a projection that stands beside its service's store, and for rebuilding when the broker's history is gone. A position is the
store's own, as text. A store forgets nothing, so nothing is ever trimmed. It knows the port of the store only.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sidestream.adapters.numbered_positions import compare, number_of
from sidestream.errors import LogUnavailable, ReadModelError
from sidestream.ports import EventStore, LogEntry, LogExtent, StoredEvent


class StoreLog:
    """The topics of one store, or of several that share no topic. Closes them when it is closed."""

    def __init__(self, *stores: EventStore) -> None:
        self._stores = stores
        self._keepers: dict[str, EventStore] = {}

    def read(self, topic: str, start: str | None, limit: int) -> Sequence[LogEntry]:
        """See `sidestream.ports.EventLog`."""
        begin = number_of(start or "0")
        with _readable(topic):
            store = self._keeper(topic)
            return [] if store is None else list(map(_entry, store.read_topic(topic, begin, limit)))

    def read_back(self, topic: str, before: str | None, limit: int) -> Sequence[LogEntry]:
        """See `sidestream.ports.EventLog`."""
        end = None if before is None else number_of(before)
        with _readable(topic):
            store = self._keeper(topic)
            return [] if store is None else list(map(_entry, store.read_topic_back(topic, end, limit)))

    def extent(self, topic: str) -> LogExtent:
        """See `sidestream.ports.EventLog`. The identity is the store's, whatever its epoch."""
        with _readable(topic):
            store = self._keeper(topic)
            if store is None:
                return LogExtent(first=None, last=None, trimmed_to=None, length=0)
            return LogExtent(
                first=next((str(event.position) for event in store.read_topic(topic, 0, 1)), None),
                last=next((str(event.position) for event in store.read_topic_back(topic, None, 1)), None),
                trimmed_to=None,
                length=store.count_topic(topic),
                identity=store.producer.rpartition(".")[0],
            )

    def compare(self, left: str, right: str) -> int:
        """See `sidestream.ports.EventLog`."""
        return compare(left, right)

    def close(self) -> None:
        """See `sidestream.ports.EventLog`."""
        for store in self._stores:
            store.close()

    def _keeper(self, topic: str) -> EventStore | None:
        """Return the store that has events of a topic; None where nobody has written to it."""
        if topic not in self._keepers:
            keepers = [store for store in self._stores if store.count_topic(topic)]
            if len(keepers) > 1:
                found = " and ".join(store.producer for store in keepers)
                raise LogUnavailable(
                    f"topic {topic}: expected one store that keeps it, found {found}. Their events have no common order: read each alone."
                )
            if not keepers:
                return None
            self._keepers[topic] = keepers[0]
        return self._keepers[topic]


@contextmanager
def _readable(topic: str) -> Iterator[None]:
    """Say in the words of the log what the store could not do."""
    try:
        yield
    except ReadModelError as error:
        raise LogUnavailable(f"topic {topic}: {error}") from error


def _entry(event: StoredEvent) -> LogEntry:
    return LogEntry(str(event.position), event.wire, event.recorded_ms)
