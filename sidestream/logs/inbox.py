"""The inbox log: a log of the app's own, for brokers that keep no history and apps that may not read the broker.

Here the sidecar's deliveries are the truth. Everything a delivery brings is appended in one transaction before it is
answered: the bytes as they came, each event once by source and id, at a position from a locked counter row. Whoever
follows the log of a broker follows this one: it is an `EventLog`. An entry that is no event is kept too; the projector
makes a dead letter of it. Pure but for the port.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from sidestream.errors import UnreadableEvent
from sidestream.event import DIGEST_BYTES, decode_event, digest
from sidestream.ports import EventLog

_NO_SOURCE: Final = bytes(DIGEST_BYTES)


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """One entry of a delivery: the bytes as they came, and what makes it the same entry when it comes again.

    Attributes:
        identity: a digest of the source and then the id, so that ids of one source stay neighbours in an index;
            what cannot be read is known by a digest of its bytes.
        producer, number: who counted it; nobody and 0 for strangers and for what cannot be read.
    """

    identity: bytes
    wire: bytes
    producer: str = ""
    number: int = 0


class Inbox(EventLog, Protocol):
    """An event log that the app writes itself. Safe to call from threads and several processes."""

    def append(self, topic: str, arrivals: Sequence[Arrival]) -> int:
        """Append, in the order given, what is not there yet, and return how much that was; on the disk when it returns.

        All of it or nothing. Two calls with the same event at once append it once. A later event under the source and id
        of an earlier one is the earlier one, whatever its content.

        Raises:
            StoreAway: it could not be committed; append the same again later.
        """
        ...

    def trim(self, topic: str, upto: str) -> None:
        """Forget every entry up to and including a position; raises StoreAway. What is forgotten may be appended anew."""
        ...


def arrived(wires: Sequence[bytes]) -> list[Arrival]:
    """Return the entries of one delivery in the order they are to be appended: each producer's by its count.

    A delivery is in no order, because the sidecar publishes and collects in parallel. Each producer's events are dealt
    to the places that its events have, smallest number first; everybody else's keep their places.

        came      a3  x  b2  a1  a2  b1
        appended  a1  x  b1  a2  a3  b2
    """
    arrivals = [_arrival(wire) for wire in wires]
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, arrival in enumerate(arrivals):
        if arrival.producer:
            places[arrival.producer].append(place)
    in_order = list(arrivals)
    for own in places.values():
        for place, arrival in zip(own, sorted((arrivals[at] for at in own), key=_number), strict=True):
            in_order[place] = arrival
    return in_order


def fresh(arrivals: Sequence[Arrival], known: "set[bytes]") -> list[Arrival]:
    """Return, in order, what is not known yet, each identity once."""
    first = {arrival.identity: arrival for arrival in reversed(arrivals)}
    return [arrival for arrival in arrivals if arrival.identity not in known and first[arrival.identity] is arrival]


def _number(arrival: Arrival) -> int:
    return arrival.number


def _arrival(wire: bytes) -> Arrival:
    try:
        envelope = decode_event(wire)
    except UnreadableEvent:
        return Arrival(_NO_SOURCE + digest(wire), wire)
    return Arrival(digest(envelope.source.encode()) + envelope.id.encode(), wire, envelope.producer or "", envelope.number)
