"""Stores what came in, once: an event is known by its source and id, and one append is one transaction."""

from collections.abc import Callable, Sequence

import msgspec

from sidestream.errors import EventConflict, WrongExpectedVersion
from sidestream.event import NewEvent
from sidestream.ports import Append, EventStore, StoredEvent

_NEVER = 2**62
"""A version that no stream has."""
_PROBE = "external-probe"


class Recorded(msgspec.Struct, frozen=True):
    """Where an event stands, and whether it stood there before."""

    stored: StoredEvent
    duplicate: bool


class Conflicts(Exception):
    """Some of the events contradict what is stored, or each other; nothing was stored.

    Attributes:
        reasons: index of the event → why.
    """

    def __init__(self, reasons: dict[int, str]) -> None:
        super().__init__(f"{len(reasons)} events are in conflict")
        self.reasons = reasons


class Recorder:
    """Appends events of strangers as facts, and tells the relay. Safe to call from threads."""

    def __init__(self, store: EventStore, ring: Callable[[], None]) -> None:
        self._store = store
        self._ring = ring

    def record(self, events: Sequence[NewEvent]) -> list[Recorded]:
        """Store all events, or none, and return where each stands.

        Raises:
            Conflicts: source and id of some are stored already, or named twice, with other content.
        """
        if not events:
            return []
        try:
            stored = self._store.append([Append(None, tuple(events))])
        except EventConflict:
            raise self._conflicts(events) from None
        self._ring()
        return [Recorded(event, duplicate=event.repeated) for event in stored]

    def _conflicts(self, events: Sequence[NewEvent]) -> Conflicts:
        """Ask for each event whether it alone contradicts what is stored, then whether the others contradict each other."""
        reasons = self._stored_otherwise(events)
        rest = [index for index in range(len(events)) if index not in reasons]
        for at, reason in _contradictions([events[index] for index in rest]).items():
            reasons[rest[at]] = reason
        return Conflicts(reasons)

    def _stored_otherwise(self, events: Sequence[NewEvent]) -> dict[int, str]:
        """Return which events are stored already with other content. Nothing is stored by asking."""
        found = {}
        for index, event in enumerate(events):
            try:
                self._store.append([Append(None, (event,)), _refused(event)])
            except EventConflict as error:
                found[index] = str(error)
            except WrongExpectedVersion:
                continue
        return found


def _refused(event: NewEvent) -> Append:
    """Return an append that is always refused, and takes the others of its transaction with it."""
    probe = msgspec.structs.replace(event, id=f"{event.id[:64]} probe", subject=_PROBE, fingerprint=b"probe")
    return Append(_PROBE, (probe,), expected=_NEVER)


def _contradictions(events: Sequence[NewEvent]) -> dict[int, str]:
    """Return the events that name an earlier one of the same batch with other content."""
    first: dict[tuple[str, str], int] = {}
    found = {}
    for index, event in enumerate(events):
        at = first.setdefault((event.source, event.id), index)
        if at != index and events[at].content_digest() != event.content_digest():
            found[index] = f"event {event.id} of {event.source} stands in this batch already with other content. Give one an id of its own."
    return found
