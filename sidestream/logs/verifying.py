"""A store held against the log: does everything stand there that the store has published, once at least and in order?

After a flush, a restore or a power cut of the broker events are missing in the log that the store still has. What is found is
said number by number; what can be done is one of two: the relay sends the end again, or the topic is written anew in
count order (`rewriting`). Nothing is ever appended behind what came after it in its stream. Knows the ports only.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from sidestream.errors import UnreadableEvent
from sidestream.event import Envelope, decode_event
from sidestream.ports import EventLog, LogEntry, ServiceStore, StoredEvent
from sidestream.publishing.track import SPAN

_PAGE: Final = 1000
SHOWN: Final = 10
"""Ranges and names that a finding lists; the rest is counted."""


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
    seen = _Seen(store.producer)
    for entry in entries_of(log, topic):
        seen.note(entry.data)
    return msgspec.structs.replace(seen.against(store, topic), gone_upto=log.extent(topic).trimmed_to)


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


def stored_events(store: ServiceStore, topic: str) -> Iterator[StoredEvent]:
    """Yield all events of a topic in commit order."""
    position = 0
    while page := store.read_topic(topic, position, _PAGE):
        yield from page
        position = page[-1].position + 1


class _Seen:
    """The events of one store's producers that were met in the log: whose number has which id."""

    def __init__(self, producer: str) -> None:
        self._family = producer.partition(".")[0]
        self._mark = self._family.encode()
        self._ids: dict[tuple[str, int], str] = {}
        self._versions: dict[str, int] = {}
        self._disordered = 0

    def note(self, wire: bytes) -> None:
        """Take an entry into account if one of this store's producers counted it."""
        if self._mark not in wire:
            return
        try:
            envelope = decode_event(wire)
        except UnreadableEvent:
            return
        if envelope.producer and envelope.producer.partition(".")[0] == self._family:
            self._note_first(envelope, (envelope.producer, envelope.number))

    def _note_first(self, envelope: Envelope, place: tuple[str, int]) -> None:
        if place in self._ids:
            return
        self._ids[place] = envelope.id
        version = envelope.streamversion
        if version is None:
            return
        self._disordered += version < self._versions.get(envelope.stream, 0)
        self._versions[envelope.stream] = max(version, self._versions.get(envelope.stream, 0))

    def against(self, store: ServiceStore, topic: str) -> Verified:
        """Compare with what the store has."""
        waiting, found = _unpublished(store, topic), _Found(store.producer)
        for event in stored_events(store, topic):
            if event.position not in waiting:
                envelope = decode_event(event.wire)
                found.note(event, envelope, self._ids.get((envelope.producer or "", event.sequence)))
        send_after = found.send_after()
        return Verified(
            topic=topic,
            stored=found.stored,
            found=found.stored - len(found.missing),
            missing=_ranges(found.missing)[:SHOWN],
            only_the_end=send_after is not None,
            send_after=send_after,
            strangers_number=tuple(found.strangers[:SHOWN]),
            disordered=self._disordered,
        )


class _Found:
    """What of a store stands in its log, event by event in commit order."""

    def __init__(self, producer: str) -> None:
        self.stored = 0
        self.missing: list[StoredEvent] = []
        self.strangers: list[str] = []
        self._producer = producer
        self._broken: set[str] = set()
        self._in_between = False

    def note(self, event: StoredEvent, envelope: Envelope, id_found: str | None) -> None:
        """Take the next event into account, and the id that stands under its number."""
        self.stored += 1
        subject = envelope.subject if event.ordered else None
        if id_found == event.event_id:
            self._in_between = self._in_between or subject in self._broken
            return
        self.missing.append(event)
        if subject:
            self._broken.add(subject)
        if id_found is not None:
            self.strangers.append(f"{envelope.producer} {event.sequence}: {id_found}")
        # numbers of an older epoch are not the relay's any more
        self._in_between = self._in_between or envelope.producer != self._producer

    def send_after(self) -> int | None:
        """Return the number after which all is to be sent again, None where a later event of a stream would stand before."""
        if not self.missing or self.strangers or self._in_between or self.stored - self.missing[0].sequence > SPAN:
            return None
        return self.missing[0].sequence - 1


def _unpublished(store: ServiceStore, topic: str) -> Mapping[int, None]:
    """Return the positions of what the relay has still to send."""
    waiting, after = dict[int, None](), 0
    while page := store.unpublished(topic, _PAGE, after):
        waiting.update((event.position, None) for event in page)
        after = page[-1].sequence
    return waiting


def _ranges(events: list[StoredEvent]) -> tuple[tuple[int, int], ...]:
    """Return the numbers of events as ranges."""
    ranges: list[tuple[int, int]] = []
    for event in events:
        if ranges and ranges[-1][1] + 1 == event.sequence:
            ranges[-1] = (ranges[-1][0], event.sequence)
        else:
            ranges.append((event.sequence, event.sequence))
    return tuple(ranges)
