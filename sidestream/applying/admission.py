"""Every number once: which events of a batch were counted before, and which number was given to two events.

A producer who counts is known by the intervals of its numbers, a stranger by source and id. A number that comes again is
a duplicate and passed over; under another id it is an error with a name of its own, as far back as the ids are kept.
"""

from collections.abc import Iterable, Sequence

from sidestream.applying.applied import COUNTS, RECENT, RECENT_IDS, STRANGERS, Count, RecentId, SeenStranger
from sidestream.applying.batch import NUMBER_REUSED, Reason
from sidestream.applying.decoding import Decoded
from sidestream.applying.intervals import Intervals
from sidestream.applying.parking import Parking, name_of_entry
from sidestream.applying.regular import Numbers
from sidestream.applying.remembered import Work
from sidestream.event import Envelope
from sidestream.projection import Key

_LATER_RUNS = 64
"""So many runs are held as columns before their ids are sorted into slots; most of these are overwritten by then."""


class RecentIds:
    """The ids of the last RECENT_IDS numbers of one producer which one transaction counts, by number modulo RECENT_IDS."""

    def __init__(self) -> None:
        self._slots: dict[int, tuple[int, str]] = {}
        self._later: list[Numbers] = []

    def note(self, number: int, event_id: str) -> None:
        """Note one number."""
        self.slots()[number % RECENT_IDS] = (number, event_id)

    def note_all(self, numbers: Numbers) -> None:
        """Note the numbers of a run, in log order."""
        self._later.append(numbers)
        if len(self._later) > _LATER_RUNS:
            self.slots()

    def slots(self) -> dict[int, tuple[int, str]]:
        """Return number and id by slot: what noting one after another would leave, found from the end."""
        newest: dict[int, tuple[int, str]] = {}
        for numbers in reversed(self._later):
            for number, event_id in zip(reversed(numbers.counted), reversed(numbers.ids), strict=True):
                newest.setdefault(number % RECENT_IDS, (number, event_id))
            if len(newest) == RECENT_IDS:
                break
        self._later.clear()
        self._slots |= newest
        return self._slots


class Admission:
    """Counts the events of one transaction."""

    def __init__(self, work: Work, parking: Parking) -> None:
        self._work = work
        self._rows = work.rows
        self._parking = parking
        self._counts = work.remembered.counts
        self._recent: dict[tuple[str, str], RecentIds] = {}

    def admit(self, topic: str, entries: Sequence[Decoded]) -> list[Decoded]:
        """Count every event and return those that were not counted before, in log order."""
        self._fetch(topic, entries)
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

    def write(self) -> None:
        """Put what was counted into the rows."""
        for (topic, producer), recent in self._recent.items():
            self._rows.put(COUNTS, Count(topic, producer, str(self._counts[topic, producer])))
            for slot, (number, event_id) in recent.slots().items():
                self._rows.put(RECENT, RecentId(topic, producer, slot, number, event_id))

    # ── a run ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def all_new(self, topic: str, all_numbers: Sequence[Numbers]) -> bool:
        """Return whether none of these numbers was counted before."""
        self._fetch_counts(topic, {numbers.producer for numbers in all_numbers})
        return not any(self._counts[topic, numbers.producer].overlaps(*some) for numbers in all_numbers for some in numbers.ranges)

    def count_all(self, topic: str, all_numbers: Sequence[Numbers]) -> None:
        """Count numbers that are all new."""
        for numbers in all_numbers:
            counts = self._counts[topic, numbers.producer]
            for low, high in numbers.ranges:
                counts.add_range(low, high)
            self._recent_of(topic, numbers.producer).note_all(numbers)

    # ── one event ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _take_unreadable(self, topic: str, decoded: Decoded) -> None:
        if decoded.skip:
            self._work.outcome.unhandled += 1
        else:
            self._parking.park_once(topic, name_of_entry(decoded.entry.data), decoded, Reason(decoded.code, decoded.problem))

    def _fetch(self, topic: str, entries: Sequence[Decoded]) -> None:
        self._fetch_counts(topic, {decoded.envelope.producer for decoded in entries if decoded.envelope and decoded.envelope.producer})
        self._rows.fetch(
            (STRANGERS, (topic, decoded.envelope.source, decoded.envelope.id))
            for decoded in entries
            if decoded.envelope and decoded.envelope.producer is None
        )

    def _fetch_counts(self, topic: str, producers: Iterable[str]) -> None:
        if unknown := [(topic, producer) for producer in producers if (topic, producer) not in self._counts]:
            found = self._work.unit.read(COUNTS, unknown)
            for key in unknown:
                self._counts[key] = Intervals.parse(found[key].intervals) if key in found else Intervals()

    def _is_new(self, topic: str, envelope: Envelope) -> bool:
        producer = envelope.producer
        if producer is None:
            return self._is_new_stranger(topic, envelope)
        number = envelope.number
        if not self._counts[topic, producer].add(number):
            return False
        self._recent_of(topic, producer).note(number, envelope.id)
        return True

    def _is_new_stranger(self, topic: str, envelope: Envelope) -> bool:
        key = (topic, envelope.source, envelope.id)
        if self._rows.get(STRANGERS, key) is not None:
            return False
        self._rows.put(STRANGERS, SeenStranger(*key))
        return True

    def _recent_of(self, topic: str, producer: str) -> RecentIds:
        recent = self._recent.get((topic, producer))
        if recent is None:
            recent = self._recent[topic, producer] = RecentIds()
        return recent

    # ── what came again ──────────────────────────────────────────────────────────────────────────────────────────────

    def _check_repeated(self, topic: str, repeated: Sequence[Decoded]) -> None:
        """A duplicate is passed over; the same number under another id is an error with a name."""
        self._rows.fetch((RECENT, key) for decoded in repeated if (key := _recent_key(topic, decoded.envelope)))
        for decoded in repeated:
            envelope = decoded.envelope
            applied_as = self._applied_as(topic, envelope) if envelope else None
            if envelope is None or applied_as in (None, envelope.id) or self._work.rule.skips_repeat(envelope.source, envelope.id):
                self._work.outcome.duplicates += 1
                continue
            number = f"number {envelope.number} of {envelope.producer}"
            detail = f"{number} was applied as event {applied_as}, found it again as {envelope.id}"
            self._parking.park_once(topic, f"{number} as {envelope.id}", decoded, Reason(NUMBER_REUSED, detail))

    def _applied_as(self, topic: str, envelope: Envelope) -> str | None:
        """Return the id under which this number was applied, None when it is too long ago."""
        key = _recent_key(topic, envelope)
        if key is None or envelope.producer is None:
            return None
        recent = self._recent.get((topic, envelope.producer))
        number, event_id = recent.slots().get(envelope.number % RECENT_IDS, (0, "")) if recent else (0, "")
        if number == 0 and (row := self._rows.get(RECENT, key)) is not None:
            number, event_id = row.sequence, row.event_id
        return event_id if number == envelope.number else None


def _recent_key(topic: str, envelope: Envelope | None) -> Key | None:
    if envelope is None or not envelope.number:
        return None
    return (topic, envelope.producer, envelope.number % RECENT_IDS)
