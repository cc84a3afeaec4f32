"""How far a generation is behind the log: in events, in the log's own time, and by the age of the oldest event it lacks."""

from collections.abc import Iterable
from typing import Final

import msgspec

from sidestream.ports import EventLog

MOST_COUNTED: Final = 1_000
"""So many entries behind are counted; beyond that it says *more*. They are read for it, beside the catch-up that is measured."""


class Lag(msgspec.Struct, frozen=True):
    """How far one topic, or all topics together, are behind.

    Attributes:
        events: entries of the log that are not applied; `more`: at least so many.
        seconds: time between the oldest entry that is not applied and the newest, by the log's clock.
        oldest_seconds: how long ago the oldest entry that is not applied was recorded.
    """

    events: int = 0
    more: bool = False
    seconds: float = 0.0
    oldest_seconds: float = 0.0


def measure(log: EventLog, topic: str, applied: str, now_ms: int, most: int = MOST_COUNTED) -> Lag:
    """Return how far a topic is behind that was applied up to a position, empty for nothing.

    Raises:
        LogUnavailable: the log cannot be read now.
    """
    entries = log.read(topic, applied or None, most + 2)
    lacks = entries[1:] if entries and entries[0].position == applied else entries
    if not lacks:
        return Lag()
    oldest = lacks[0].recorded_ms
    newest = log.read_back(topic, None, 1)
    seconds = (newest[0].recorded_ms - oldest) / 1000 if newest else 0.0
    return Lag(min(len(lacks), most), len(lacks) > most, max(seconds, 0.0), max((now_ms - oldest) / 1000, 0.0))


def together(lags: Iterable[Lag]) -> Lag:
    """Return the lag of several topics as one: their events, and the longest times."""
    found = tuple(lags)
    return Lag(
        sum(lag.events for lag in found),
        any(lag.more for lag in found),
        max((lag.seconds for lag in found), default=0.0),
        max((lag.oldest_seconds for lag in found), default=0.0),
    )
