"""The operator's side of parked events: list them, decide about one, and try a stream again.

A decision (`corrections.py`) is recorded beside the generations; `drain` lets a generation meet it now. A stream is
always drained in order, until an event of it cannot be applied.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Final

import msgspec

from sidestream.applying.applied import PARKED_EVENTS, PARKED_STREAMS, ParkedEvent, ParkedStream
from sidestream.applying.batch import BEHIND, WAITING
from sidestream.applying.corrections import About, Correction, Corrections, Kind, Subject, readable
from sidestream.applying.decoding import Rule
from sidestream.applying.parking import FOR_GOOD, name_of_entry, named_by_position
from sidestream.applying.remembered import Remembered
from sidestream.applying.rules import Applier
from sidestream.applying.versions import Versions
from sidestream.errors import InvalidEvent, RefusedByStore
from sidestream.ports import Condition, Generation, Query, Reader

_ALL = 1_000_000
_ENTRY: Final = "entry #"
_APART: Final = ("version ", "version!")
"""What stands before every name that `parking.name_apart` gives, and what no such name reaches."""


class Retried(msgspec.Struct, frozen=True):
    """What a retry did: streams tried, streams free now, events applied by it."""

    tried: int
    freed: int
    applied: int


class Letter(msgspec.Struct, frozen=True):
    """What a decision can be about: a parked event, or what an earlier decision was about.

    Attributes:
        about, origin, name: an event by source and id, an entry by topic and position, versions by topic and stream
            (see `corrections.py`).
        original: the bytes that the log holds.
        reason: why it is parked.
    """

    about: About
    origin: str
    name: str
    original: bytes
    reason: str = ""

    @property
    def subject(self) -> Subject:
        """What a decision about it is filed under."""
        return self.about, self.origin, self.name

    @property
    def told(self) -> str:
        """What tells it from another letter of its name."""
        return f"{name_of_entry(self.original) if self.about == 'entry' else self.reason or self.about} of {self.origin}"

    def is_meant_by(self, decision: Correction) -> bool:
        """Return whether a decision is about this: about an entry, wherever its bytes stood."""
        if self.about == "entry":
            return (decision.about, decision.origin, decision.original) == (self.about, self.origin, self.original)
        return decision.subject == self.subject

    def correction(self, kind: Kind, wire: bytes = b"", *, who: str, why: str, at: str) -> Correction:
        """Return a decision about it, to be recorded.

        Raises:
            InvalidEvent: nobody said who or why, or it is nothing that can be decided about this.
        """
        if not who.strip() or not why.strip():
            raise InvalidEvent(f"{kind} of {self.name}: expected who and why, found nothing. Say both: they are kept for ever.")
        if kind == "edit" and self.about == "repeat":
            raise InvalidEvent(f"{self.name}: {self.reason}: another event has its number or version. Only a skip is possible.")
        if kind in ("edit", "skip") and self.about == "version":
            raise InvalidEvent(f"{self.name}: expected an event, found versions that never came. Give them up, or take that back.")
        return Correction(0, self.about, self.origin, self.name, kind, wire, self.original, who, why, at)


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def parked_streams(generation: Generation) -> Sequence[ParkedStream]:
    """Return the parked streams of a generation, by topic and name."""
    with generation.snapshot() as reader:
        return reader.select(PARKED_STREAMS, Query(order_by=("topic", "stream"), limit=_ALL))


def parked_events(generation: Generation, limit: int = 1000, after: tuple[str, str, int] | None = None) -> Sequence[ParkedEvent]:
    """Return a page of parked events, by topic, stream and order of arrival."""
    with generation.snapshot() as reader:
        return reader.select(PARKED_EVENTS, Query(order_by=PARKED_EVENTS.key, after=after, limit=limit))


def parked_as(generation: Generation, name: str) -> Sequence[ParkedEvent]:
    """Return the parked events of this name: an event's id, or of an entry that cannot be read `topic@position` or `entry #...`."""
    topic, _, position = name.rpartition("@")
    by_id = _found(generation, Condition("event_id", "=", name)) if name else ()
    by_place = by_id or _found(generation, Condition("topic", "=", topic), Condition("position", "=", position))
    return by_place or (_found(generation, Condition("stream", "=", name)) if name.startswith(_ENTRY) else ())


