"""Applies a run whole: the quick way of regular.py, as far as it depends on the generation.

Nothing is written before everything is known to be in order but the rule itself, and what that wrote is undone when it
raises: so either every event of a run is applied here, or none, and the general way decides about each.
"""

from collections.abc import Sequence

from sidestream.applying.admission import Admission
from sidestream.applying.applied import STREAM_VERSIONS, StreamVersion
from sidestream.applying.regular import Run
from sidestream.applying.remembered import Work
from sidestream.event import Envelope


class Runs:
    """Takes runs in one transaction."""

    def __init__(self, work: Work, admission: Admission) -> None:
        self._work = work
        self._rows = work.rows
        self._admission = admission

    def take(self, topic: str, run: Run, *, began_late: bool) -> bool:
        """Apply a run whole. Return False, with nothing changed, where an event of it needs the general way."""
        if self._any_in_the_way(topic, run.envelopes) or not self._admission.all_new(topic, run.numbers):
            return False
        versions = self._versions_after(topic, run.envelopes, began_late=began_late) if run.versioned else {}
        if versions is None or not self._evolve_all(run):
            return False
        for stream, version in versions.items():
            self._rows.put(STREAM_VERSIONS, StreamVersion(topic, stream, version))
        self._admission.count_all(topic, run.numbers)
        self._work.outcome.applied += len(run.handled)
        self._work.outcome.unhandled += len(run.envelopes) - len(run.handled)
        return True

    def _any_in_the_way(self, topic: str, envelopes: Sequence[Envelope]) -> bool:
        """Return whether an event belongs to a parked stream, or an operator has decided something about it or its stream."""
        corrections = self._work.rule.corrections
        if corrections and any(corrections.concerns(topic, envelope) for envelope in envelopes):
            return True
        parked = {stream for of_topic, stream in self._work.parked if of_topic == topic}
        return bool(parked) and any(self._work.stream_of(envelope) in parked for envelope in envelopes)

    def _versions_after(self, topic: str, envelopes: Sequence[Envelope], *, began_late: bool) -> dict[str, int] | None:
        """Return the version of each stream after these events, None where one is not its stream's successor."""
        versions: dict[str, int] = {}
        if not self._work.rule.projection.ordered:
            return versions
        versioned = [(envelope.stream, envelope.streamversion) for envelope in envelopes if envelope.streamversion]
        self._rows.fetch((STREAM_VERSIONS, (topic, stream)) for stream, _ in versioned)
        for stream, version in versioned:
            last = versions.get(stream)
            if last is None:
                row = self._rows.get(STREAM_VERSIONS, (topic, stream))
                last = row.version if row else version - 1 if began_late else 0
            if version != last + 1:
                return None
            versions[stream] = version
        return versions

    def _evolve_all(self, run: Run) -> bool:
        rows, evolve = self._rows, self._work.rule.projection.evolve
        rows.accept()
        try:
            for event, envelope in zip(run.events, run.handled, strict=True):
                evolve(rows, event, envelope)
            rows.check()
        except Exception:  # the general way finds out which event it is, and parks it; what the database raised, `undo` passes on
            rows.undo()
            return False
        rows.accept()
        return True
