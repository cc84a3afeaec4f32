"""What a part says over and over: a few lines of a second are let through, the rest is counted.

A sidecar whose broker is away says so thirty thousand times a second, 10 MB of log. Two lines are the same when they differ in their
time only.
"""

import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

_MOST_A_SECOND: Final = 20
_TIME: Final = re.compile(r"\b(?:time|timestamp)=(?:\"[^\"]*\"|\S+)")


class Repetition:
    """Looks at the lines of one part."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._said: Counter[str] = Counter()

    def passed(self, line: str) -> list[str]:
        """Return what is to be written now: what was held back in the second before, in a word, and the line unless it is held back."""
        found = self.held() if self._clock() - self._since >= 1.0 else []
        words = _TIME.sub("", line).strip()
        self._said[words] += 1
        return [*found, line] if self._said[words] <= _MOST_A_SECOND else found

    def held(self) -> list[str]:
        """Return how often what was held back, and begin anew."""
        found = [
            f"({count - _MOST_A_SECOND:,} times more within a second: {words})"
            for words, count in self._said.items()
            if count > _MOST_A_SECOND
        ]
        self._said.clear()
        self._since = self._clock()
        return found
