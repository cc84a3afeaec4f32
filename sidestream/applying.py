"""One batch, one transaction: what is done with each event of the log, and in which order.

    read from the checkpoint on, decode                        no lock, no transaction
    begin; is the checkpoint still the one read from?          else somebody else was faster
    for each event, in log order
        corrected by an operator    → the edited event instead, or skipped
        unreadable                  → dead letter of its own
        number counted already      → duplicate (under another id: dead letter `number-reused`)
        its stream is parked        → behind it
        not the stream's successor  → parked, waiting for the version between
        the rule raises             → parked with the reason
        else                        → the rule's rows; then whatever waited for it
    rows, counts, parked events, checkpoint: commit

Everything here works on the `Unit` port alone, so that live, catch-up, recovery and rebuild are this one code.
Catching every exception of a rule is the purpose of `_evolve`; nowhere else is an exception swallowed.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from sidestream.applied import (
    CHECKPOINTS,
    COUNTS,
    HEAD_KEY,
    HEADS,
    PARKED_EVENTS,
    PARKED_STREAMS,
    RECENT,
    RECENT_IDS,
    STRANGERS,
    STREAM_VERSIONS,
    Checkpoint,
    Count,
    Head,
    ParkedEvent,
    ParkedStream,
    RecentId,
    SeenStranger,
    StreamVersion,
)
from sidestream.corrections import Correction, InForce, Subject
from sidestream.errors import RefusedByStore, SidestreamError, UnreadableEvent
from sidestream.event import MAX_NUMBER, Envelope, decode_event
from sidestream.intervals import Intervals
from sidestream.ports import LogEntry, Query, Unit
from sidestream.projection import Key, Projection, Table
from sidestream.registry import Registry
from sidestream.regular import Numbers, Run
from sidestream.working_rows import WorkingRows

FAILED: Final = "rule-failed"
BEHIND: Final = "behind"
WAITING: Final = "waiting"
UNREADABLE: Final = "unreadable-entry"
"""The whole entry cannot be read, so that it was not counted; `unreadable-event` is one that was."""
NUMBER_REUSED: Final = "number-reused"
VERSION_REUSED: Final = "version-reused"


class SomebodyFaster(Exception):
    """Another process applied this batch; read the checkpoint again."""


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """One entry of the log, decoded as far as the rule needs it.

    Attributes:
        envelope: None where the entry cannot be read at all.
        event: the data as its model, the raw data, or None where the rule does not handle the type.
        keys: the rows the rule will look at.
        problem: why it cannot be applied, empty when it can.
        code: the stable code of the problem.
        skip: an operator decided that it is counted and does nothing.
    """

    entry: LogEntry
    envelope: Envelope | None = None
    event: Any = None
    handled: bool = False
    keys: tuple[tuple[Table[Any], Key], ...] = ()
    problem: str = ""
    code: str = ""
    skip: bool = False


class Stretch(msgspec.Struct, frozen=True):
    """Entries that stand together: as a run, where all of them are regular, and one by one, decoded when asked for."""

    entries: Sequence[Decoded]
    run: Run | None = None


class Batch(msgspec.Struct, frozen=True):
    """Entries of one topic after a checkpoint, in stretches, and the checkpoint they lead to."""

    topic: str
    read_from: Checkpoint | None
    stretches: Sequence[Stretch]
    leads_to: Checkpoint


class Reason(msgspec.Struct, frozen=True):
    """Why an event is parked: a stable code, a sentence, and the version that its stream waits for, if it does."""

    code: str
    detail: str
    waiting_for: int = 0


class Outcome(msgspec.Struct):
    """What became of the events of one transaction."""

    applied: int = 0
    unhandled: int = 0
    duplicates: int = 0
    parked: int = 0
    released: int = 0

    @property
    def counted(self) -> int:
        """How many entries of the log it stands for."""
        return self.applied + self.unhandled + self.duplicates + self.parked

    def add(self, other: "Outcome") -> None:
        """Add the numbers of another transaction."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Rule:
    """A projection together with the language it is written in, and what operators decided about its dead letters."""

    def __init__(self, projection: Projection, registry: Registry, corrections: InForce | None = None) -> None:
        self.projection = projection
        self.registry = registry
        self.corrections = InForce() if corrections is None else corrections
        self.handled = frozenset(registry.type_of(model).name for model in projection.handles)

    def decode(self, entry: LogEntry) -> Decoded:
        """Decode one entry; never raises, a problem is noted in what is returned."""
        try:
            envelope = decode_event(entry.data)
        except UnreadableEvent as error:
            return Decoded(entry, problem=str(error), code=UNREADABLE)
        if self.handled and envelope.type not in self.handled:
            return Decoded(entry, envelope)
        return self._decode_handled(entry, envelope)

    def _decode_handled(self, entry: LogEntry, envelope: Envelope) -> Decoded:
        try:
            event = self.registry.read(envelope) if self.handled else envelope.data
            keys = tuple(self.projection.keys(event, envelope))
        except SidestreamError as error:
            return Decoded(entry, envelope, handled=True, problem=str(error), code=error.code)
        except Exception as error:  # the rule's own `keys` raised: this event is parked
            return Decoded(entry, envelope, handled=True, problem=f"keys: {type(error).__name__}: {error}", code=FAILED)
        return Decoded(entry, envelope, event, handled=True, keys=keys)

    def corrected(self, topic: str, decoded: Decoded) -> Decoded:
        """Return what an operator decided to use instead of an entry, or the entry as it is."""
        correction = self._correction_of(topic, decoded)
        if correction is None:
            return decoded
        if correction.kind == "skip":
            return msgspec.structs.replace(decoded, skip=True)
        if decoded.code == RefusedByStore.code:  # the database refused the very event that is used instead
            return decoded
        instead = self.decode(LogEntry(decoded.entry.position, correction.wire, decoded.entry.recorded_ms))
        return msgspec.structs.replace(instead, entry=decoded.entry)

    def _correction_of(self, topic: str, decoded: Decoded) -> Correction | None:
        envelope = decoded.envelope
        if envelope is not None:
            return self.corrections.find(("event", envelope.source, envelope.id))
        found = self.corrections.find(("entry", topic, decoded.entry.position))
        return found if found is not None and found.original == decoded.entry.data else None  # another log may stand there

    def skips_repeat(self, source: str, event_id: str) -> bool:
        """Return whether an operator decided to pass over a number or version that was given twice."""
        subject: Subject = ("repeat", source, event_id)
        return self.corrections.find(subject) is not None


