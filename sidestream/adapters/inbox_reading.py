"""Reads an inbox log that lies in a database, whichever: positions are the numbers 1, 2, 3 … of each topic, as text.

    topics    id, topic, last, trimmed                              one row each; whoever appends holds it
    entries   topic, position, identity, recorded_ms, data          removed from the front only

So the topic's row knows the whole extent. How a statement is run, and how anything is written, is the adapter's.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from sidestream.adapters.numbered_positions import compare, number_of
from sidestream.ports import LogEntry, LogExtent

_BEYOND_ALL: Final = 2**63 - 1
_ENTRIES: Final = "SELECT e.position, e.data, e.recorded_ms FROM entries e JOIN topics t ON t.id = e.topic"


class InboxReading(ABC):
    """The reading half of an inbox.

    Args:
        began_late: whether events were published before it that it never got.
    """

    mark: ClassVar[str]
    """What stands for a value in a statement."""

    def __init__(self, *, began_late: bool) -> None:
        self._began_late = began_late

    @property
    @abstractmethod
    def identity(self) -> str:
        """What this inbox is, and no other; known once it has been read."""

    @abstractmethod
    def _rows(self, statement: str, values: tuple[Any, ...]) -> Sequence[tuple[Any, ...]]:
        """Return what a statement finds; raises LogUnavailable."""

    def read(self, topic: str, start: str | None, limit: int) -> Sequence[LogEntry]:
        """See `sidestream.ports.EventLog`."""
        return self._entries(">=", "ASC", topic, number_of(start or "0"), limit)

    def read_back(self, topic: str, before: str | None, limit: int) -> Sequence[LogEntry]:
        """See `sidestream.ports.EventLog`."""
        return self._entries("<", "DESC", topic, _BEYOND_ALL if before is None else number_of(before), limit)

    def _entries(self, comparison: str, order: str, *values: Any) -> list[LogEntry]:
        where = f"WHERE t.topic = {self.mark} AND e.position {comparison} {self.mark}"
        rows = self._rows(f"{_ENTRIES} {where} ORDER BY e.position {order} LIMIT {self.mark}", values)
        return [LogEntry(str(position), data, recorded_ms) for position, data, recorded_ms in rows]

    def extent(self, topic: str) -> LogExtent:
        """See `sidestream.ports.EventLog`."""
        found = self._rows(f"SELECT last, trimmed FROM topics WHERE topic = {self.mark}", (topic,))  # noqa: S608 - a mark only
        last, trimmed = found[0] if found else (0, 0)
        return LogExtent(
            first=str(trimmed + 1) if last > trimmed else None,
            last=str(last) if last > trimmed else None,
            trimmed_to=str(trimmed) if trimmed else None,
            length=last - trimmed,
            identity=self.identity,
            began_late=self._began_late,
        )

    def compare(self, left: str, right: str) -> int:
        """See `sidestream.ports.EventLog`."""
        return compare(left, right)
