"""One batch, one transaction: what is done with each event of the log, and in which order.

    read from the checkpoint on, decode                        no lock, no transaction
    begin; is the checkpoint still the one read from?          else somebody else was faster
    for each event, in log order
        corrected by an operator    → the edited event instead, or skipped
        unreadable                  → dead letter of its own
        number counted already      → duplicate (under another id: dead letter `number-reused`)
        its version is passed       → dead letter `version-reused`, or `version-given-up` by an operator
        its stream is parked        → behind it
        not the stream's successor  → parked, waiting for the version between
        the rule raises             → parked with the reason; what the database raises inside it is passed on
        else                        → the rule's rows; then whatever waited for it
    rows, counts, parked events, checkpoint: commit

The chapters: decoding.py (entry → event), admission.py (every number once), runs.py (the quick way), parking.py, and here
the order of things and the single event. All work on the `Unit` port alone, so that live, catch-up, recovery and rebuild
are this one code. What a rule raises is caught at three places, and nothing is lost by it: `_evolve` here and `decode` park
the event with the reason, and the quick way of a run gives the run up, so that these two find out which event it was.
"""

from collections.abc import Iterable, Sequence

import msgspec

from sidestream.applying.admission import Admission
from sidestream.applying.applied import STREAM_VERSIONS, ParkedEvent, ParkedStream, StreamVersion
from sidestream.applying.batch import BEHIND, NUMBER_REUSED, VERSION_GIVEN_UP, WAITING, Batch, Outcome, Reason, SomebodyFaster
from sidestream.applying.decoding import FAILED, Decoded, Rule
from sidestream.applying.parking import FOR_GOOD, Parking, name_apart
from sidestream.applying.remembered import Remembered, Work
from sidestream.applying.runs import Runs
from sidestream.errors import RefusedByStore
from sidestream.event import MAX_NUMBER, Envelope
from sidestream.ports import LogEntry, Unit


