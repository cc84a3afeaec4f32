"""The end of a store beside the end of the log: a store restored from a copy lacks what stands in the log already.

If it went on counting from there, numbers and versions would be given twice. So before its first append after a start, and
when a relay takes over, the events of this very producer that the log has and the store lacks are adopted by the store.
Knows the ports only. Reads backwards, at most `LOOK_BACK` entries a topic.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import structlog

from sidestream.errors import UnreadableEvent
from sidestream.event import decode_event
from sidestream.ports import EventLog, ServiceStore
from sidestream.publishing.track import SPAN
from sidestream.writing.restoring import is_same

LOOK_BACK: Final = 100_000
"""Entries of a topic that are looked at: others may have published there since this store did."""
COMPARED: Final = 500
"""Events that both have which are held against each other."""
_PAGE: Final = 1000

_log = structlog.get_logger(__name__)


def adopt_tail(store: ServiceStore, log: EventLog, topics: Iterable[str]) -> int:
    """Store what stands in the log of these topics and the store's own, under the store's producer, and is missing; return how many.

    Raises:
        EventConflict: a number, a version or an id is stored with other content: the store was used after it was restored.
        UnreadableEvent: the log lacks some of those between.
        LogUnavailable, StoreAway: nothing happened; try again.
    """
    adopted = 0
    for topic in sorted({*topics, *store.topics()}):
        newest = _newest(store, log, topic)
        lacked = store.adopt(topic, [newest[number] for number in sorted(newest)]) if newest else 0
        if lacked:
            _log.warning("store: lacked events that stand in the log, has adopted them", topic=topic, events=lacked)
        adopted += lacked
    return adopted


def count_anew(store: ServiceStore, log: EventLog) -> str:
    """Begin an epoch for a store that cannot adopt, and return the new producer. Its service must not be running.

    Its events that stand in the log, as its own under the same number, are marked as published first. A confirmation may not have
    been noted when the copy was taken, and what is not marked goes out once more under a new number: a fact would count twice.

    Raises:
        LogUnavailable, StoreAway: no epoch has begun; try again.
    """
    for topic in store.topics():
        _mark_what_stands(store, log, topic)
    return store.begin_epoch()


def _mark_what_stands(store: ServiceStore, log: EventLog, topic: str) -> None:
    """Mark what stands in the log of what is not marked, up to the first event that does not."""
    first = next((event.sequence for event in store.unpublished(topic, 1)), None)
    if first is None:
        return
    standing = {}
    for number, wire in _own_backwards(log, topic, store.producer):
        if number <= first - SPAN:
            break
        standing[number] = wire
    marked = first - 1
    while events := store.unpublished(topic, _PAGE, marked):
        for event in events:
            found = standing.get(event.sequence)
            if found is None or not is_same(decode_event(found), event.wire):
                store.mark_published(topic, marked)
                return
            marked = event.sequence
    store.mark_published(topic, marked)


def _newest(store: ServiceStore, log: EventLog, topic: str) -> dict[int, bytes]:
    """Return the wires of this producer above the store's count, and the last ones it has: they must be the same events."""
    count, found = last_count(store, topic), dict[int, bytes]()
    for number, wire in _own_backwards(log, topic, store.producer):
        if number > count - COMPARED:
            found[number] = wire
        elif number <= count - SPAN:  # nothing above the count lies before it: a relay's events are at most so far apart
            break
    return found


def last_count(store: ServiceStore, topic: str) -> int:
    """Return the highest number that the store's present producer gave on a topic, 0 where it gave none."""
    for stored in store.read_topic_back(topic, None, 1):
        return stored.sequence if decode_event(stored.wire).producer == store.producer else 0
    return 0


def _own_backwards(log: EventLog, topic: str, producer: str) -> Iterator[tuple[int, bytes]]:
    """Yield number and wire of this producer's entries, newest first."""
    mark, before = producer.encode(), None
    for _ in range(LOOK_BACK // _PAGE):
        page = log.read_back(topic, before, _PAGE)
        for entry in page:
            if mark in entry.data and (number := _own_number(entry.data, producer)):
                yield number, entry.data
        if len(page) < _PAGE:
            return
        before = page[-1].position


def _own_number(wire: bytes, producer: str) -> int:
    try:
        envelope = decode_event(wire)
    except UnreadableEvent:
        return 0
    return envelope.number if envelope.producer == producer else 0
