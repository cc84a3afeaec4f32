"""Logs whose positions are whole numbers, as text: Kafka's offsets, JetStream's sequences.

A number may be missing (deleted, another topic's, a marker of the broker), so that nothing here counts entries by it.
"""

from collections.abc import Callable, Sequence
from typing import Final

from sidestream.errors import ForeignPosition
from sidestream.ports import LogEntry

BEGINS_A_LOG: Final = "Sidestream-Begins-A-Log"
"""A header of the first entry of a topic that was written anew: while nothing stands before it, nothing is missing before it."""


def number_of(position: str) -> int:
    """Return a position as a number.

    Raises:
        ForeignPosition: it is none, so that it comes from another kind of log.
    """
    if not (position.isascii() and position.isdecimal()):
        raise ForeignPosition(f"expected a position that is a whole number, found {position!r}. It is of another kind of log.")
    return int(position)


def compare(left: str, right: str) -> int:
    """Return a number below, at or above zero as `left` stands before, at or after `right`."""
    return number_of(left) - number_of(right)


def newest_first(limit: int, begin: int, end: int, read: Callable[[int, int], Sequence[LogEntry]]) -> list[LogEntry]:
    """Return up to `limit` entries below `end`, newest first.

    Args:
        limit: how many.
        begin: the first number to look at.
        end: the number after the last.
        read: returns the entries in such a range, oldest first.
    """
    found: list[LogEntry] = []
    width = limit
    while len(found) < limit and begin < end:
        start = max(begin, end - width)
        found += read(start, end)[::-1]
        end, width = start, width * 2  # numbers were missing: look further back, in larger steps
    return found[:limit]
