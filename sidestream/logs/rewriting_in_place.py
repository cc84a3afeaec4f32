"""A topic written anew in the log that it stands in, for brokers where nothing can be renamed: behind, then without what was before.

    old 41 42 x 43              what stood there, x is somebody else's
    old 41 42 x 43 | x 1 … 43   written behind it, the first entry says that a log begins with it
                     x 1 … 43   everything before that entry is given up, in one step

Nothing is ever absent, so nobody's entry falls into a gap and no subscription ends. A kill before the last step leaves repeats
behind, which counts skip, and after it nothing is left to do. What was written is read back before anything is given up. Memory grows with
the entries of others only (a digest each). Knows the ports only.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, Protocol

from sidestream.errors import LogUnavailable, UnreadableEvent
from sidestream.event import decode_event
from sidestream.logs.portions import portions
from sidestream.logs.verifying import entries_of
from sidestream.ports import EventLog, LogEntry

_ROUNDS: Final = 5
"""How often the others' entries are copied before somebody who writes without a pause is named."""
_LOOK_SECONDS: Final = 0.05

Keep = Callable[[bytes], bool]


class LogEnds(Protocol):
    """A topic that is added to at its end, and given up at its beginning."""

    def begin(self, topic: str, wire: bytes) -> str:
        """Add an entry that says: where nothing stands before me, nothing is missing. Make the topic if need be; return the position.

        Raises:
            ConfigurationError: the beginning of this topic could not be given up.
            LogUnavailable: it may stand there or not.
        """
        ...

    def append(self, topic: str, wires: Sequence[bytes]) -> None:
        """Add entries in order; others may add theirs in between. Raises LogUnavailable: some of them may stand there."""
        ...

    def forget_before(self, topic: str, position: str) -> None:
        """Give up, in one step, everything that stands before a position. Raises LogUnavailable."""
        ...

    def close(self) -> None:
        """Disconnect."""
        ...


class InPlace:
    """See `sidestream.logs.rewriting.LogRewriter`."""

    def __init__(self, log: EventLog, ends: LogEnds, patience_seconds: float = 10.0) -> None:
        """`patience_seconds`: how long to wait until what was confirmed is read; a follower that answers may lag behind."""
        self._log = log
        self._ends = ends
        self._patience_seconds = patience_seconds

    def rewrite(self, topic: str, wires: Iterable[bytes], keep: Keep, may_write: Callable[[], None] = lambda: None) -> None:
        """See `sidestream.logs.rewriting.LogRewriter`."""
        first = next(chain(_kept(entries_of(self._log, topic), keep), wires), None)
        if first is None:
            return
        ends = _Asking(self._ends, may_write)
        beginning, others_end = self._copied(ends, topic, first, keep)
        ends.add(topic, wires)
        self._make_sure(topic, wires, others_end)
        ends.forget_before(topic, beginning)

    def close(self) -> None:
        """See `sidestream.logs.rewriting.LogRewriter`."""
        self._ends.close()

    def _copied(self, ends: "_Asking", topic: str, first: bytes, keep: Keep) -> tuple[str, str]:
        """Copy the others' entries behind a new beginning; return the beginning and the last position that was looked at.

        Others who write meanwhile may get a later event of a subject between, before the copy of its earlier one: then there
        is another beginning behind it. They are few where a store writes, so this is a moment.
        """
        for _ in range(_ROUNDS):
            beginning = ends.begin(topic, first)
            self._wait_for(topic, beginning)
            order = _Order()
            ends.add(topic, order.noted(_kept(self._before(topic, beginning), keep)))
            last = beginning
            for entry in entries_of(self._log, topic, beginning):
                last = entry.position
                if keep(entry.data):
                    order.meet(entry.data)
            if order.is_kept:
                return beginning, last
        raise LogUnavailable(
            f"topic {topic} was not written anew: expected a moment without others' events of the same subjects, found none in {_ROUNDS} "
            "attempts. Nothing is lost, some stand there once more. Stop whoever publishes there beside the store, and try again."
        )

    def _before(self, topic: str, position: str) -> Iterator[LogEntry]:
        for entry in entries_of(self._log, topic):
            if self._log.compare(entry.position, position) >= 0:
                return
            yield entry
        raise LogUnavailable(f"topic {topic}: expected to read up to {position}, found an end before it. Nothing is lost; try again.")

    def _wait_for(self, topic: str, position: str) -> None:
        until = time.monotonic() + self._patience_seconds
        while not self._log.read(topic, position, 1) and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)

    def _make_sure(self, topic: str, wires: Iterable[bytes], after: str) -> None:
        """Read back what was written: all of it stands there in order, whoever's stand between."""
        until = time.monotonic() + self._patience_seconds
        while True:
            is_last = time.monotonic() > until  # before the look, which may take longer than anybody waits
            if _stand_in_order(wires, entries_of(self._log, topic, after)):
                return
            if is_last:
                raise LogUnavailable(
                    f"topic {topic} was not written anew: expected to read back all that was written, found some of it missing. "
                    "Everything that stood there before still does. Try again."
                )
            time.sleep(_LOOK_SECONDS)


class _Asking:
    """Both ends of a topic, written to after asking whether that is still allowed."""

    def __init__(self, ends: LogEnds, may_write: Callable[[], None]) -> None:
        self._ends = ends
        self._may_write = may_write

    def begin(self, topic: str, wire: bytes) -> str:
        """See `LogEnds`."""
        self._may_write()
        return self._ends.begin(topic, wire)

    def add(self, topic: str, wires: Iterable[bytes]) -> None:
        """Append all of them, a portion at a time."""
        for portion in portions(wires):
            self._may_write()
            self._ends.append(topic, portion)

    def forget_before(self, topic: str, position: str) -> None:
        """See `LogEnds`."""
        self._may_write()
        self._ends.forget_before(topic, position)


class _Order:
    """Others' entries in the order in which they first stood, and whether they stand so again, subject by subject."""

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}
        self._copied = 0
        self._met: set[int] = set()
        self._newest: dict[str, int] = {}
        self._broken = False

    def noted(self, wires: Iterable[bytes]) -> Iterator[bytes]:
        """Yield what is to be copied: each once, in order."""
        for wire in wires:
            digest = _digest(wire)
            if digest not in self._places:
                self._places[digest] = len(self._places)
                self._copied += 1
                yield wire

    def meet(self, wire: bytes) -> None:
        """Take an entry into account that stands behind the new beginning."""
        place = self._places.setdefault(_digest(wire), len(self._places))
        if place in self._met:
            return
        self._met.add(place)
        if subject := _subject(wire):
            self._broken = self._broken or place < self._newest.get(subject, 0)
            self._newest[subject] = max(place, self._newest.get(subject, 0))

    @property
    def is_kept(self) -> bool:
        """Whether all that was copied was met, and no later event of a subject before an earlier one."""
        return not self._broken and self._met.issuperset(range(self._copied))


def _stand_in_order(wires: Iterable[bytes], entries: Iterable[LogEntry]) -> bool:
    expected = iter(wires)
    wanted = next(expected, None)
    for entry in entries:
        if entry.data == wanted:
            wanted = next(expected, None)
    return wanted is None


def _kept(entries: Iterable[LogEntry], keep: Keep) -> Iterator[bytes]:
    return (entry.data for entry in entries if keep(entry.data))


def _subject(wire: bytes) -> str | None:
    try:
        return decode_event(wire).subject
    except UnreadableEvent:
        return None


def _digest(wire: bytes) -> bytes:
    return hashlib.blake2b(wire, digest_size=16).digest()
