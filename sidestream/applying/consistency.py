"""Read your writes: where the events of a command stand in the count, and whether a read model has applied them.

A command's answer carries a token, `votes:01934c5e-….1:17, assets:01934c60-….1:4`: topic, producer and number of each of
its events. A query that sends it back waits until exactly these are counted in the live generation and not parked. A
number is never guessed from a position: another event of the same topic proves nothing. Pure but for the reader.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

import msgspec

from sidestream.applying.applied import COUNTS, PARKED_EVENTS, PARKED_STREAMS, ParkedEvent
from sidestream.applying.batch import BEHIND, WAITING
from sidestream.applying.intervals import Intervals
from sidestream.errors import InvalidToken
from sidestream.event import MAX_ATTRIBUTE_BYTES, MAX_NUMBER
from sidestream.ports import Condition, Query, Reader

MOST_PLACES: Final = 100
"""Most events in one token: it travels in a header."""
_PLACE: Final = re.compile(r"([^:,\s]+):([^:,\s]+):([0-9]{1,19})")
_PASSING: Final = frozenset({WAITING, BEHIND})
"""Reasons of a parked event that may end without an operator."""


class Place(msgspec.Struct, frozen=True):
    """One event in the count of its topic: who counted, and as which number."""

    topic: str
    producer: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.topic}:{self.producer}:{self.sequence}"


class Standing(msgspec.Struct, frozen=True):
    """What a generation knows of one place.

    Attributes:
        missing: how many numbers of this producer, up to this one, are not counted; 0 where it is counted.
        parked: the event, where it is counted and parked.
    """

    place: Place
    counted: bool
    missing: int = 0
    parked: ParkedEvent | None = None

    @property
    def applied(self) -> bool:
        """Whether a query sees it."""
        return self.counted and self.parked is None

    @property
    def stuck(self) -> bool:
        """Whether waiting is of no use: it is parked until an operator mends or decides something."""
        return self.parked is not None and self.parked.reason not in _PASSING


def token_of(places: Iterable[Place]) -> str:
    """Return the token as the header carries it."""
    return ", ".join(map(str, places))


def parse_token(text: str, topics: Collection[str]) -> tuple[Place, ...]:
    """Read a token.

    Raises:
        InvalidToken: it is malformed, too long, or names a topic that is not among these.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > MOST_PLACES:
        raise InvalidToken(f"consistency token: expected at most {MOST_PLACES} events, found {len(parts)}. Wait for the newest ones.")
    places = dict.fromkeys(_place(part) for part in parts)
    if unknown := sorted({place.topic for place in places} - set(topics)):
        followed = ", ".join(topics)
        raise InvalidToken(f"consistency token: expected topics among {followed}, found {unknown[0][:80]!r}. Send only what is read here.")
    return tuple(places)


def _place(part: str) -> Place:
    found = _PLACE.fullmatch(part)
    if found is None or not 0 < int(found[3]) <= MAX_NUMBER or len(found[2].encode()) > MAX_ATTRIBUTE_BYTES:
        raise InvalidToken(f"consistency token: expected topic:producer:number, found {part[:80]!a}. Send what the command answered.")
    return Place(found[1], found[2], int(found[3]))


def examine(reader: Reader, places: Collection[Place]) -> Mapping[Place, Standing]:
    """Return what a generation knows of these places, all in one moment."""
    rows = reader.read(COUNTS, {(place.topic, place.producer) for place in places})
    counts = {key: Intervals.parse(row.intervals) for key, row in rows.items()}
    any_parked = bool(reader.select(PARKED_STREAMS, Query(limit=1)))
    return {place: _standing(reader, place, counts.get((place.topic, place.producer)), any_parked=any_parked) for place in places}


def _standing(reader: Reader, place: Place, counted: Intervals | None, *, any_parked: bool) -> Standing:
    if counted is None or place.sequence not in counted:
        return Standing(place, counted=False, missing=counted.missing_up_to(place.sequence) if counted else place.sequence)
    return Standing(place, counted=True, parked=_parked(reader, place) if any_parked else None)


def _parked(reader: Reader, place: Place) -> ParkedEvent | None:
    values = {"topic": place.topic, "producer": place.producer, "number": place.sequence}
    where = tuple(Condition(name, "=", value) for name, value in values.items())
    found = reader.select(PARKED_EVENTS, Query(where=where, order_by=PARKED_EVENTS.key, limit=1))
    return found[0] if found else None
