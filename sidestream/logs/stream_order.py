"""Whether the events of each stream stand in order in a log, with the streams of the last few ten thousand events in memory.

A relay has only so many numbers on their way at once, so that whoever is overtaken is so by one that stands near. What was
forgotten meanwhile is asked of the store, for those events only that come later than all that was forgotten. Pure but for that.
"""

from collections.abc import Callable
from typing import Final

from sidestream.event import Envelope
from sidestream.publishing.track import SPAN

_Place = tuple[int, int]
_BEFORE_ALL: Final[_Place] = (0, 0)


class StreamOrder:
    """Counts the events that stand behind a later one of their stream. Give it first occurrences only, in the order of the log.

    Attributes:
        disordered: how many there are.
    """

    def __init__(self, newest_met: Callable[[str, int], int], remembered: int = SPAN) -> None:
        """Begin.

        Args:
            newest_met: returns the highest version of a stream that was met so far, at least the given one; dear.
            remembered: streams that are remembered at least, the last ones; and twice as many at most.
        """
        self.disordered = 0
        self._newest_met = newest_met
        self._remembered = remembered
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}
        self._highest = self._highest_of_old = self._highest_forgotten = _BEFORE_ALL

    def note(self, envelope: Envelope) -> None:
        """Take the next event into account."""
        version = envelope.streamversion
        if version is None:
            return
        stream, place = envelope.stream, _place(envelope)
        newest = self._young.get(stream) or self._old.get(stream)
        if newest is None:
            newest = self._newest_met(stream, version) if place < self._highest_forgotten else version
        self.disordered += version < newest
        self._young[stream] = max(version, newest)
        self._highest = max(self._highest, place)
        if len(self._young) >= self._remembered:
            self._forget()

    def _forget(self) -> None:
        self._highest_forgotten, self._highest_of_old = self._highest_of_old, self._highest
        self._old, self._young = self._young, {}


def _place(envelope: Envelope) -> _Place:
    """Return where an event stands in commit order: numbers of a later epoch come after all of those before."""
    return int((envelope.producer or "").rpartition(".")[2]), envelope.number