class Applier:
    """Applies batches inside one transaction. Make a new one for each; call `commit` last.

    Args:
        rule, unit, remembered, now, whole: see `sidestream.applying.remembered.Work`.
        drains: at most so many events are applied that waited for one of a batch.

    Attributes:
        tried: how many parked events have had their turn, the one that the database refused included.
    """

    def __init__(self, rule: Rule, unit: Unit, remembered: Remembered, now: str, *, whole: bool = False, drains: int = MAX_NUMBER) -> None:
        self.tried = 0
        self._rule = rule
        self._drains = drains
        self._work = Work(rule, unit, remembered, now, whole=whole)
        self._rows = self._work.rows
        self._parking = Parking(self._work)
        self._admission = Admission(self._work, self._parking)
        self._runs = Runs(self._work, self._admission)
        self._knows_decisions = False

    @property
    def outcome(self) -> Outcome:
        """What has become of the events so far."""
        return self._work.outcome

    # ── the batch ────────────────────────────────────────────────────────────────────────────────────────────────────

    def apply(self, batch: Batch) -> None:
        """Apply the events of one topic.

        Raises:
            SomebodyFaster: the checkpoint is not the one the batch was read from.
        """
        if self._work.checkpoint(batch.topic) != batch.read_from:
            raise SomebodyFaster
        self._rows.fetch(batch.keys)
        self._knows_decisions = False
        began_late = bool(batch.leads_to.began_after)
        for stretch in batch.stretches:
            if stretch.run is None or not self._runs.take(batch.topic, stretch.run, began_late=began_late):
                self._take_each(batch.topic, stretch.entries, began_late=began_late)
        self._work.move(batch.leads_to)

    def _take_each(self, topic: str, entries: Sequence[Decoded], *, began_late: bool) -> None:
        admitted = self._admission.admit(topic, self._corrected(topic, entries))
        self._fetch(topic, admitted)
        for decoded in admitted:
            self._take(topic, decoded, began_late=began_late)

    def _corrected(self, topic: str, entries: Sequence[Decoded]) -> Sequence[Decoded]:
        if not self._rule.corrections:
            return entries
        return [self._rule.corrected(topic, decoded) for decoded in entries]

    def commit(self, unit: Unit | None = None) -> None:
        """Write everything into the transaction, or into another one of the same state; the caller's block commits it."""
        self._admission.write()
        self._work.write(unit)

    # ── one event ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _fetch(self, topic: str, admitted: Iterable[Decoded]) -> None:
        wanted = [key for decoded in admitted for key in decoded.keys]
        if self._rule.projection.ordered:
            versioned = (decoded.envelope for decoded in admitted if decoded.envelope and decoded.envelope.streamversion)
            wanted.extend((STREAM_VERSIONS, (topic, envelope.stream)) for envelope in versioned)
        self._rows.fetch(wanted)

    def _take(self, topic: str, decoded: Decoded, *, began_late: bool) -> None:
        envelope = decoded.envelope
        if envelope is None:
            return
        if envelope.streamversion is None and not self._work.parked:  # the quick way: no order to keep, nobody waits
            if problem := self._evolve(topic, decoded):
                self._parking.park(topic, self._work.stream_of(envelope), decoded, Reason(decoded.code or FAILED, problem))
            return
        self._take_in_turn(topic, decoded, envelope, self._expected_version(topic, envelope, began_late=began_late))

    def _take_in_turn(self, topic: str, decoded: Decoded, envelope: Envelope, expected: int) -> None:
        stream = self._work.stream_of(envelope)
        parked = self._work.parked.get((topic, stream))
        version = envelope.streamversion or 0
        if passed := self._why_passed(topic, envelope):
            self._take_passed(topic, decoded, envelope, passed)
        elif parked is not None and not (parked.waiting_for and parked.waiting_for == version):
            self._parking.park(topic, stream, decoded, Reason(BEHIND, "an earlier event of its stream is parked", parked.waiting_for))
        elif expected and version > expected:
            reason = Reason(WAITING, f"{stream}: waiting for version {expected}, found {version}", expected)
            self._parking.park(topic, stream, decoded, reason)
        elif problem := self._evolve(topic, decoded):
            self._parking.park(topic, stream, decoded, Reason(decoded.code or FAILED, problem))
        elif parked is not None:
            self._drain(topic, parked, self._drains)

    def _why_passed(self, topic: str, envelope: Envelope) -> Reason | None:
        if not envelope.streamversion or not self._rule.projection.ordered:
            return None
        return self._parking.why_passed(topic, envelope.stream, envelope.streamversion)

    def _take_passed(self, topic: str, decoded: Decoded, envelope: Envelope, reason: Reason) -> None:
        if decoded.skip or self._rule.skips_repeat(envelope.source, envelope.id):
            self._work.outcome.unhandled += 1
            return
        self._parking.park(topic, name_apart(envelope.stream, envelope.streamversion or 0, envelope.id), decoded, reason)

    def _expected_version(self, topic: str, envelope: Envelope, *, began_late: bool) -> int:
        """Return the version that must come next, 0 where order does not matter or history began late."""
        if not envelope.streamversion or not self._rule.projection.ordered:
            return 0
        if began_late and self._rows.get(STREAM_VERSIONS, (topic, envelope.stream)) is None:
            return 0
        return self._parking.successor(topic, envelope.stream)

    def _evolve(self, topic: str, decoded: Decoded) -> str:
        """Apply the rule; return why it could not be, or nothing. What a raising rule wrote is undone.

        What the database raises when the rule reads a row is passed on: it says nothing about this event until the adapter
        has said whether it is away, or refuses a value of it.
        """
        envelope = decoded.envelope
        if decoded.skip and envelope is not None:
            self._note_applied(topic, envelope, handled=False)
            return ""
        if decoded.problem or envelope is None:
            return decoded.problem or "no envelope"
        self._rows.accept()
        try:
            if decoded.handled:
                self._rule.projection.evolve(self._rows, decoded.event, envelope)
                self._rows.check()
        except Exception as error:  # the one edge where a rule's exception becomes a parked event
            self._rows.undo()
            return f"{type(error).__name__}: {error}"
        self._note_applied(topic, envelope, handled=decoded.handled)
        return ""

    def _note_applied(self, topic: str, envelope: Envelope, *, handled: bool) -> None:
        if handled:
            self._work.outcome.applied += 1
        else:
            self._work.outcome.unhandled += 1
        if envelope.streamversion and self._rule.projection.ordered:
            self._rows.put(STREAM_VERSIONS, StreamVersion(topic, envelope.stream, envelope.streamversion))

    # ── parked streams ───────────────────────────────────────────────────────────────────────────────────────────────

    def retry(self, topic: str, stream: str, most: int = MAX_NUMBER) -> bool:
        """Try at most so many parked events of a stream again, in order; return whether the stream is free now."""
        parked = self._work.parked.get((topic, stream))
        if parked is None:
            return True
        self._drain(topic, parked, most)
        return (topic, stream) not in self._work.parked

    def refuse(self, topic: str, stream: str, refusal: RefusedByStore) -> None:
        """Note that the database refuses what the next event of a parked stream brings."""
        self._parking.refuse(topic, stream, refusal)

    def _drain(self, topic: str, parked: ParkedStream, most: int) -> None:
        """Apply at most so many parked events of a stream, each when it is its turn, until one cannot be."""
        self._look_for_decisions()
        waiting, applied = self._parking.set_aside(parked, self._parking.events_of(parked)), 0
        while waiting and applied < most:
            event, missing = self._parking.next_of(parked, waiting)
            if event is None:
                left = self._parking.set_aside(parked, waiting)
                if len(left) == len(waiting):
                    self._parking.keep(msgspec.structs.replace(parked, waiting_for=missing))
                    return
                waiting = left
            elif self._release(topic, event):
                waiting.remove(event)
                applied += 1
            else:
                break
        if waiting:
            self._parking.stand_still(parked)
        else:
            self._parking.free(parked)

    def _look_for_decisions(self) -> None:
        """Once for a batch, before anything leaves: what was decided about it since the last sweep must not be passed by.

        Whoever decides later, while this transaction is open, waits for it to end (`dead_letters.decide`).
        """
        if not self._knows_decisions:
            self._rule.corrections.refresh()
            self._knows_decisions = True

    def _release(self, topic: str, event: ParkedEvent) -> bool:
        """Apply one parked event, or note why it still cannot be; a duplicate of what was applied meanwhile is dropped."""
        self.tried += 1
        decoded = self._rule.corrected(topic, self._rule.decode(LogEntry(event.position, event.wire, 0)))
        if reason := self._try(topic, event, decoded):
            self._parking.tried(event, reason.code, reason.detail)
            return False
        self._parking.release(event)
        return True

    def _try(self, topic: str, event: ParkedEvent, decoded: Decoded) -> Reason | None:
        """Apply a parked event, or pass over it as was decided; return why it cannot be, or nothing."""
        if event.reason in FOR_GOOD:
            return self._try_apart(topic, event, decoded)
        if decoded.envelope is None:
            return None if decoded.skip else Reason(decoded.code or FAILED, decoded.problem)
        if not event.source:  # it could not be read when it came, so it was not counted yet
            self._take_late(topic, decoded)
            return None
        problem = self._evolve(topic, decoded)
        return Reason(decoded.code or FAILED, problem) if problem else None

    def _try_apart(self, topic: str, event: ParkedEvent, decoded: Decoded) -> Reason | None:
        """What cannot be applied for good stays, unless it is skipped, or its version is wanted again: somebody took a decision back."""
        if self._rule.skips_repeat(event.source, event.event_id):
            return None
        envelope, as_before = decoded.envelope, Reason(event.reason, event.detail)
        if event.reason == NUMBER_REUSED or envelope is None:
            return as_before
        if passed := self._why_passed(topic, envelope):
            return as_before if passed.code == event.reason else passed
        if event.reason != VERSION_GIVEN_UP:
            return as_before
        self._take_in_turn(topic, decoded, envelope, self._parking.successor(topic, envelope.stream))
        return None

    def _take_late(self, topic: str, decoded: Decoded) -> None:
        """Take an entry that can be read now as if it came now: perhaps a duplicate, perhaps parked in its stream."""
        checkpoint = self._work.checkpoint(topic)
        for admitted in self._admission.admit(topic, [decoded]):
            self._take(topic, admitted, began_late=bool(checkpoint and checkpoint.began_after))
