"""A log as it stood at some moment: what was recorded later is not there.

A projector that reads it stops exactly there, whatever the size of its batches, and knows nothing of it.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

from sidestream.ports import EventLog, LogEntry, LogExtent, ReadsAhead

Later = Callable[[str, LogEntry], bool]
"""Tells whether an entry of a topic comes after the moment. Once it has been true, it stays true."""


class LogUntil:
    """See `sidestream.ports.EventLog`. Reads of another log, cut at the first entry that is later."""

    def __init__(self, log: EventLog, later: Later) -> None:
        self._log = log
        self._later = later

    def read(self, topic: str, start: str | None, limit: int) -> Sequence[LogEntry]:
        """See `sidestream.ports.EventLog`. The entry at `start` is there in any case: it has been read before."""
        entries = self._log.read(topic, start, limit)
        if not entries or not self._later(topic, entries[-1]):
            return entries
        cut = bisect_left(entries, 1, key=lambda entry: int(self._later(topic, entry)))
        return entries[: max(cut, 1 if entries[0].position == start else 0)]

    def announce(self, topic: str, start: str | None, limit: int) -> None:
        """See `sidestream.ports.ReadsAhead`."""
        if isinstance(self._log, ReadsAhead):
            self._log.announce(topic, start, limit)

    def read_back(self, topic: str, before: str | None, limit: int) -> Sequence[LogEntry]:
        """See `sidestream.ports.EventLog`."""
        return [entry for entry in self._log.read_back(topic, before, limit) if not self._later(topic, entry)]

    def extent(self, topic: str) -> LogExtent:
        """See `sidestream.ports.EventLog`. Of the whole log."""
        return self._log.extent(topic)

    def compare(self, left: str, right: str) -> int:
        """See `sidestream.ports.EventLog`."""
        return self._log.compare(left, right)

    def close(self) -> None:
        """See `sidestream.ports.EventLog`."""
        self._log.close()


def after_positions(log: EventLog, last: Mapping[str, str | None]) -> Later:
    """Stop each topic after a position, inclusive; None: before its first entry; a topic that is not named has no end."""

    def later(topic: str, entry: LogEntry) -> bool:
        if topic not in last:
            return False
        position = last[topic]
        return position is None or log.compare(entry.position, position) > 0

    return later


def after_time(milliseconds: int) -> Later:
    """Stop each topic before the first entry that was recorded later than this (ms since 1970)."""
    return lambda _, entry: entry.recorded_ms > milliseconds


def first_of(one: Later, other: Later) -> Later:
    """Stop where the first of two would."""
    return lambda topic, entry: one(topic, entry) or other(topic, entry)
