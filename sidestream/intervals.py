"""The numbers of one producer that have been applied, as a few intervals.

A producer counts gaplessly from 1, so that normally there is one interval, `1-4711`. A hole is never waited for:
when its number arrives later, it is applied then and the intervals grow together. Pure, no I/O.
"""

from bisect import bisect_right

from sidestream.errors import ReadModelError


class Intervals:
    """A set of positive integers, kept as sorted, disjoint, non-adjacent closed intervals."""

    __slots__ = ("_highs", "_lows")

    def __init__(self) -> None:
        self._lows: list[int] = []
        self._highs: list[int] = []

    @classmethod
    def parse(cls, text: str) -> "Intervals":
        """Read what `str()` wrote: `1-500,502-600`.

        Raises:
            ReadModelError: the text is not a list of ascending intervals.
        """
        found = cls()
        for part in text.split(",") if text else ():
            low, dash, high = part.partition("-")
            if not dash or not low.isdecimal() or not high.isdecimal():
                raise ReadModelError(f"intervals: expected text like 1-500,502-600, found {text[:80]!r}")
            found._lows.append(int(low))
            found._highs.append(int(high))
        return found

    def __str__(self) -> str:
        return ",".join(f"{low}-{high}" for low, high in zip(self._lows, self._highs, strict=True))

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._lows, number) - 1
        return at >= 0 and number <= self._highs[at]

    def add(self, number: int) -> bool:
        """Add one number; return whether it was new."""
        highs = self._highs
        if highs and number == highs[-1] + 1:  # the normal case: the next one
            highs[-1] = number
            return True
        if number in self:
            return False
        self._insert(number)
        return True

    def _insert(self, number: int) -> None:
        lows, highs = self._lows, self._highs
        at = bisect_right(lows, number)
        touches_left = at > 0 and highs[at - 1] + 1 == number
        touches_right = at < len(lows) and lows[at] - 1 == number
        if touches_left and touches_right:
            highs[at - 1] = highs.pop(at)
            lows.pop(at)
        elif touches_left:
            highs[at - 1] = number
        elif touches_right:
            lows[at] = number
        else:
            lows.insert(at, number)
            highs.insert(at, number)

    @property
    def highest(self) -> int:
        """The highest number in the set, 0 when it is empty."""
        return self._highs[-1] if self._highs else 0

    @property
    def holes(self) -> int:
        """How many numbers between 1 and the highest are missing."""
        return self.highest - sum(high - low + 1 for low, high in zip(self._lows, self._highs, strict=True))
