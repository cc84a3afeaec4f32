"""One batch, one transaction: what is done with each event of the log, and in which order.

    read from the checkpoint on, decode                        no lock, no transaction
    begin; is the checkpoint still the one read from?          else somebody else was faster
    for each event, in log order
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
from sidestream.errors import SidestreamError, UnreadableEvent
from sidestream.event import Envelope, decode_event
from sidestream.intervals import Intervals
from sidestream.ports import LogEntry, Query, Unit
from sidestream.projection import Key, Projection, Table
from sidestream.registry import Registry
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
    """

    entry: LogEntry
    envelope: Envelope | None = None
    event: Any = None
    handled: bool = False
    keys: tuple[tuple[Table[Any], Key], ...] = ()
    problem: str = ""
    code: str = ""


class Batch(msgspec.Struct, frozen=True):
    """Entries of one topic after a checkpoint, and the checkpoint they lead to."""

    topic: str
    read_from: Checkpoint | None
    entries: Sequence[Decoded]
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

    def add(self, other: "Outcome") -> None:
        """Add the numbers of another transaction."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Rule:
    """A projection together with the language it is written in."""

    def __init__(self, projection: Projection, registry: Registry) -> None:
        self.projection = projection
        self.registry = registry
        self._handled = frozenset(registry.type_of(model).name for model in projection.handles)

    def decode(self, entry: LogEntry) -> Decoded:
        """Decode one entry; never raises, a problem is noted in what is returned."""
        try:
            envelope = decode_event(entry.data)
        except UnreadableEvent as error:
            return Decoded(entry, problem=str(error), code=UNREADABLE)
        if self._handled and envelope.type not in self._handled:
            return Decoded(entry, envelope)
        return self._decode_handled(entry, envelope)

    def _decode_handled(self, entry: LogEntry, envelope: Envelope) -> Decoded:
        try:
            event = self.registry.read(envelope) if self._handled else envelope.data
            keys = tuple(self.projection.keys(event, envelope))
        except SidestreamError as error:
            return Decoded(entry, envelope, handled=True, problem=str(error), code=error.code)
        except Exception as error:  # the rule's own `keys` raised: this event is parked
            return Decoded(entry, envelope, handled=True, problem=f"keys: {type(error).__name__}: {error}", code=FAILED)
        return Decoded(entry, envelope, event, handled=True, keys=keys)


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

    def __init__(self, rule: Rule, unit: Unit, remembered: Remembered, now: str) -> None:
        self._rule = rule
        self._unit = unit
        self._remembered = remembered
        self._now = now
        self._rows = WorkingRows(unit)
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
        admitted = self._admit(batch.topic, batch.entries)
        self._fetch(batch.topic, admitted)
        for decoded in admitted:
            self._take(batch.topic, decoded, began_late=began_late)
        self._rows.put(CHECKPOINTS, batch.leads_to)

    def commit(self) -> None:
        """Write everything into the transaction; the caller's block commits it."""
        self._note_counts()
        self._rows.put(HEADS, Head("head", self._revision))
        self._rows.flush()
        self._remembered.revision = self._revision

    def _note_counts(self) -> None:
        for (topic, producer), recent in self._recent.items():
            self._rows.put(COUNTS, Count(topic, producer, str(self._remembered.counts[topic, producer])))
            for slot, (number, event_id) in recent.items():
                self._rows.put(RECENT, RecentId(topic, producer, slot, number, event_id))

    # ── admission: every number once ─────────────────────────────────────────────────────────────────────────────────

    def _admit(self, topic: str, entries: Sequence[Decoded]) -> list[Decoded]:
        """Count every event and return those that were not counted before, in log order."""
        self._fetch_admission(topic, entries)
        admitted: list[Decoded] = []
        repeated: list[Decoded] = []
        for decoded in entries:
            if decoded.envelope is None:
                self._park(topic, f"entry {decoded.entry.position}", decoded, Reason(decoded.code, decoded.problem))
            elif self._is_new(topic, decoded.envelope):
                admitted.append(decoded)
            else:
                repeated.append(decoded)
        self._check_repeated(topic, repeated)
        return admitted

    def _fetch_admission(self, topic: str, entries: Sequence[Decoded]) -> None:
        counts = self._remembered.counts
        producers = {decoded.envelope.producer for decoded in entries if decoded.envelope and decoded.envelope.producer}
        unknown = [(topic, producer) for producer in producers if (topic, producer) not in counts]
        found = self._unit.read(COUNTS, unknown)
        for key in unknown:
            counts[key] = Intervals.parse(found[key].intervals) if key in found else Intervals()
        self._rows.fetch(
            (STRANGERS, (topic, decoded.envelope.source, decoded.envelope.id))
            for decoded in entries
            if decoded.envelope and decoded.envelope.producer is None
        )

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
            if envelope is None or applied_as is None or applied_as == envelope.id:
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
            detail = f"{stream}: expected version {expected}, found {version} under another number"
            self._park(topic, f"version {version} of {stream} as {envelope.id}", decoded, Reason(VERSION_REUSED, detail))
        elif parked is not None and not (parked.waiting_for and parked.waiting_for == version):
            self._park(topic, stream, decoded, Reason(BEHIND, "an earlier event of its stream is parked", parked.waiting_for))
        elif expected and version > expected:
            reason = Reason(WAITING, f"{stream}: waiting for version {expected}, found {version}", expected)
            self._park(topic, stream, decoded, reason)
        elif problem := self._evolve(topic, decoded):
            self._park(topic, stream, decoded, Reason(decoded.code or FAILED, problem))
        elif parked is not None:
            self._drain(topic, parked)

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

    def retry(self, topic: str, stream: str) -> bool:
        """Try the parked events of a stream again, in order; return whether the stream is free now."""
        parked = self._parked.get((topic, stream))
        if parked is None:
            return True
        self._drain(topic, parked)
        return (topic, stream) not in self._parked

    def _drain(self, topic: str, parked: ParkedStream) -> None:
        """Apply parked events of a stream, each when it is its turn, until one cannot be."""
        waiting = self._parked_events(parked)
        while waiting:
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
        decoded = self._rule.decode(LogEntry(event.position, event.wire, 0))
        if event.reason == UNREADABLE and decoded.envelope is not None and not self._admit(topic, [decoded]):
            problem = ""  # readable now, and counted already under another position
        else:
            problem = event.detail if event.reason in _FOR_GOOD else self._evolve(topic, decoded)
        if problem:
            code = event.reason if event.reason in _FOR_GOOD else decoded.code or FAILED
            self._rows.put(PARKED_EVENTS, _tried_again(event, code, problem, self._now))
            return False
        self._rows.delete(PARKED_EVENTS, (topic, event.stream, event.ordinal))
        self.outcome.released += 1
        return True


_FOR_GOOD: Final = frozenset({NUMBER_REUSED, VERSION_REUSED})
"""Reasons that no retry can change."""
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
