"""How events look on a terminal and as JSON: a line each, printed as they are found, with the memory of a screen.

Nothing of an event reaches a terminal that is not printable, and no number of its data is parsed.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain, islice
from time import monotonic
from typing import Any, Final, TextIO

import msgspec

from sidestream.logs.finding import Found, Standing

_TITLES: Final = ("position", "recorded", "type", "stream", "version", "number", "id")
_FIRST_ROWS: Final = 200
"""The columns are as wide as these rows need; a longer cell pushes the rest of its line."""
_LOOKED_AT: Final = 1024
_QUIET_SECONDS: Final = 1.0


def print_events(found: Iterable[Found], out: TextIO) -> int:
    """Print a table line by line; return how many."""
    rows = map(_cells, found)
    first = list(islice(rows, _FIRST_ROWS))
    if not first:
        return 0
    widths = [max(map(len, column)) for column in zip(_TITLES, *first, strict=True)]
    count = 0
    out.write(_line(_TITLES, widths))
    for count, row in enumerate(chain(first, rows), start=1):  # noqa: B007 - the count is the answer
        out.write(_line(row, widths))
    return count


def print_event(found: Found, out: TextIO) -> None:
    """Print one line now."""
    out.write(_line(_cells(found), (30, 24, 20, 30, 7, 6, 0)))
    out.flush()


def print_event_json(found: Found, out: TextIO) -> None:
    """Print one JSON document on a line."""
    out.write(msgspec.json.encode(as_json(found)).decode() + "\n")


def as_json(found: Found) -> dict[str, Any]:
    """Return where an event stands, and the event with every value as it was written; bytes in base64 where it is none."""
    where = {"topic": found.topic, "position": found.entry.position, "recorded": recorded(found.entry.recorded_ms)}
    compact = formatted(found.entry.data, -1)
    if found.event is None or compact is None:
        return {**where, "event": None, "problem": found.problem or "not JSON", "bytes": found.entry.data}
    return {**where, "event": msgspec.Raw(compact.encode())}


def formatted(data: bytes, indent: int) -> str | None:
    """Return JSON laid out anew, with every value as it was written; None where it is no JSON."""
    try:
        return msgspec.json.format(str(data, "utf-8"), indent=indent)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def recorded(milliseconds: int) -> str:
    """Return a time as people and --since read it, `2026-11-20T09:30:00.123Z`."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03}Z"


def printable(text: str) -> str:
    """Return text that does to a terminal nothing but show itself."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _cells(found: Found) -> tuple[str, ...]:
    where = (f"{found.topic}={found.entry.position}", recorded(found.entry.recorded_ms))
    event = found.event
    if event is None:
        return (*where, "(no event)", "", "", "", printable(found.problem))
    named = (printable(event.type), printable(event.subject or ""), str(event.streamversion or ""))
    return (*where, *named, str(event.number or ""), printable(event.id))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() + "\n"


class Looking:
    """Says on standard error how much has been looked at, while nothing is printed and somebody sits there."""

    def __init__(self) -> None:
        self._out = sys.stderr
        self._shows = self._out.isatty()
        self._quiet_since = monotonic()
        self._shown = False

    def over(self, standings: Iterable[Standing]) -> Iterator[Standing]:
        """Give the same entries."""
        begin, at = monotonic(), 0
        for at, standing in enumerate(standings, start=1):
            if self._shows and at % _LOOKED_AT == 0 and monotonic() - self._quiet_since > _QUIET_SECONDS:
                self._show(f"{at:,} entries looked at, {at / (monotonic() - begin):,.0f}/s")
            yield standing
        self.clear()

    def found(self, events: Iterable[Found]) -> Iterator[Found]:
        """Give the same events; what is said is taken away before each."""
        for event in events:
            self.clear()
            yield event

    def clear(self) -> None:
        """Take away what is said."""
        self._quiet_since = monotonic()
        if self._shown:
            self._out.write("\r\x1b[K")
            self._out.flush()
            self._shown = False

    def _show(self, text: str) -> None:
        self._out.write(f"\r\x1b[K{text}")
        self._out.flush()
        self._shown = True
