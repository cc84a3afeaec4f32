"""Versions of a stream that lie between what was applied and what waits: how they are named, `order-7f3a@3` or `order-7f3a@3-5`.

Pure, no I/O.
"""

import re
from typing import Final

import msgspec

from sidestream.errors import InvalidEvent
from sidestream.event import MAX_NUMBER

_NAMED: Final = re.compile(r"(.+)@([0-9]{1,19})(?:-([0-9]{1,19}))?", re.DOTALL | re.ASCII)


class Versions(msgspec.Struct, frozen=True):
    """Versions of one stream, `first` and `last` inclusive."""

    stream: str
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.stream}@{self.first}" if self.first == self.last else f"{self.stream}@{self.first}-{self.last}"

    def __contains__(self, version: int) -> bool:
        return self.first <= version <= self.last

    @classmethod
    def parse(cls, name: str) -> "Versions":
        """Read what `str()` wrote.

        Raises:
            InvalidEvent: it names no versions of a stream.
        """
        found = _NAMED.fullmatch(name)
        first, last = (int(found[2]), int(found[3] or found[2])) if found else (0, 0)
        if found is None or not 1 <= first <= last <= MAX_NUMBER:
            raise InvalidEvent(
                f"expected versions of a stream such as order-7f3a@3 or order-7f3a@3-5, found {name[:200]!r}. "
                "sidestream dead-letters waiting shows what is missing."
            )
        return cls(found[1], first, last)
