"""What a store has published on a topic, number by number, and which of it was met in a log.

A producer's numbers are gapless per topic, so that the place in an array is the number and nothing needs a key: 8 bytes an event.
Ids are kept as their hash of this process, 64 bits: two of them are told apart but for one time in 10^18.
What counts is the first event under a number, as it does for a projection. Knows the ports only.
"""

from array import array
from collections.abc import Iterator
from itertools import takewhile
from typing import Final

from sidestream.event import Envelope, decode_event
from sidestream.ports import ServiceStore, StoredEvent

_PAGE: Final = 1000
_NAMED: Final = 10
_NO_IDS: Final = array("q")
_MET: Final = 0
"""The number's event stands in the log."""
_TAKEN: Final = 1
"""Another event stands there under the number."""


def stored_events(store: ServiceStore, topic: str) -> Iterator[StoredEvent]:
    """Yield all events of a topic in commit order."""
    position = 0
    while page := store.read_topic(topic, position, _PAGE):
        yield from page
        position = page[-1].position + 1


class PublishedNumbers:
    """The numbers that a store had marked as published on a topic when this was made; a log that is read after that must have them.

    Attributes:
        stored: how many they are.
        strangers: events of other ids that were met under them, the first ten.
    """

    def __init__(self, store: ServiceStore, topic: str) -> None:
        self.stored = 0
        self.strangers: list[str] = []
        self._store = store
        self._topic = topic
        self._upto = _published_upto(store, topic)
        self._ids: dict[str, array[int]] = {}
        for event in self.events():
            self._expect(_producer(event), event)

    def events(self) -> Iterator[StoredEvent]:
        """Yield the events in commit order, from the store."""
        return takewhile(lambda event: event.position <= self._upto, stored_events(self._store, self._topic))

    def _expect(self, producer: str, event: StoredEvent) -> None:
        ids = self._ids.setdefault(producer, array("q"))
        while len(ids) < event.sequence - 1:  # a store has no holes; what is none of its numbers is not missed
            ids.append(_MET)
        ids.append(_hashed(event.event_id))
        self.stored += 1

    def meet(self, envelope: Envelope) -> bool:
        """Take an event of the log into account; return whether it is the first occurrence of a published one."""
        ids = self._ids.get(envelope.producer or "", _NO_IDS)
        if envelope.number > len(ids) or ids[envelope.number - 1] in (_MET, _TAKEN):
            return False
        is_ours = ids[envelope.number - 1] == _hashed(envelope.id)
        ids[envelope.number - 1] = _MET if is_ours else _TAKEN
        if not is_ours and len(self.strangers) < _NAMED:
            self.strangers.append(f"{envelope.producer} {envelope.number}: {envelope.id}")
        return is_ours

    def was_met(self, event: StoredEvent) -> bool:
        """Whether one of the store's events stands in the log."""
        ids = self._ids.get(_producer(event), _NO_IDS)
        return event.sequence <= len(ids) and ids[event.sequence - 1] == _MET

    def newest_met(self, stream: str, after: int) -> int:
        """Return the highest version of a stream that was met, asked of the store; `after` where none is higher than that."""
        before: int | None = None
        while page := self._store.read_stream_back(stream, before, _PAGE):
            for event in page:
                before = event.version or 0
                if before <= after:
                    return after
                if event.topic == self._topic and self.was_met(event):
                    return before
        return after

    @property
    def missing(self) -> int:
        """How many were not met."""
        return sum(len(ids) - ids.count(_MET) for ids in self._ids.values())

    def missing_ranges(self) -> Iterator[tuple[str, int, int]]:
        """Yield what was not met: a producer, and the first and the last of some numbers in a row; in commit order."""
        for producer, ids in self._ids.items():
            first = 0
            for number, found in enumerate(ids, start=1):
                if found == _MET and first:
                    yield producer, first, number - 1
                first = 0 if found == _MET else first or number
            if first:
                yield producer, first, len(ids)

    def count_before(self, producer: str, number: int) -> int:
        """Return how many were published before a number."""
        older = takewhile(lambda each: each != producer, self._ids)
        return sum(len(self._ids[each]) for each in older) + number - 1


def _published_upto(store: ServiceStore, topic: str) -> int:
    """Return the position of the last event that is marked as published, or less; the marks of a topic grow in commit order."""
    newest = store.read_topic_back(topic, None, 1)  # looked up first: what is published meanwhile is left out
    waiting = store.unpublished(topic, 1)
    if waiting:
        return waiting[0].position - 1
    return newest[0].position if newest else 0


def _producer(event: StoredEvent) -> str:
    return decode_event(event.wire).producer or ""


def _hashed(event_id: str) -> int:
    return hash(event_id) | 2  # neither of the two marks
