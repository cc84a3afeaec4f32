"""A store held against the log: does everything stand there that the store has published, once at least and in order?

After a flush, a restore or a power cut of the broker events are missing in the log that the store still has. What is found is
said number by number; what can be done is one of two: the relay sends the end again, or the topic is written anew in
count order (`rewriting`). Nothing is ever appended behind what came after it in its stream. The store is read first: what a relay publishes
meanwhile is not missed. Memory grows by 8 bytes an event (`published_numbers`). Knows the ports only.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec

from sidestream.errors import UnreadableEvent
from sidestream.event import Envelope, decode_event
from sidestream.logs.published_numbers import PublishedNumbers
from sidestream.logs.stream_order import StreamOrder
from sidestream.ports import EventLog, LogEntry, ServiceStore
from sidestream.publishing.track import SPAN

_PAGE: Final = 1000
_SHOWN: Final = 10
"""Ranges that a finding lists; the rest is counted."""


class Verified(msgspec.Struct, frozen=True):
    """What a topic's log has of a store.

    Attributes:
        topic: the topic.
        stored: events that the store has marked as published.
        found: those of them that stand in the log.
        missing: ranges of numbers (first, last) whose events do not, the first ten.
        only_the_end: whether no later event of a stream that misses some stands in the log, and it is not long ago: then all
            from the first missing one on can be sent again.
        send_after: the number after which events are sent again; None where that is no remedy.
        strangers_number: events in the log under a number of the store, but with another id: the store was restored and used.
        disordered: events that stand behind a later one of their stream.
        gone_upto: the newest position that the log knows to be gone; a reader that stands before it goes no further.
    """

    topic: str
    stored: int
    found: int
    missing: tuple[tuple[int, int], ...]
    only_the_end: bool
    send_after: int | None
    strangers_number: tuple[str, ...]
    disordered: int
    gone_upto: str | None = None

    @property
    def whole(self) -> bool:
        """Whether there is nothing to repair."""
        return self.found == self.stored and not self.strangers_number and not self.disordered


def verify_topic(store: ServiceStore, log: EventLog, topic: str) -> Verified:
    """Compare what the store has published on a topic with what stands in the log. Reads both from the beginning."""
    published = PublishedNumbers(store, topic)
    order = StreamOrder(published.newest_met)
    for envelope in _counted_by(store.producer, log, topic):
        if published.meet(envelope):
            order.note(envelope)
    send_after = None if published.strangers else _send_after(store.producer, published)
    return Verified(
        topic=topic,
        stored=published.stored,
        found=published.stored - published.missing,
        missing=tuple((first, last) for _, first, last in islice(published.missing_ranges(), _SHOWN)),
        only_the_end=send_after is not None,
        send_after=send_after,
        strangers_number=tuple(published.strangers),
        disordered=order.disordered,
        gone_upto=log.extent(topic).trimmed_to,
    )


def entries_of(log: EventLog, topic: str, start: str | None = None) -> Iterator[LogEntry]:
    """Yield the entries of a topic in order, from a position on, up to the one that is the last now, and few behind it."""
    last = log.extent(topic).last
    page = log.read(topic, start, _PAGE)
    while page and last is not None:
        yield from page
        position = page[-1].position
        if log.compare(position, last) >= 0:
            return
        page = log.read(topic, position, _PAGE)
        page = page[1:] if page and page[0].position == position else page


def _counted_by(producer: str, log: EventLog, topic: str) -> Iterator[Envelope]:
    """Yield the events of the log that a store counted, in whatever epoch."""
    family = producer.partition(".")[0]
    mark = family.encode()
    for entry in entries_of(log, topic):
        if mark not in entry.data:
            continue
        try:
            envelope = decode_event(entry.data)
        except UnreadableEvent:
            continue
        if (envelope.producer or "").partition(".")[0] == family:
            yield envelope


def _send_after(producer: str, published: PublishedNumbers) -> int | None:
    """Return the number after which all is to be sent again, None where a later event of a stream would stand before."""
    counted_by, first, _ = next(published.missing_ranges(), ("", 0, 0))
    if counted_by != producer:  # nothing is missing, or numbers of an older epoch, which are not the relay's any more
        return None
    before, broken = published.count_before(producer, first), set[str]()
    if published.stored - before > SPAN:
        return None
    for event in islice(published.events(), before, None):
        subject = decode_event(event.wire).subject if event.ordered else None
        if published.was_met(event):
            if subject in broken:
                return None
        elif subject:
            broken.add(subject)
    return first - 1
