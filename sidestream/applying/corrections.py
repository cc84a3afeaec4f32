"""What an operator decides about a dead letter: use another event instead, or skip it; and about a version that never came.

Kept beside the generations, never inside one, so that every generation meets the same: the live one at its next sweep,
a rebuild when it comes to the event. Records are only added; of several about one event the last is in force.

event    an event, by source and id
entry    an entry of the log that cannot be read, by topic and position where it was seen; it holds for its very bytes, and
         wherever the topic holds them: a log that was repaired or moved has them at other positions
repeat   an event under a number or a version that was given before, by source and id: it can only be skipped
version  versions of a stream that never came, by topic and `stream@3-5`: they can only be given up

Pure but for the place it is given; time and names are arguments.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from sidestream.applying.versions import Versions
from sidestream.errors import InvalidEvent, UnreadableEvent
from sidestream.event import MAX_EVENT_BYTES, Envelope, decode_event
from sidestream.ports import Condition, Generation, Query
from sidestream.projection import Table

About = Literal["event", "entry", "repeat", "version"]
Kind = Literal["edit", "skip", "give-up", "undo"]
Subject = tuple[str, str, str]
"""What a correction is about: `about`, `origin`, `name`."""

_IDENTITY: Final = ("id", "source", "subject", "producer", "sequence", "streamversion")
"""What an edited event must keep: by these it is counted, found again, and stands in its stream."""
_PAGE: Final = 10_000


class Correction(msgspec.Struct, frozen=True):
    """One decision, as it was recorded.

    Attributes:
        number: 1, 2, 3 … in order of recording; 0 before it is recorded.
        about, origin, name: what it is about: source and id, topic and position, or topic and versions.
        kind: `edit` uses `wire` instead, `skip` counts the event and does nothing, `give-up` waits for versions no more,
            `undo` takes the one before back.
        wire: the whole event to use instead; empty unless it is an edit.
        original: the bytes that the log holds.
        who, why, at: of the person who decided.
    """

    number: int
    about: str
    origin: str
    name: str
    kind: str
    wire: bytes
    original: bytes
    who: str
    why: str
    at: str

    @property
    def subject(self) -> Subject:
        """What it is about."""
        return self.about, self.origin, self.name

    @property
    def replaces(self) -> tuple[Subject, bytes]:
        """What an earlier decision shares that is not in force any more. Two entries may have stood at one position."""
        return self.subject, self.original if self.about == "entry" else b""

    @property
    def is_to_be_met(self) -> bool:
        """Whether what is parked is tried because of it. An undo leaves an event as it is; versions are waited for again."""
        return self.kind != "undo" or self.about == "version"


CORRECTIONS: Final = Table(Correction, key=("number",), name="sidestream_corrections")
BESIDE: Final = (CORRECTIONS,)
"""The tables beside the generations: give them to `ReadModels.beside`."""


class Corrections:
    """The record of every decision about one projection's dead letters."""

    def __init__(self, place: Generation) -> None:
        self._place = place

    def record(self, correction: Correction) -> Correction:
        """Add a decision and return it with its number.

        Raises:
            StoreAway: nothing was recorded.
        """
        with self._place.unit() as unit:
            newest = unit.select(CORRECTIONS, Query(order_by=("number",), descending=True, limit=1))
            recorded = msgspec.structs.replace(correction, number=newest[0].number + 1 if newest else 1)
            unit.write(CORRECTIONS, [recorded])
        return recorded

    def after(self, number: int) -> Sequence[Correction]:
        """Return what was recorded after a number, in order.

        Raises:
            StoreAway: it cannot be read now.
        """
        found: list[Correction] = []
        while page := self._page(found[-1].number if found else number):
            found.extend(page)
        return found

    def _page(self, number: int) -> Sequence[Correction]:
        with self._place.snapshot() as reader:
            return reader.select(CORRECTIONS, Query(where=(Condition("number", ">", number),), order_by=("number",), limit=_PAGE))

    def close(self) -> None:
        """Release the place."""
        self._place.close()


class GivenUp:
    """The versions that are given up: no stream waits for them, and whatever brings one later is not applied."""

    def __init__(self, decisions: Iterable[Correction] = ()) -> None:
        self._found: dict[tuple[str, str], list[tuple[Versions, Correction]]] = {}
        for each in decisions:
            versions = Versions.parse(each.name)
            self._found.setdefault((each.origin, versions.stream), []).append((versions, each))
        for found in self._found.values():
            found.sort(key=lambda pair: pair[0].first)

    def any_of(self, topic: str, stream: str) -> bool:
        """Return whether any version of a stream is given up."""
        return (topic, stream) in self._found

    def find(self, topic: str, stream: str, version: int) -> Correction | None:
        """Return the decision by which a version is given up, if it is."""
        return next((decided for versions, decided in self._found.get((topic, stream), ()) if version in versions), None)

    def next_wanted(self, topic: str, stream: str, version: int) -> int:
        """Return the first version from this one on that is not given up."""
        for versions, _ in self._found.get((topic, stream), ()):  # in order of their first version
            version = versions.last + 1 if version in versions else version
        return version


