"""Looks back into the log for recent events: newest first, filtered, with bounded work."""

from typing import Any, Final

import msgspec

from sidestream.errors import UnreadableEvent
from sidestream.event import Envelope, decode_event
from sidestream.ports import EventLog, LogEntry

MAX_SCANNED: Final = 20_000
_PAGE: Final = 500


class Wanted(msgspec.Struct, frozen=True):
    """What is asked for; None: whatever it is.

    Attributes:
        limit: most events to return.
        type, source, subject: equal to these.
        since_ms: recorded then or later, milliseconds since 1970 UTC.
    """

    limit: int
    type: str | None = None
    source: str | None = None
    subject: str | None = None
    since_ms: int | None = None

    def matches(self, event: Envelope) -> bool:
        """Return whether an event is wanted, its time aside."""
        asked = ((self.type, event.type), (self.source, event.source), (self.subject, event.subject))
        return all(value is None or value == found for value, found in asked)


class Found(msgspec.Struct):
    """What was found.

    Attributes:
        events: as they stand in the log, newest first.
        complete: whether everything that could match was looked at or `limit` was reached.
        scanned: entries looked at.
        unreadable: entries that are no events.
    """

    events: list[msgspec.Raw]
    complete: bool = True
    scanned: int = 0
    unreadable: int = 0


def look_back(log: EventLog, topic: str, wanted: Wanted) -> Found:
    """Read from the end of the log backwards, at most `MAX_SCANNED` entries.

    Raises:
        LogUnavailable: the log cannot be read now.
    """
    found = Found([])
    before: str | None = None
    while entries := log.read_back(topic, before, _PAGE):
        for entry in entries:
            if len(found.events) == wanted.limit or (wanted.since_ms is not None and entry.recorded_ms < wanted.since_ms):
                return found
            if found.scanned == MAX_SCANNED:
                found.complete = False
                return found
            _look_at(entry, wanted, found)
        before = entries[-1].position
    return found


def _look_at(entry: LogEntry, wanted: Wanted, found: Found) -> None:
    found.scanned += 1
    try:
        if not wanted.matches(decode_event(entry.data)):
            return
        _check_whole(entry.data)
    except (UnreadableEvent, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found.unreadable += 1
        return
    found.events.append(msgspec.Raw(entry.data))


def _check_whole(data: bytes) -> Any:
    """Decode all of it: one entry that is not quite JSON would spoil the whole answer."""
    return msgspec.json.decode(data)
