"""Decisions about dead letters that come too late for a generation that is being built: it has done without them already.

What is parked in it meets a decision whenever that comes. An event that it has applied is another matter: a mended rule took
what parks in the live generation, or an edit was used that is undone now. Only building it anew does as it was decided then.

Looked at whenever decisions are taken over, before anything more is applied: whoever applies an event later meets them.
"""

from collections.abc import Sequence
from typing import Final

from sidestream.applying.applied import CHECKPOINTS, COUNTS, STRANGERS, STREAM_VERSIONS
from sidestream.applying.corrections import Correction, InForce, readable
from sidestream.applying.dead_letters import has_met
from sidestream.applying.intervals import Intervals
from sidestream.applying.versions import Versions
from sidestream.errors import ForeignPosition
from sidestream.event import Envelope
from sidestream.ports import EventLog, Generation, Reader

_SHOWN: Final = 20


class DecidedTooLate(Exception):
    """A generation that is about to be live did without what was decided meanwhile."""


class LateDecisions:
    """What came too late for one generation, from the beginning of its building on.

    Args:
        log, topics: what it is built from.
    """

    def __init__(self, log: EventLog, topics: Sequence[str]) -> None:
        self._log = log
        self._topics = topics
        self._looked: set[int] | None = None
        self.found: list[Correction] = []

    def look(self, generation: Generation, in_force: InForce) -> None:
        """Look at decisions that are met from now on. With the first ones it begins, or goes on after one that met the same."""
        decisions = in_force.last_of_each()
        if self._looked is None:
            self._looked = {each.number for each in decisions}
        news = [each for each in decisions if each.number not in self._looked]
        if not news:
            return
        self._looked.update(each.number for each in news)
        with generation.snapshot() as reader:
            self.found.extend(each for each in news if has_met(reader, each) and self._is_counted(reader, each))

    def refuse(self) -> None:
        """Raise DecidedTooLate where anything was found."""
        if self.found:
            raise DecidedTooLate

    def findings(self, name: str) -> list[str]:
        """Return what to say of it: the first of them, and how many more."""
        said = [f"{_what(each)}, {each.at}, came when {name} had done without it: rebuild again" for each in self.found[:_SHOWN]]
        return said if len(self.found) <= _SHOWN else [*said, f"and {len(self.found) - _SHOWN} decisions more that came too late"]

    def _is_counted(self, reader: Reader, correction: Correction) -> bool:
        if correction.about == "version":
            return _is_past(reader, correction)
        if correction.about == "entry":
            return self._is_read(reader, correction)
        envelope = readable(correction.original)
        if envelope is None or (correction.about == "repeat" and correction.kind != "undo"):
            return False  # a repeat that is not parked was not reached yet, or is none here
        return any(_has_counted(reader, topic, envelope) for topic in self._topics)

    def _is_read(self, reader: Reader, correction: Correction) -> bool:
        at = reader.read(CHECKPOINTS, [(correction.origin,)]).get((correction.origin,))
        try:
            return at is not None and self._log.compare(correction.name, at.position) <= 0
        except ForeignPosition:  # the log was moved since
            return False


def _has_counted(reader: Reader, topic: str, envelope: Envelope) -> bool:
    if envelope.producer is None:
        return bool(reader.read(STRANGERS, [(topic, envelope.source, envelope.id)]))
    found = reader.read(COUNTS, [(topic, envelope.producer)])
    return any(envelope.number in Intervals.parse(row.intervals) for row in found.values())


def _is_past(reader: Reader, correction: Correction) -> bool:
    versions = Versions.parse(correction.name)
    found = reader.read(STREAM_VERSIONS, [(correction.origin, versions.stream)])
    return any(row.version >= versions.first for row in found.values())


def _what(correction: Correction) -> str:
    return f"{correction.kind} of {correction.name} by {correction.who}"
