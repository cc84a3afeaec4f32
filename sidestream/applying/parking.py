"""Parked streams: events that cannot be applied now are kept, in order of arrival, with their reason and original bytes.

A stream waits for one version, or stands still behind an event that failed. What stands under a name of its own, because
order does not matter to it, holds up nobody. What is not counted is known by this name when the log is read again: an entry
that cannot be read is named by its bytes, a number that was given twice by itself and the event's id.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from sidestream.applying.applied import PARKED_EVENTS, PARKED_STREAMS, STREAM_VERSIONS, ParkedEvent, ParkedStream
from sidestream.applying.batch import BEHIND, NUMBER_REUSED, VERSION_GIVEN_UP, VERSION_REUSED, WAITING, Reason
from sidestream.applying.decoding import Decoded
from sidestream.applying.remembered import Work
from sidestream.errors import RefusedByStore
from sidestream.event import digest
from sidestream.ports import Condition, Query

FOR_GOOD: Final = frozenset({NUMBER_REUSED, VERSION_REUSED, VERSION_GIVEN_UP})
"""Reasons that no retry can change; the way out is to skip."""
_DETAIL_LENGTH: Final = 2000
_BY_POSITION: Final = ("entry $", "entry!")
"""What stands before and beyond the names that earlier releases gave entries, `entry 17`; `entry #...` is none of them."""
_ALL: Final = 1_000_000_000


class Parking:
    """Parks events in one transaction, and says whose turn it is."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._rows = work.rows
        self._parked_by_position: dict[str, frozenset[bytes]] = {}

    def park_once(self, topic: str, name: str, decoded: Decoded, reason: Reason) -> None:
        """Keep what is not counted, and is met again whenever the log is read again, under a name of its own, unless it is kept."""
        if (topic, name) in self._work.parked or (decoded.envelope is None and self._has_parked_by_position(topic, decoded)):
            self._work.outcome.duplicates += 1
        else:
            self.park(topic, name, decoded, reason)

    def _has_parked_by_position(self, topic: str, decoded: Decoded) -> bool:
        """Return whether an earlier release has parked these bytes. This one parks nothing by position, so that one look will do."""
        if topic not in self._parked_by_position:
            found = self._work.unit.select(PARKED_EVENTS, named_by_position(topic))
            self._parked_by_position[topic] = frozenset(event.wire for event in found)
        return decoded.entry.data in self._parked_by_position[topic]

    def park(self, topic: str, stream: str, decoded: Decoded, reason: Reason) -> None:
        """Keep an event that cannot be applied now. Under a name of its own instead of its stream's it holds up nobody."""
        before = self._work.parked.get((topic, stream)) or ParkedStream(topic, stream, 0, 1, 1)
        self._rows.put(PARKED_EVENTS, self._parked_event(before, decoded, reason))
        self.keep(msgspec.structs.replace(before, next=before.next + 1, waiting_for=reason.waiting_for))
        self._work.outcome.parked += 1

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
            first_at=self._work.now,
            last_at=self._work.now,
            wire=decoded.entry.data,
        )

    def keep(self, stream: ParkedStream) -> None:
        """Note how a parked stream stands now."""
        self._work.parked[stream.topic, stream.stream] = stream
        self._rows.put(PARKED_STREAMS, stream)

    def stand_still(self, stream: ParkedStream) -> None:
        """Note that a stream waits for no version any more: its first event has to be tried again."""
        self.keep(msgspec.structs.replace(stream, waiting_for=0))

    def free(self, stream: ParkedStream) -> None:
        """Note that nothing of a stream is parked any more."""
        self._rows.delete(PARKED_STREAMS, (stream.topic, stream.stream))
        del self._work.parked[stream.topic, stream.stream]

    def release(self, event: ParkedEvent) -> None:
        """Note that an event is not parked any more."""
        self._rows.delete(PARKED_EVENTS, (event.topic, event.stream, event.ordinal))
        self._work.outcome.released += 1

    def tried(self, event: ParkedEvent, code: str, problem: str) -> None:
        """Note why an event could not be applied this time either."""
        attempts = event.attempts + 1
        self._rows.put(
            PARKED_EVENTS,
            msgspec.structs.replace(event, reason=code, detail=_printable(problem), attempts=attempts, last_at=self._work.now),
        )

    def refuse(self, topic: str, stream: str, refusal: RefusedByStore) -> None:
        """Note that the database refuses what the next event of a parked stream brings."""
        parked = self._work.parked.get((topic, stream))
        event = self.next_of(parked, waiting)[0] if parked and (waiting := self.events_of(parked)) else None
        if parked is not None and event is not None:
            self.tried(event, refusal.code, str(refusal))
            self.stand_still(parked)

    def events_of(self, parked: ParkedStream) -> list[ParkedEvent]:
        """Return what is parked of a stream, in order of arrival."""
        keys = [(parked.topic, parked.stream, ordinal) for ordinal in range(parked.first, parked.next)]
        self._rows.fetch((PARKED_EVENTS, key) for key in keys)
        return [event for key in keys if (event := self._rows.get(PARKED_EVENTS, key)) is not None]

    def next_of(self, parked: ParkedStream, waiting: Sequence[ParkedEvent]) -> tuple[ParkedEvent | None, int]:
        """Return the event whose turn it is, or None and the version that is missing."""
        first = waiting[0]
        if not first.streamversion or not self._work.rule.projection.ordered or first.reason in FOR_GOOD:
            return first, 0
        if self._has_failed_as_the_first(parked, first):
            return first, 0
        expected = self.successor(parked.topic, parked.stream)
        return next((event for event in waiting if event.streamversion == expected), None), expected

    def _has_failed_as_the_first(self, parked: ParkedStream, event: ParkedEvent) -> bool:
        """Return whether an event was tried as the first of its stream that came: whatever its version, none has to come before it."""
        was_tried = event.reason not in (BEHIND, WAITING)
        return was_tried and not parked.waiting_for and self._rows.get(STREAM_VERSIONS, (parked.topic, parked.stream)) is None

    # ── versions ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def successor(self, topic: str, stream: str) -> int:
        """Return the version that comes next in a stream: after the last one applied, what was given up left out."""
        last = self._rows.get(STREAM_VERSIONS, (topic, stream))
        return self._work.rule.corrections.given_up.next_wanted(topic, stream, last.version + 1 if last else 1)

    def why_passed(self, topic: str, stream: str, version: int) -> Reason | None:
        """Return why no event can be applied as this version any more, None where one can be."""
        given_up = self._work.rule.corrections.given_up.find(topic, stream, version)
        if given_up is not None:
            decided = f"given up by {given_up.who} at {given_up.at}: {given_up.why}"
            return Reason(VERSION_GIVEN_UP, f"version {version} of {stream} was {decided}; it came after all, and is not applied")
        last = self._rows.get(STREAM_VERSIONS, (topic, stream))
        if last is None or version > last.version:
            return None
        detail = f"version {version} of {stream}: expected version {last.version + 1}; this one came before, under another number"
        return Reason(VERSION_REUSED, detail)

    def set_aside(self, parked: ParkedStream, waiting: Sequence[ParkedEvent]) -> list[ParkedEvent]:
        """Park those events of a stream apart that can never be applied in it, or skip them as was decided; return the others."""
        left = []
        for event in waiting:
            reason = self._why_apart(parked, event)
            if reason is None:
                left.append(event)
            elif self._work.rule.skips_repeat(event.source, event.event_id):
                self.release(event)
            else:
                self._move(event, reason)
        return left

    def _why_apart(self, parked: ParkedStream, event: ParkedEvent) -> Reason | None:
        if not event.streamversion or not self._work.rule.projection.ordered or event.reason in FOR_GOOD:
            return None
        return self.why_passed(parked.topic, parked.stream, event.streamversion)

    def _move(self, event: ParkedEvent, reason: Reason) -> None:
        name = name_apart(event.stream, event.streamversion, event.event_id)
        stream = self._work.parked.get((event.topic, name)) or ParkedStream(event.topic, name, 0, 1, 1)
        self._rows.delete(PARKED_EVENTS, (event.topic, event.stream, event.ordinal))
        self.tried(msgspec.structs.replace(event, stream=name, ordinal=stream.next), reason.code, reason.detail)
        self.keep(msgspec.structs.replace(stream, next=stream.next + 1))


def name_apart(stream: str, version: int, event_id: str) -> str:
    """Return what an event is parked under that can never be applied in its stream: there it holds up nobody."""
    return f"version {version} of {stream} as {event_id}"


def name_of_entry(wire: bytes) -> str:
    """Return what an entry is parked under that cannot be read: wherever it stands, it is the same letter."""
    return f"entry #{digest(wire).hex()}"


def named_by_position(topic: str, *where: Condition) -> Query:
    """Return what finds the entries that earlier releases parked; there are none in a generation that this one began."""
    named = Condition("topic", "=", topic), Condition("stream", ">=", _BY_POSITION[0]), Condition("stream", "<", _BY_POSITION[1])
    return Query(where=(*named, Condition("source", "=", ""), *where), order_by=PARKED_EVENTS.key, limit=_ALL)


def _printable(text: str) -> str:
    """What a rule raised may hold anything; what is stored must be Unicode."""
    return text[:_DETAIL_LENGTH].encode("utf-8", "backslashreplace").decode()
