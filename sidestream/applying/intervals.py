"""The numbers of one producer that have been applied, as a few intervals.

A producer counts gaplessly from 1, so that normally there is one interval, `1-4711`. A hole is never waited for:
when its number arrives later, it is applied then and the intervals grow together. Pure, no I/O.
"""

from bisect import bisect_right
from collections.abc import Iterator

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
        self.add_range(number, number)
        return True

    def overlaps(self, low: int, high: int) -> bool:
        """Return whether any number from `low` to `high` is in the set."""
        at = bisect_right(self._lows, high) - 1
        return at >= 0 and self._highs[at] >= low

    def add_range(self, low: int, high: int) -> None:
        """Add every number from `low` to `high`; none of them may be in the set."""
        lows, highs = self._lows, self._highs
        at = bisect_right(lows, low)
        touches_left = at > 0 and highs[at - 1] + 1 == low
        touches_right = at < len(lows) and lows[at] - 1 == high
        if touches_left and touches_right:
            highs[at - 1] = highs.pop(at)
            lows.pop(at)
        elif touches_left:
            highs[at - 1] = high
        elif touches_right:
            lows[at] = low
        else:
            lows.insert(at, low)
            highs.insert(at, high)

    def without(self, other: "Intervals") -> "Intervals":
        """Return the numbers of this set that the other one lacks."""
        found = Intervals()
        for low, high in zip(self._lows, self._highs, strict=True):
            for first, last in other.gaps(low, high):
                found._lows.append(first)
                found._highs.append(last)
        return found

    def gaps(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        """Go through the intervals between two numbers, both inclusive, that are not in the set."""
        at = max(bisect_right(self._lows, low) - 1, 0)
        while low <= high:
            if at == len(self._lows) or self._lows[at] > high:
                yield low, high
                return
            if self._lows[at] > low:
                yield low, self._lows[at] - 1
            low = max(low, self._highs[at] + 1)
            at += 1

    def __len__(self) -> int:
        return sum(high - low + 1 for low, high in zip(self._lows, self._highs, strict=True))

    def missing_up_to(self, number: int) -> int:
        """Return how many numbers from 1 to this one, inclusive, are not in the set."""
        return number - sum(min(high, number) - low + 1 for low, high in zip(self._lows, self._highs, strict=True) if low <= number)

    @property
    def highest(self) -> int:
        """The highest number in the set, 0 when it is empty."""
        return self._highs[-1] if self._highs else 0