def letters_about(generation: Generation, name: str) -> Sequence[Letter]:
    """Return what a decision could be about under this name; several where several sources use one id, or a log was written anew."""
    return list({(letter.subject, letter.original): letter for letter in map(letter_of, parked_as(generation, name))}.values())


def letter_of(event: ParkedEvent) -> Letter:
    """Return what a decision about a parked event is about."""
    if event.reason in FOR_GOOD:
        return Letter("repeat", event.source, event.event_id, event.wire, event.reason)
    envelope = readable(event.wire)
    if envelope is None:
        return Letter("entry", event.topic, event.position, event.wire, event.reason)
    return Letter("event", envelope.source, envelope.id, event.wire, event.reason)


def _found(generation: Generation, *where: Condition) -> Sequence[ParkedEvent]:
    with generation.snapshot() as reader:
        return _parked_where(reader, *where)


def _parked_where(reader: Reader, *where: Condition) -> Sequence[ParkedEvent]:
    return reader.select(PARKED_EVENTS, Query(where=where, order_by=PARKED_EVENTS.key, limit=_ALL))


def parked_for(reader: Reader, correction: Correction) -> Sequence[ParkedEvent]:
    """Return the parked events that a decision about an event or an entry is about."""
    if correction.about == "entry":
        return _parked_entries(reader, correction.origin, correction.name, correction.original)
    return _parked_where(reader, Condition("source", "=", correction.origin), Condition("event_id", "=", correction.name))


def _parked_entries(reader: Reader, topic: str, position: str, wire: bytes) -> Sequence[ParkedEvent]:
    """Return what is parked of an entry: under its name, under that of an earlier release, or in a stream, where an edit of it failed."""
    of_topic = Condition("topic", "=", topic)
    at_its_place = _parked_where(reader, of_topic, Condition("position", "=", position))
    found = [
        *_parked_where(reader, of_topic, Condition("stream", "=", name_of_entry(wire))),
        *reader.select(PARKED_EVENTS, named_by_position(topic, Condition("wire", "=", wire))),
        *(event for event in at_its_place if event.wire == wire),
    ]
    return list({PARKED_EVENTS.key_of(event): event for event in found}.values())


def has_met(reader: Reader, correction: Correction) -> bool:
    """Return whether a generation has met a decision, as far as it makes a difference: what it is about does not wait for it.

    An edited event that failed again is parked like one that nobody has looked at: it makes none, and is said to wait.
    """
    if correction.about == "version":
        return not _waits_for(reader, correction.origin, Versions.parse(correction.name))
    parked = parked_for(reader, correction)
    return not any(not event.source for event in parked) if correction.about == "entry" else not parked


def _waits_for(reader: Reader, topic: str, versions: Versions) -> bool:
    """Whoever gives versions up lets the stream stand still first: nothing of it has been tried then."""
    key = (topic, versions.stream)
    parked = reader.read(PARKED_STREAMS, [key]).get(key)
    if parked is None or parked.waiting_for:
        return parked is not None and parked.waiting_for in versions
    of_stream = [Condition("topic", "=", topic), Condition("stream", "=", versions.stream)]
    untried = sum(reader.count(PARKED_EVENTS, [*of_stream, Condition("reason", "=", reason)]) for reason in (WAITING, BEHIND))
    return untried == reader.count(PARKED_EVENTS, of_stream)


# ── deciding ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def decide(generations: Iterable[Generation], record: Corrections, decision: Correction) -> Correction:
    """Record a decision while these generations stand still, and return it with its number.

    What leaves a parked stream looks for decisions first, in its transaction: what is parked afterwards will have met this one.

    Args:
        generations: in an order that is the same for everybody.
        record: of every decision about the projection.
        decision: about something that is parked, or was.

    Raises:
        StoreAway: nothing was recorded.
    """
    with ExitStack() as still:
        for generation in generations:
            still.enter_context(generation.unit())
        return record.record(decision)


# ── trying again ─────────────────────────────────────────────────────────────────────────────────────────────────────


