"""What reads a log by position."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec


class LogEntry(msgspec.Struct, frozen=True, gc=False):
    """One entry: its position as the log writes it, the bytes as they came, and when it was recorded (ms since 1970)."""

    position: str
    data: bytes
    recorded_ms: int


@runtime_checkable
class Wires(Protocol):
    """Entries that were read without making an object of each; what `read` returns may be such a sequence."""

    wires: Sequence[bytes]


def wires_of(entries: Sequence[LogEntry]) -> Sequence[bytes]:
    """Return the bytes of entries."""
    return entries.wires if isinstance(entries, Wires) else [entry.data for entry in entries]


@runtime_checkable
class ReadsAhead(Protocol):
    """A log that can be told what will be read next, so that the broker works while the last entries are applied."""

    def announce(self, topic: str, start: str | None, limit: int) -> None:
        """Ask for what `read` with the same arguments will return soon. Never raises; may do nothing."""
        ...


@runtime_checkable
class SeeksTime(Protocol):
    """A log that knows where a time begins without looking at what stands before it."""

    def position_at(self, topic: str, recorded_ms: int) -> str:
        """Return a position at or before the first entry recorded then or later; nothing needs to stand there."""
        ...


class LogExtent(msgspec.Struct, frozen=True):
    """What a log holds of one topic.

    Attributes:
        first, last: the oldest and the newest position, None when it is empty.
        trimmed_to: the newest position known to have been removed, None when nothing was.
        length: how many entries there are.
        identity: something that another log of the same name would not have; empty where the broker has nothing.
        began_late: whether events were published before its first one that it never had.
    """

    first: str | None
    last: str | None
    trimmed_to: str | None
    length: int
    identity: str = ""
    began_late: bool = False


class EventLog(Protocol):
    """All events of a topic in recorded order. A topic nobody has written to is an empty one. Safe to call from threads.

    Every method raises LogUnavailable when the log cannot be read now.
    """

    def read(self, topic: str, start: str | None, limit: int) -> Sequence[LogEntry]:
        """Return up to `limit` entries from position `start` on, *including* it; None: from the beginning."""
        ...

    def read_back(self, topic: str, before: str | None, limit: int) -> Sequence[LogEntry]:
        """Return up to `limit` entries before position `before`, newest first; None: from the end."""
        ...

    def extent(self, topic: str) -> LogExtent:
        """Return what the log holds of this topic now."""
        ...

    def compare(self, left: str, right: str) -> int:
        """Return a number below, at or above zero as `left` stands before, at or after `right`."""
        ...

    def close(self) -> None:
        """Release the connection."""
        ...
