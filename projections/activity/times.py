"""Times that strangers write, as text in UTC whose order is the order of time: `2026-11-20T09:30:00.123456789Z`. Pure."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

_RFC3339: Final = re.compile(
    r"(?P<moment>\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d):(?P<second>\d\d)(?:\.(?P<fraction>\d+))?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<hours>\d\d):(?P<minutes>\d\d))",
    re.ASCII,
)
_DIGITS: Final = 9
_LEAP_SECOND: Final = 60


def utc_text(time: str) -> str | None:
    """Return an RFC 3339 time in UTC with nine digits after the second, or None if it is no such time.

    Further digits are cut off; a leap second is the last moment of the second before it.
    """
    found = _RFC3339.fullmatch(time)
    if found is None:
        return None
    second, fraction = int(found["second"]), (found["fraction"] or "")[:_DIGITS].ljust(_DIGITS, "0")
    if second == _LEAP_SECOND:
        second, fraction = _LEAP_SECOND - 1, "9" * _DIGITS
    try:
        minute = datetime.fromisoformat(found["moment"].upper()).replace(tzinfo=_zone(found))
        moment = minute.replace(second=second).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return f"{moment:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + f".{fraction}Z"


def _zone(found: re.Match[str]) -> timezone:
    """Return the offset; raises ValueError where hours or minutes are none."""
    if found["sign"] is None:
        return UTC
    hours, minutes = int(found["hours"]), int(found["minutes"])
    if minutes >= 60:
        raise ValueError(found[0])
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if found["sign"] == "-" else offset)