def drain(rule: Rule, generation: Generation, now: Callable[[], str], corrections: Iterable[Correction]) -> Retried:
    """Let a generation meet decisions: try the parked streams that they are about. What is not parked is left alone."""
    with generation.snapshot() as reader:
        only = {stream for correction in corrections for stream in _streams_of(reader, correction)}
    return retry(rule, generation, now, only=only) if only else Retried(0, 0, 0)


def _streams_of(reader: Reader, correction: Correction) -> set[tuple[str, str]]:
    if correction.about == "version":
        return _streams_waiting(reader, correction.origin, Versions.parse(correction.name).stream)
    return {(event.topic, event.stream) for event in parked_for(reader, correction)}


def _streams_waiting(reader: Reader, topic: str, stream: str) -> set[tuple[str, str]]:
    """Return a stream, and the names under which events of it are parked that came too late for it."""
    apart = re.compile(rf"version \d+ of {re.escape(stream)} as .*", re.DOTALL)
    names = Condition("topic", "=", topic), Condition("stream", ">=", _APART[0]), Condition("stream", "<", _APART[1])
    late = _parked_streams_where(reader, *names)
    return {*reader.read(PARKED_STREAMS, [(topic, stream)]), *((topic, each.stream) for each in late if apart.fullmatch(each.stream))}


def _parked_streams_where(reader: Reader, *where: Condition) -> Sequence[ParkedStream]:
    return reader.select(PARKED_STREAMS, Query(where=where, order_by=PARKED_STREAMS.key, limit=_ALL))


def retry(
    rule: Rule,
    generation: Generation,
    now: Callable[[], str],
    topic: str | None = None,
    stream: str | None = None,
    *,
    only: Iterable[tuple[str, str]] | None = None,
) -> Retried:
    """Try parked streams again, each in a transaction of its own: all, those of a topic, of a name, or `only` those named in pairs.

    A stream is drained in order until an event cannot be applied; that one keeps its new reason.
    """
    where = [Condition(name, "=", value) for name, value in (("topic", topic), ("stream", stream)) if value is not None]
    with generation.snapshot() as reader:
        wanted = _parked_streams_where(reader, *where) if only is None else _named(reader, only)
    trial = _Trial(rule, generation, now)
    freed = sum(trial.drain(parked) for parked in wanted)
    return Retried(len(wanted), freed, trial.applied)


def _named(reader: Reader, streams: Iterable[tuple[str, str]]) -> Sequence[ParkedStream]:
    found = reader.read(PARKED_STREAMS, sorted(set(streams)))
    return [found[key] for key in sorted(found)]


class _Trial:
    """Parked streams of one generation, tried one after another."""

    def __init__(self, rule: Rule, generation: Generation, now: Callable[[], str]) -> None:
        self.applied = 0
        self._rule = rule
        self._generation = generation
        self._now = now
        self._remembered = Remembered()

    def drain(self, parked: ParkedStream) -> bool:
        """Try a stream; return whether it is free."""
        try:
            return self._transact(lambda applier: applier.retry(parked.topic, parked.stream))
        except RefusedByStore:
            return self._drain_singly(parked)

    def _drain_singly(self, parked: ParkedStream) -> bool:
        """The database refuses what one of its events brings: apply those before it, and note the reason with that one."""
        free, before = False, -1
        while not free and before != self.applied:
            before = self.applied
            try:
                free = self._transact(lambda applier: applier.retry(parked.topic, parked.stream, most=1))
            except RefusedByStore as refusal:
                return self._note(parked, refusal)
        return free

    def _note(self, parked: ParkedStream, refusal: RefusedByStore) -> bool:
        self._transact(lambda applier: applier.refuse(parked.topic, parked.stream, refusal))
        return False

    def _transact(self, act: Callable[[Applier], bool | None]) -> bool:
        try:
            with self._generation.unit() as unit:
                applier = Applier(self._rule, unit, self._remembered, self._now())
                result = bool(act(applier))
                applier.commit()
        except BaseException:
            self._remembered.clear()
            raise
        self.applied += applier.outcome.released
        return result