class Remembered:
    """What a projector remembers between transactions, valid as long as nobody else wrote to the generation."""

    def __init__(self) -> None:
        self.revision = 0
        self.counts: dict[tuple[str, str], Intervals] = {}
        self.parked: dict[tuple[str, str], ParkedStream] | None = None

    def clear(self) -> None:
        """Forget everything: somebody else wrote, or a transaction was rolled back."""
        self.revision = 0
        self.counts.clear()
        self.parked = None


class Applier:
    """Applies batches inside one transaction. Make a new one for each; call `commit` last."""

    def __init__(self, rule: Rule, unit: Unit, remembered: Remembered, now: str, rows: WorkingRows | None = None) -> None:
        self._rule = rule
        self._unit = unit
        self._remembered = remembered
        self._now = now
        self._rows = rows or WorkingRows(unit)
        self._recent: dict[tuple[str, str], dict[int, tuple[int, str]]] = {}
        self.outcome = Outcome()
        self._begin()

    def _begin(self) -> None:
        head = self._rows.get(HEADS, HEAD_KEY) or Head("head", 0)
        if head.revision != self._remembered.revision or self._remembered.parked is None:
            self._remembered.clear()
            self._remembered.parked = {(row.topic, row.stream): row for row in self._unit.select(PARKED_STREAMS, _ALL_PARKED)}
        self._revision = head.revision + 1

    # ── the batch ────────────────────────────────────────────────────────────────────────────────────────────────────

    def apply(self, batch: Batch) -> None:
        """Apply the events of one topic.

        Raises:
            SomebodyFaster: the checkpoint is not the one the batch was read from.
        """
        if self._rows.get(CHECKPOINTS, (batch.topic,)) != batch.read_from:
            raise SomebodyFaster
        began_late = bool(batch.leads_to.began_after)
        for stretch in batch.stretches:
            if stretch.run is None or not self._take_run(batch.topic, stretch.run, began_late=began_late):
                self._take_each(batch.topic, stretch.entries, began_late=began_late)
        self._rows.put(CHECKPOINTS, batch.leads_to)

    def _take_each(self, topic: str, entries: Sequence[Decoded], *, began_late: bool) -> None:
        admitted = self._admit(topic, self._corrected(topic, entries))
        self._fetch(topic, admitted)
        for decoded in admitted:
            self._take(topic, decoded, began_late=began_late)

    def _corrected(self, topic: str, entries: Sequence[Decoded]) -> Sequence[Decoded]:
        if not self._rule.corrections:
            return entries
        return [self._rule.corrected(topic, decoded) for decoded in entries]

    def commit(self, unit: Unit | None = None) -> None:
        """Write everything into the transaction, or into another one of the same state; the caller's block commits it."""
        self._note_counts()
        self._rows.put(HEADS, Head("head", self._revision))
        self._rows.flush(unit or self._unit)
        self._remembered.revision = self._revision

    def _note_counts(self) -> None:
        for (topic, producer), recent in self._recent.items():
            self._rows.put(COUNTS, Count(topic, producer, str(self._remembered.counts[topic, producer])))
            for slot, (number, event_id) in recent.items():
                self._rows.put(RECENT, RecentId(topic, producer, slot, number, event_id))

    # ── a run: the quick way of regular.py ───────────────────────────────────────────────────────────────────────────────

    def _take_run(self, topic: str, run: Run, *, began_late: bool) -> bool:
        """Apply a run whole. Return False, with nothing changed, where an event of it needs the general way.

        Nothing is written before everything is known to be in order but the rule itself, and what that wrote is undone
        when it raises: so either every event of the run is applied here, or none.
        """
        if self._any_in_the_way(topic, run.envelopes) or not self._all_new(topic, run.numbers):
            return False
        versions = self._versions_after(topic, run.envelopes, began_late=began_late) if run.versioned else {}
        if versions is None or not self._evolve_all(run):
            return False
        for stream, version in versions.items():
            self._rows.put(STREAM_VERSIONS, StreamVersion(topic, stream, version))
        for numbers in run.numbers:
            counts = self._remembered.counts[topic, numbers.producer]
            for low, high in numbers.ranges:
                counts.add_range(low, high)
            self._recent.setdefault((topic, numbers.producer), {}).update(numbers.recent)
        self.outcome.applied += len(run.handled)
        self.outcome.unhandled += len(run.envelopes) - len(run.handled)
        return True

    def _any_in_the_way(self, topic: str, envelopes: Sequence[Envelope]) -> bool:
        """Return whether an event belongs to a parked stream, or an operator has corrected it."""
        corrections = self._rule.corrections
        if corrections and any(corrections.find(("event", envelope.source, envelope.id)) for envelope in envelopes):
            return True
        parked = {stream for of_topic, stream in self._parked if of_topic == topic}
        return bool(parked) and any(self._stream_of(envelope) in parked for envelope in envelopes)

    def _all_new(self, topic: str, all_numbers: Sequence[Numbers]) -> bool:
        self._fetch_counts(topic, {numbers.producer for numbers in all_numbers})
        counts = self._remembered.counts
        return not any(counts[topic, numbers.producer].overlaps(*some) for numbers in all_numbers for some in numbers.ranges)

    def _versions_after(self, topic: str, envelopes: Sequence[Envelope], *, began_late: bool) -> dict[str, int] | None:
        """Return the version of each stream after these events, None where one is not its stream's successor."""
        versions: dict[str, int] = {}
        if not self._rule.projection.ordered:
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
        rows, evolve = self._rows, self._rule.projection.evolve
        rows.fetch(run.keys)
        rows.accept()
        try:
            for event, envelope in zip(run.events, run.handled, strict=True):
                evolve(rows, event, envelope)
        except Exception:  # the general way finds out which event it is, and parks it
            rows.undo()
            return False
        rows.accept()
        return True

    # ── admission: every number once ─────────────────────────────────────────────────────────────────────────────────

    def _admit(self, topic: str, entries: Sequence[Decoded]) -> list[Decoded]:
        """Count every event and return those that were not counted before, in log order."""
        self._fetch_admission(topic, entries)
        admitted: list[Decoded] = []
        repeated: list[Decoded] = []
        for decoded in entries:
            if decoded.envelope is None:
                self._take_unreadable(topic, decoded)
            elif self._is_new(topic, decoded.envelope):
                admitted.append(decoded)
            else:
                repeated.append(decoded)
        self._check_repeated(topic, repeated)
        return admitted

    def _take_unreadable(self, topic: str, decoded: Decoded) -> None:
        if decoded.skip:
            self.outcome.unhandled += 1
        else:
            self._park(topic, f"entry {decoded.entry.position}", decoded, Reason(decoded.code, decoded.problem))

    def _fetch_admission(self, topic: str, entries: Sequence[Decoded]) -> None:
        self._fetch_counts(topic, {decoded.envelope.producer for decoded in entries if decoded.envelope and decoded.envelope.producer})
        self._rows.fetch(
            (STRANGERS, (topic, decoded.envelope.source, decoded.envelope.id))
            for decoded in entries
            if decoded.envelope and decoded.envelope.producer is None
        )

    def _fetch_counts(self, topic: str, producers: Iterable[str]) -> None:
        counts = self._remembered.counts
        if unknown := [(topic, producer) for producer in producers if (topic, producer) not in counts]:
            found = self._unit.read(COUNTS, unknown)
            for key in unknown:
                counts[key] = Intervals.parse(found[key].intervals) if key in found else Intervals()

    def _is_new(self, topic: str, envelope: Envelope) -> bool:
        producer = envelope.producer
        if producer is None:
            return self._is_new_stranger(topic, envelope)
        number = envelope.number
        if not self._remembered.counts[topic, producer].add(number):
            return False
        recent = self._recent.get((topic, producer))
        if recent is None:
            recent = self._recent[topic, producer] = {}
        recent[number % RECENT_IDS] = (number, envelope.id)
        return True

    def _is_new_stranger(self, topic: str, envelope: Envelope) -> bool:
        key = (topic, envelope.source, envelope.id)
        if self._rows.get(STRANGERS, key) is not None:
            return False
        self._rows.put(STRANGERS, SeenStranger(*key))
        return True

    def _check_repeated(self, topic: str, repeated: Sequence[Decoded]) -> None:
        """A duplicate is passed over; the same number under another id is an error with a name."""
        self._rows.fetch((RECENT, key) for decoded in repeated if (key := _recent_key(topic, decoded.envelope)))
        for decoded in repeated:
            envelope = decoded.envelope
            applied_as = self._applied_as(topic, envelope) if envelope else None
            if envelope is None or applied_as in (None, envelope.id) or self._rule.skips_repeat(envelope.source, envelope.id):
                self.outcome.duplicates += 1
                continue
            number = f"number {envelope.number} of {envelope.producer}"
            detail = f"{number} was applied as event {applied_as}, found it again as {envelope.id}"
            self._park(topic, f"{number} as {envelope.id}", decoded, Reason(NUMBER_REUSED, detail))

    def _applied_as(self, topic: str, envelope: Envelope) -> str | None:
        """Return the id under which this number was applied, None when it is too long ago."""
        key = _recent_key(topic, envelope)
        if key is None or envelope.producer is None:
            return None
        slot = envelope.number % RECENT_IDS
        number, event_id = self._recent.get((topic, envelope.producer), {}).get(slot, (0, ""))
        if number == 0 and (row := self._rows.get(RECENT, key)) is not None:
            number, event_id = row.sequence, row.event_id
        return event_id if number == envelope.number else None

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
        if envelope.streamversion is None and not self._parked:  # the quick way: no order to keep, nobody waits
            if problem := self._evolve(topic, decoded):
                self._park(topic, self._stream_of(envelope), decoded, Reason(decoded.code or FAILED, problem))
            return
        self._take_in_turn(topic, decoded, envelope, self._expected_version(topic, envelope, began_late=began_late))

    def _take_in_turn(self, topic: str, decoded: Decoded, envelope: Envelope, expected: int) -> None:
        stream = self._stream_of(envelope)
        parked = self._parked.get((topic, stream))
        version = envelope.streamversion or 0
        if expected and version < expected:
            self._take_reused(topic, decoded, envelope, expected)
        elif parked is not None and not (parked.waiting_for and parked.waiting_for == version):
            self._park(topic, stream, decoded, Reason(BEHIND, "an earlier event of its stream is parked", parked.waiting_for))
        elif expected and version > expected:
            reason = Reason(WAITING, f"{stream}: waiting for version {expected}, found {version}", expected)
            self._park(topic, stream, decoded, reason)
        elif problem := self._evolve(topic, decoded):
            self._park(topic, stream, decoded, Reason(decoded.code or FAILED, problem))
        elif parked is not None:
            self._drain(topic, parked)

    def _take_reused(self, topic: str, decoded: Decoded, envelope: Envelope, expected: int) -> None:
        if decoded.skip or self._rule.skips_repeat(envelope.source, envelope.id):
            self.outcome.unhandled += 1
            return
        version = f"version {envelope.streamversion} of {envelope.stream}"
        detail = f"{version}: expected version {expected}; this one came before, under another number"
        self._park(topic, f"{version} as {envelope.id}", decoded, Reason(VERSION_REUSED, detail))

    def _stream_of(self, envelope: Envelope) -> str:
        return envelope.stream if self._rule.projection.ordered else f"{envelope.source} {envelope.id}"

    def _expected_version(self, topic: str, envelope: Envelope, *, began_late: bool) -> int:
        """Return the version that must come next, 0 where order does not matter or history began late."""
        if not envelope.streamversion or not self._rule.projection.ordered:
            return 0
        last = self._rows.get(STREAM_VERSIONS, (topic, envelope.stream))
        if last is None:
            return 0 if began_late else 1
        return last.version + 1

    def _evolve(self, topic: str, decoded: Decoded) -> str:
        """Apply the rule; return why it could not be, or nothing. What a raising rule wrote is undone."""
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
        except Exception as error:  # the one edge where a rule's exception becomes a parked event
            self._rows.undo()
            return f"{type(error).__name__}: {error}"
        self._note_applied(topic, envelope, handled=decoded.handled)
        return ""

    def _note_applied(self, topic: str, envelope: Envelope, *, handled: bool) -> None:
        if handled:
            self.outcome.applied += 1
        else:
            self.outcome.unhandled += 1
        if envelope.streamversion and self._rule.projection.ordered:
            self._rows.put(STREAM_VERSIONS, StreamVersion(topic, envelope.stream, envelope.streamversion))

    # ── parked streams ───────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _parked(self) -> dict[tuple[str, str], ParkedStream]:
        parked = self._remembered.parked
        if parked is None:
            raise SomebodyFaster
        return parked

    def _park(self, topic: str, stream: str, decoded: Decoded, reason: Reason) -> None:
        """Keep an event that cannot be applied now. Under a name of its own instead of its stream's it holds up nobody."""
        before = self._parked.get((topic, stream)) or ParkedStream(topic, stream, 0, 1, 1)
        self._rows.put(PARKED_EVENTS, self._parked_event(before, decoded, reason))
        self._keep(msgspec.structs.replace(before, next=before.next + 1, waiting_for=reason.waiting_for))
        self.outcome.parked += 1

    def _parked_event(self, stream: ParkedStream, decoded: Decoded, reason: Reason) -> ParkedEvent:
        envelope = decoded.envelope
        return ParkedEvent(
            topic=stream.topic,
            stream=stream.stream,
            ordinal=stream.next,
            position=decoded.entry.position,
            source=envelope.source if envelope else "",
            event_id=envelope.id if envelope else "",
            type=envelope.type if envelope else "",
            streamversion=(envelope.streamversion or 0) if envelope else 0,
            producer=(envelope.producer or "") if envelope else "",
            number=envelope.number if envelope else 0,
            reason=reason.code,
            detail=_printable(reason.detail),
            attempts=0 if reason.code in (BEHIND, WAITING) else 1,
            first_at=self._now,
            last_at=self._now,
            wire=decoded.entry.data,
        )

    def _keep(self, stream: ParkedStream) -> None:
        self._parked[stream.topic, stream.stream] = stream
        self._rows.put(PARKED_STREAMS, stream)

    def retry(self, topic: str, stream: str, most: int = MAX_NUMBER) -> bool:
        """Try at most so many parked events of a stream again, in order; return whether the stream is free now."""
        parked = self._parked.get((topic, stream))
        if parked is None:
            return True
        self._drain(topic, parked, most)
        return (topic, stream) not in self._parked

    def refuse(self, topic: str, stream: str, refusal: RefusedByStore) -> None:
        """Note that the database refuses what the next event of a parked stream brings."""
        parked = self._parked.get((topic, stream))
        event = self._next_of(topic, parked, waiting)[0] if parked and (waiting := self._parked_events(parked)) else None
        if parked is not None and event is not None:
            self._rows.put(PARKED_EVENTS, _tried_again(event, refusal.code, str(refusal), self._now))
            self._keep(msgspec.structs.replace(parked, waiting_for=0))

    def _drain(self, topic: str, parked: ParkedStream, most: int = MAX_NUMBER) -> None:
        """Apply parked events of a stream, each when it is its turn, until one cannot be."""
        waiting = self._parked_events(parked)
        last = len(waiting) - most
        while waiting:
            if len(waiting) == last:
                self._keep(msgspec.structs.replace(parked, waiting_for=0))
                return
            event, missing = self._next_of(topic, parked, waiting)
            if event is None:
                self._keep(msgspec.structs.replace(parked, waiting_for=missing))
                return
            if not self._release(topic, event):
                self._keep(msgspec.structs.replace(parked, waiting_for=0))
                return
            waiting.remove(event)
        self._rows.delete(PARKED_STREAMS, (topic, parked.stream))
        del self._parked[topic, parked.stream]

    def _parked_events(self, parked: ParkedStream) -> list[ParkedEvent]:
        keys = [(parked.topic, parked.stream, ordinal) for ordinal in range(parked.first, parked.next)]
        self._rows.fetch((PARKED_EVENTS, key) for key in keys)
        return [event for key in keys if (event := self._rows.get(PARKED_EVENTS, key)) is not None]

    def _next_of(self, topic: str, parked: ParkedStream, waiting: Sequence[ParkedEvent]) -> tuple[ParkedEvent | None, int]:
        """Return the event whose turn it is, or None and the version that is missing."""
        first = waiting[0]
        if not first.streamversion or not self._rule.projection.ordered or first.reason in _FOR_GOOD:
            return first, 0
        last = self._rows.get(STREAM_VERSIONS, (topic, parked.stream))
        if last is None and not parked.waiting_for:
            return first, 0
        expected = last.version + 1 if last else 1
        return next((event for event in waiting if event.streamversion == expected), None), expected

    def _release(self, topic: str, event: ParkedEvent) -> bool:
        """Apply one parked event, or note why it still cannot be; a duplicate of what was applied meanwhile is dropped."""
        decoded = self._rule.corrected(topic, self._rule.decode(LogEntry(event.position, event.wire, 0)))
        if problem := self._try(topic, event, decoded):
            code = event.reason if event.reason in _FOR_GOOD else decoded.code or FAILED
            self._rows.put(PARKED_EVENTS, _tried_again(event, code, problem, self._now))
            return False
        self._rows.delete(PARKED_EVENTS, (topic, event.stream, event.ordinal))
        self.outcome.released += 1
        return True

    def _try(self, topic: str, event: ParkedEvent, decoded: Decoded) -> str:
        """Apply a parked event, or pass over it as was decided; return why it cannot be, or nothing."""
        if event.reason in _FOR_GOOD:
            return "" if self._rule.skips_repeat(event.source, event.event_id) else event.detail
        if decoded.envelope is None:
            return "" if decoded.skip else decoded.problem
        if not event.source:  # it could not be read when it came, so it was not counted yet
            self._take_late(topic, decoded)
            return ""
        return self._evolve(topic, decoded)

    def _take_late(self, topic: str, decoded: Decoded) -> None:
        """Take an entry that can be read now as if it came now: perhaps a duplicate, perhaps parked in its stream."""
        checkpoint = self._rows.get(CHECKPOINTS, (topic,))
        for admitted in self._admit(topic, [decoded]):
            self._take(topic, admitted, began_late=bool(checkpoint and checkpoint.began_after))


_FOR_GOOD: Final = frozenset({NUMBER_REUSED, VERSION_REUSED})
"""Reasons that no retry can change; the way out is to skip."""
_ALL_PARKED: Final = Query(order_by=("topic", "stream"), limit=1_000_000_000)
_DETAIL_LENGTH: Final = 2000


def _tried_again(event: ParkedEvent, code: str, problem: str, now: str) -> ParkedEvent:
    return msgspec.structs.replace(event, reason=code, detail=_printable(problem), attempts=event.attempts + 1, last_at=now)


def _printable(text: str) -> str:
    """What a rule raised may hold anything; what is stored must be Unicode."""
    return text[:_DETAIL_LENGTH].encode("utf-8", "backslashreplace").decode()


def _recent_key(topic: str, envelope: Envelope | None) -> Key | None:
    if envelope is None or not envelope.number:
        return None
    return (topic, envelope.producer, envelope.number % RECENT_IDS)
