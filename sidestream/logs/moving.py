"""A log moved to another broker: its topics copied in order, read back, and held against where they came from.

Every entry is copied as it stands, repeats and what cannot be read too. What is compared are first occurrences, as a projection
counts them: their number and a digest over attributes and data, in order. A killed move goes on where it was: what the
other broker has already must be a beginning of this log. Only moves forward, so that what is added meanwhile is copied by
the next look. Memory is flat in events (strangers' ids are kept, 16 bytes each). Knows the ports only.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

import msgspec

from sidestream.applying.intervals import Intervals
from sidestream.errors import ConfigurationError, LogsDiffer, LogUnavailable, UnreadableEvent
from sidestream.event import Envelope, decode_event
from sidestream.logs.portions import portions
from sidestream.ports import EventLog, LogEntry

_FIRST_ENTRIES: Final = 500
_MOST_ENTRIES: Final = 5000
_READ_BYTES: Final = 8 * 1024 * 1024
_READ_BACK_SECONDS: Final = 10.0
"""A follower that answers reads may lag behind what was confirmed."""


class LogWriter(Protocol):
    """Writes entries into a log as a sidecar would."""

    def append(self, topic: str, wires: Sequence[bytes]) -> None:
        """Add entries at the end of a topic, in order. When it returns all of them are confirmed.

        Raises:
            LogUnavailable: a beginning of them may stand there, and never one behind another that is missing.
        """
        ...

    def close(self) -> None:
        """Disconnect."""
        ...


class Summed(msgspec.Struct, frozen=True):
    """The first occurrences of a topic: how many, how many entries cannot be read, and a digest over all of them in order."""

    events: int
    unreadable: int
    digest: str


class Moved(msgspec.Struct, frozen=True):
    """A topic that stands in both logs.

    Attributes:
        entries: what was copied by this mover, repeats included.
        there_before: first occurrences that an earlier, killed move had copied.
    """

    topic: str
    entries: int
    there_before: int
    summed: Summed


Show = Callable[[int, int], None]


class Move:
    """Topics on their way from one log to another. Call `begin` once, `copy` as often as you like, and `verified` when nobody writes."""

    def __init__(self, source: EventLog, target: EventLog, writer: LogWriter, topics: Sequence[str]) -> None:
        self._topics = [_Topic(topic, source, target, writer) for topic in topics]

    def begin(self, *, although_trimmed: bool = False) -> None:
        """Hold what stands in the target already against the source.

        Raises:
            ConfigurationError: it is not a beginning of the source, or the source's own beginning is gone.
        """
        for topic in self._topics:
            topic.begin(although_trimmed=although_trimmed)

    def copy(self, show: Show = lambda done, total: None) -> int:
        """Copy what stands in the source now and was not copied, and read it back; return how many entries."""
        total = sum(topic.length() for topic in self._topics)
        done, copied = sum(topic.source.entries for topic in self._topics), 0
        for topic in self._topics:
            for entries in topic.copy():
                copied += entries
                show(done + copied, total)
        return copied

    def verified(self) -> list[Moved]:
        """Compare all that was copied.

        Raises:
            LogsDiffer: the target holds something else.
        """
        return [topic.verified() for topic in self._topics]


class _Topic:
    """One topic in both logs."""

    def __init__(self, topic: str, source: EventLog, target: EventLog, writer: LogWriter) -> None:
        self.source = _Side(source, topic)
        self._target = _Side(target, topic)
        self._topic = topic
        self._writer = writer
        self._copied = 0
        self._there_before = 0

    def length(self) -> int:
        """Return how many entries the source has now."""
        return self.source.log.extent(self._topic).length

    def begin(self, *, although_trimmed: bool) -> None:
        """Go through what is there already, in step with the source."""
        gone = self.source.log.extent(self._topic).trimmed_to
        if gone is not None and not although_trimmed:
            raise ConfigurationError(
                f"topic {self._topic}: expected a whole log, found that entries up to {gone} are gone: a read model that is rebuilt "
                "later would not know that its history begins there. Move what is left with --trimmed."
            )
        ours = self.source.firsts()
        for theirs in self._target.firsts():
            if next(ours, None) != theirs:
                raise ConfigurationError(
                    f"topic {self._topic}: expected it empty in the other broker, or as an interrupted move left it, found at "
                    f"{self._target.position} what does not stand at that place of this log. "
                    "Delete the topic there, or name another broker."
                )
        self._there_before = self._target.events

    def copy(self) -> Iterator[int]:
        """Copy what is new, a part at a time; yield how many entries were copied and read back."""
        for wires in portions(self.source.more()):
            self._writer.append(self._topic, wires)
            self._copied += len(wires)
            yield len(wires)
            _all_of(self._target)

    def verified(self) -> Moved:
        """Return both sides' sum, if it is one."""
        until = time.monotonic() + _READ_BACK_SECONDS
        while True:
            _all_of(self._target)
            if self.source.summed() == self._target.summed():
                return Moved(self._topic, self._copied, self._there_before, self.source.summed())
            if self._target.events >= self.source.events or time.monotonic() > until:
                raise LogsDiffer(
                    f"topic {self._topic}: expected {self.source.summed()} as in the old log, found {self._target.summed()} in the other "
                    "broker. Somebody else writes there, or it has lost something. Nothing was switched. "
                    "Delete the topic there and try again."
                )
            time.sleep(0.05)