class InForce:
    """The decisions in force, in memory. Read and refreshed from any thread.

    Args:
        corrections: the record, read at once and on every `refresh`; None for no decisions.

    Raises:
        StoreAway: the record cannot be read now.
    """

    def __init__(self, corrections: Corrections | None = None) -> None:
        self._corrections = corrections
        self._refreshing = Lock()
        self._found: Mapping[tuple[Subject, bytes], Correction] = MappingProxyType({})
        self._by_bytes: Mapping[tuple[str, bytes], Correction] = MappingProxyType({})
        self.given_up = GivenUp()
        self.latest = 0
        self.refresh()

    def follow(self, corrections: Corrections) -> None:
        """Take decisions from this record from now on. Raises StoreAway when it cannot be read now."""
        self._corrections = corrections
        self.refresh()

    def refresh(self) -> int:
        """Take over what was recorded meanwhile; return the number of the last record.

        Raises:
            StoreAway: what was known stays in force.
        """
        with self._refreshing:  # what was read first must not be taken over last
            self._take(self._corrections.after(self.latest) if self._corrections else ())
            return self.latest

    def _take(self, news: Sequence[Correction]) -> None:
        if news:
            self._found = {**self._found, **{each.replaces: each for each in news}}
            self._by_bytes = {**self._by_bytes, **{(each.origin, each.original): each for each in news if each.about == "entry"}}
            self.given_up = GivenUp(each for each in self._found.values() if each.kind == "give-up")
            self.latest = news[-1].number

    def only(self, wanted: Callable[[Correction], bool]) -> "InForce":
        """Return those that are wanted, as they are now: what is recorded later does not come to them."""
        found = InForce()
        found._take(sorted((each for each in tuple(self._found.values()) if wanted(each)), key=lambda each: each.number))
        return found

    def since(self, number: int) -> list[Correction]:
        """Return what was recorded after a number, is the last about its subject, and is to be met."""
        return [each for each in tuple(self._found.values()) if each.number > number and each.is_to_be_met]

    def last_of_each(self) -> list[Correction]:
        """Return the last record about everything that was ever decided, an undo too."""
        return list(self._found.values())

    def find(self, subject: Subject) -> Correction | None:
        """Return the decision about an event, or about a number or version given twice, if there is one."""
        return _unless_undone(self._found.get((subject, b"")))

    def find_entry(self, topic: str, position: str, wire: bytes) -> Correction | None:
        """Return the decision about an entry that cannot be read: the one about its place, else the last one about its bytes."""
        at_its_place = _unless_undone(self._found.get((("entry", topic, position), wire)))
        return at_its_place or _unless_undone(self._by_bytes.get((topic, wire)))

    def concerns(self, topic: str, envelope: Envelope) -> bool:
        """Return whether anything was decided about an event, or about versions of its stream."""
        return self.find(("event", envelope.source, envelope.id)) is not None or self.given_up.any_of(topic, envelope.stream)

    def __len__(self) -> int:
        return len(self._found)


def _unless_undone(found: Correction | None) -> Correction | None:
    return None if found is None or found.kind == "undo" else found


# ── an event to use instead ──────────────────────────────────────────────────────────────────────────────────────────


def with_data(original: bytes, data: bytes) -> bytes:
    """Return the event with other data, given as JSON; every attribute stays, and no number in the data changes.

    Raises:
        InvalidEvent: the original is no event, or the data is no JSON.
    """
    attributes = _members(original, "the event")
    attributes.pop("data_base64", None)
    try:
        attributes["data"] = msgspec.json.decode(data, type=msgspec.Raw)
        msgspec.json.decode(str(data, "utf-8"))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidEvent(f"edit: expected data as JSON: {error}. Correct it and edit again.") from None
    return msgspec.json.encode(attributes)


def with_fields(original: bytes, fields: bytes) -> bytes:
    """Return the event with some fields of its data replaced, given as a JSON object."""
    attributes = _members(original, "the event")
    data = _members(bytes(attributes.get("data", msgspec.Raw(b"{}"))), "the event's data")
    return with_data(original, msgspec.json.encode({**data, **_members(fields, "--set")}))


def checked(original: bytes, instead: bytes) -> bytes:
    """Return the event to use instead, if it may stand for the original: the same identity, and not too large.

    Raises:
        InvalidEvent: it is no event, or another one.
    """
    if len(instead) > MAX_EVENT_BYTES:
        raise InvalidEvent(f"edit: expected at most {MAX_EVENT_BYTES} bytes, found {len(instead)}. Shorten the data.")
    try:
        new = decode_event(instead)
    except UnreadableEvent as error:
        raise InvalidEvent(f"edit: the event to use instead cannot be read: {error}. Correct it and edit again.") from None
    old = readable(original)
    for name in _IDENTITY if old else ():
        if getattr(old, name) != getattr(new, name):
            expected, found = getattr(old, name), getattr(new, name)
            raise InvalidEvent(f"edit: {name}: expected {expected!r} as in the original, found {found!r}. Edit type, schema and data only.")
    return instead


def readable(wire: bytes) -> Envelope | None:
    """Return the event, None where the bytes are none."""
    try:
        return decode_event(wire)
    except UnreadableEvent:
        return None


def _members(text: bytes, what: str) -> dict[str, msgspec.Raw]:
    try:
        return msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidEvent(f"edit: expected {what} as a JSON object: {error}. Give the whole event with --event.") from None
