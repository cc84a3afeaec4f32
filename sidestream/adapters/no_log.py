"""The log of a broker that keeps none: whoever reads it is told so. For what an app shows beside what it follows."""

from collections.abc import Sequence
from typing import NoReturn

from sidestream.errors import NoLogKept
from sidestream.ports import LogEntry, LogExtent


class NoLog:
    """See `sidestream.ports.EventLog`. Every look at it raises NoLogKept with the reason."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def read(self, topic: str, start: str | None, limit: int) -> Sequence[LogEntry]:
        """See `sidestream.ports.EventLog`."""
        self._refuse(topic)

    def read_back(self, topic: str, before: str | None, limit: int) -> Sequence[LogEntry]:
        """See `sidestream.ports.EventLog`."""
        self._refuse(topic)

    def extent(self, topic: str) -> LogExtent:
        """See `sidestream.ports.EventLog`."""
        self._refuse(topic)

    def compare(self, left: str, right: str) -> int:
        """See `sidestream.ports.EventLog`."""
        self._refuse(left)

    def close(self) -> None:
        """Nothing to release."""

    def _refuse(self, what: str) -> NoReturn:
        raise NoLogKept(f"{what}: {self._reason}")