class _Side:
    """A topic of one log, read on and on; its first occurrences summed."""

    def __init__(self, log: EventLog, topic: str) -> None:
        self.log = log
        self.position: str | None = None
        self.entries = self.events = self._unreadable = 0
        self._topic = topic
        self._limit = _FIRST_ENTRIES
        self._numbers: dict[str, Intervals] = {}
        self._strangers: set[bytes] = set()
        self._digest = hashlib.blake2b(digest_size=16)

    def summed(self) -> Summed:
        """Return the sum of what has been read."""
        return Summed(self.events, self._unreadable, self._digest.hexdigest())

    def firsts(self) -> Iterator[bytes]:
        """Yield what stands for each first occurrence that was not read yet."""
        for _, first in self._read():
            if first:
                yield first

    def more(self) -> Iterator[bytes]:
        """Yield every entry that was not read yet."""
        for wire, _ in self._read():
            yield wire

    def _read(self) -> Iterator[tuple[bytes, bytes]]:
        while page := self._page():
            for entry in page:
                self.position = entry.position
                self.entries += 1
                yield entry.data, self._noted(entry.data)

    def _page(self) -> Sequence[LogEntry]:
        goes_on = self.position is not None
        page = self.log.read(self._topic, self.position, self._limit + goes_on)
        if goes_on and (not page or page[0].position != self.position):
            raise LogUnavailable(f"topic {self._topic}: expected an entry at {self.position}, found the topic made anew. Try again.")
        if page:
            average = sum(len(entry.data) for entry in page) // len(page) + 1
            self._limit = min(max(_READ_BYTES // average, 1), _MOST_ENTRIES)
        return page[1:] if goes_on else page

    def _noted(self, wire: bytes) -> bytes:
        """Add an entry to the sum; return what stands for it, or nothing for a repeat."""
        try:
            envelope = decode_event(wire)
        except UnreadableEvent:
            self._unreadable += 1
            first = _hashed(wire)
        else:
            if not self._is_new(envelope):
                return b""
            self.events += 1
            first = _hashed(msgspec.json.encode(envelope))
        self._digest.update(first)
        return first

    def _is_new(self, envelope: Envelope) -> bool:
        if envelope.producer:
            return self._numbers.setdefault(envelope.producer, Intervals()).add(envelope.number)
        known = len(self._strangers)
        self._strangers.add(_hashed(msgspec.json.encode((envelope.source, envelope.id))))
        return len(self._strangers) > known


def _hashed(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _all_of(side: _Side) -> None:
    for _ in side.more():
        pass
