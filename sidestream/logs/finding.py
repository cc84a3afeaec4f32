"""Finds events in a log: the entries of several topics in the order they were recorded, and which of them are wanted.

Holds a page of each topic, however long the log is. Entries that are no events are found too, as long as nothing is asked
of an event that they cannot tell. A log has no index but, perhaps, for time: whatever is looked for, everything in the
stretch is looked at. Pure but for the port.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from sidestream.errors import UnreadableEvent
from sidestream.event import Envelope, decode_event
from sidestream.ports import EventLog, LogEntry, ReadsAhead, SeeksTime

PAGE: Final = 1000
_NOWHERE: Final[Mapping[str, str]] = MappingProxyType({})
Standing = tuple[str, LogEntry]
"""A topic, and an entry of it."""


class Stretch(msgspec.Struct, frozen=True):
    """Which part of a log; nothing said: all of it.

    Attributes:
        since_ms, until_ms: recorded then or later, then or earlier; milliseconds since 1970.
        since: topic → its first position.
        after: topic → the position before its first one.
        until: topic → its last position; None: nothing of it.
    """

    since_ms: int | None = None
    until_ms: int | None = None
    since: Mapping[str, str] = _NOWHERE
    after: Mapping[str, str] = _NOWHERE
    until: Mapping[str, str | None] = _NOWHERE


EVERYTHING: Final = Stretch()


class Wanted(msgspec.Struct, frozen=True):
    """What is asked of an event; empty: whatever it is.

    Attributes:
        types: its type is one of these.
        stream, source, correlation: equal to these.
    """

    types: frozenset[str] = frozenset()
    stream: str = ""
    source: str = ""
    correlation: str = ""

    @property
    def anything(self) -> bool:
        """Whether nothing is asked."""
        return not (self.types or self.stream or self.source or self.correlation)

    def matches(self, event: Envelope) -> bool:
        """Return whether an event is wanted."""
        return (
            (not self.types or event.type in self.types)
            and (not self.stream or event.stream == self.stream)
            and (not self.source or event.source == self.source)
            and (not self.correlation or event.correlationid == self.correlation)
        )


class Found(msgspec.Struct, frozen=True, gc=False):
    """An entry, where it stands, and the event that it is; None where it is none, and then why."""

    topic: str
    entry: LogEntry
    event: Envelope | None
    problem: str = ""


# ── what stands in the log ───────────────────────────────────────────────────────────────────────────────────────────


def recorded_order(log: EventLog, topics: Sequence[str], stretch: Stretch = EVERYTHING) -> Iterator[Standing]:
    """Give the entries of all topics, the oldest first; within a topic in the order of the log in any case."""
    return heapq.merge(*(_forward(log, topic, stretch) for topic in topics), key=_recorded)


def newest_first(log: EventLog, topics: Sequence[str], stretch: Stretch = EVERYTHING) -> Iterator[Standing]:
    """Give the entries of all topics the other way round, from the end."""
    return heapq.merge(*(_backward(log, topic, stretch) for topic in reversed(topics)), key=_recorded, reverse=True)


def entries_from(log: EventLog, topic: str, start: str | None) -> Iterator[LogEntry]:
    """Give the entries of a topic from a position on, including it, to the end; None: from the beginning."""
    page = log.read(topic, start, PAGE)
    while page:
        last = page[-1].position
        if len(page) >= PAGE and isinstance(log, ReadsAhead):
            log.announce(topic, last, PAGE)
        yield from page
        page = log.read(topic, last, PAGE)
        page = page[1:] if page and page[0].position == last else page


def _recorded(standing: Standing) -> int:
    return standing[1].recorded_ms


def _forward(log: EventLog, topic: str, stretch: Stretch) -> Iterator[Standing]:
    after = stretch.after.get(topic)
    for entry in entries_from(log, topic, after or _beginning(log, topic, stretch)):
        if _is_past(log, topic, entry, stretch):
            return
        if entry.position != after and (stretch.since_ms is None or entry.recorded_ms >= stretch.since_ms):
            yield topic, entry


def _beginning(log: EventLog, topic: str, stretch: Stretch) -> str | None:
    if topic in stretch.since or stretch.since_ms is None or not isinstance(log, SeeksTime):
        return stretch.since.get(topic)
    return log.position_at(topic, stretch.since_ms)


def _backward(log: EventLog, topic: str, stretch: Stretch) -> Iterator[Standing]:
    for entry in _entries_back(log, topic, stretch):
        if _is_before(log, topic, entry, stretch):
            return
        if stretch.until_ms is None or entry.recorded_ms <= stretch.until_ms:
            yield topic, entry


def _entries_back(log: EventLog, topic: str, stretch: Stretch) -> Iterator[LogEntry]:
    before = stretch.until.get(topic)
    if topic in stretch.until and before is None:
        return
    if before is not None:
        yield from (entry for entry in log.read(topic, before, 1) if entry.position == before)
    while page := log.read_back(topic, before, PAGE):
        yield from page
        before = page[-1].position


def _is_past(log: EventLog, topic: str, entry: LogEntry, stretch: Stretch) -> bool:
    if stretch.until_ms is not None and entry.recorded_ms > stretch.until_ms:
        return True
    if topic not in stretch.until:
        return False
    last = stretch.until[topic]
    return last is None or log.compare(entry.position, last) > 0


def _is_before(log: EventLog, topic: str, entry: LogEntry, stretch: Stretch) -> bool:
    if stretch.since_ms is not None and entry.recorded_ms < stretch.since_ms:
        return True
    if topic in stretch.since and log.compare(entry.position, stretch.since[topic]) < 0:
        return True
    return topic in stretch.after and log.compare(entry.position, stretch.after[topic]) <= 0


# ── what is wanted of it ─────────────────────────────────────────────────────────────────────────────────────────────


def as_found(standing: Standing) -> Found:
    """Read an entry; what is no event says why."""
    topic, entry = standing
    try:
        return Found(topic, entry, decode_event(entry.data))
    except UnreadableEvent as error:
        return Found(topic, entry, None, str(error))


def matching(standings: Iterable[Standing], wanted: Wanted) -> Iterator[Found]:
    """Give what is wanted, in the order given; an entry that is no event only where nothing is asked."""
    for found in map(as_found, standings):
        if wanted.anything or (found.event is not None and wanted.matches(found.event)):
            yield found
