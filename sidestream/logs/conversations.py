"""A conversation: everything that one request set going, as a tree of causes.

An event hangs below the one that its causation id names. Where that one is not among them (a command, or an event that is
gone) it is a root. The same event recorded twice is one. Causes that go in a circle are cut at the event that was recorded
first. Pure, and nothing here is recursive: a chain may be as long as the log.
"""

from collections.abc import Iterable, Sequence

import msgspec

from sidestream.event import Envelope
from sidestream.logs.finding import Found


class Told(msgspec.Struct):
    """One event of a conversation.

    Attributes:
        positions: where it stands, once for every time it was recorded.
        recorded_ms: when it was recorded first.
        depth: how many causes stand above it in the tree.
        consequences: what was done because of it, in recorded order.
    """

    topic: str
    event: Envelope
    recorded_ms: int
    positions: list[str]
    depth: int = 0
    consequences: "list[Told]" = []


def belongs(found: Found, correlation: str) -> bool:
    """Return whether an event is of this conversation: by its correlation id, or because the conversation is named after it."""
    return found.event is not None and correlation in {found.event.correlationid, found.event.id}


def conversation_of(event: Envelope) -> str:
    """Return the id of the conversation that an event belongs to, or would begin."""
    return event.correlationid or event.id


def tree_of(found: Iterable[Found]) -> tuple[Told, ...]:
    """Return the roots of a conversation, given its events in recorded order."""
    events = _once_each(found)
    causes = _cut_circles(_causes(events))
    for at, cause in enumerate(causes):
        if cause is not None:
            events[cause].consequences.append(events[at])
    roots = tuple(event for event, cause in zip(events, causes, strict=True) if cause is None)
    for event in depth_first(roots):
        for consequence in event.consequences:
            consequence.depth = event.depth + 1
    return roots


def depth_first(roots: Sequence[Told]) -> Iterable[Told]:
    """Give every event of the tree: each before its consequences, these before its sisters."""
    waiting = list(reversed(roots))
    while waiting:
        event = waiting.pop()
        yield event
        waiting.extend(reversed(event.consequences))


def _once_each(found: Iterable[Found]) -> list[Told]:
    known: dict[tuple[str, str], Told] = {}
    for each in found:
        if each.event is None:
            continue
        name = (each.event.source, each.event.id)
        if name in known:
            known[name].positions.append(each.entry.position)
        else:
            known[name] = Told(each.topic, each.event, each.entry.recorded_ms, [each.entry.position])
    return list(known.values())


def _causes(events: Sequence[Told]) -> list[int | None]:
    """Return for each event the place of its cause. Ids are unique within a source only: the first of several is taken."""
    places: dict[str, int] = {}
    for at, told in enumerate(events):
        places.setdefault(told.event.id, at)
    return [places.get(told.event.causationid or "") for told in events]


def _cut_circles(causes: list[int | None]) -> list[int | None]:
    """Make the first event of every circle a root. Each place is walked once: what was walked before leads to a root."""
    walked = [0] * len(causes)
    for begin in range(len(causes)):
        at: int | None = begin
        while at is not None and not walked[at]:
            walked[at] = begin + 1
            at = causes[at]
        if at is not None and walked[at] == begin + 1:  # this very walk has come back
            causes[_first_of_circle(at, causes)] = None
    return causes


def _first_of_circle(at: int, causes: Sequence[int | None]) -> int:
    first, next_one = at, causes[at]
    while next_one is not None and next_one != at:
        first, next_one = min(first, next_one), causes[next_one]
    return first
