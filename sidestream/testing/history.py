"""A history as a test writes it, and the log that it becomes: counted, versioned, repeated, in any order that is allowed.

What is allowed is what the house promises (design, section 4): within a subject the first occurrence of each event
stands in order, unless the type of the event or the projection says that order does not matter; a duplicate may stand
anywhere behind the event that it repeats.
"""

import random
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import msgspec

from sidestream.event import Counted, NewEvent, decode_event, encode_event
from sidestream.registry import Registry

PRODUCER: Final = "00000000-0000-7000-8000-000000000000.1"
"""Who counts in a specification."""
_NO_ATTRIBUTES: Final[Mapping[str, Any]] = {}


class Happened(msgspec.Struct, frozen=True):
    """One event of a history.

    Attributes:
        data: the event as its model; None for a stranger's event.
        subject: the stream it belongs to.
        id: by default `e-001`, `e-002` … by its place in the history.
        time: by default one second after the event before.
        topic: where a stranger's event stands; ours know their topic.
        wire: a stranger's event as it stands in the log.
        attributes: further attributes of `Registry.new_event`, such as `correlationid`.
    """

    data: msgspec.Struct | None
    subject: str = ""
    id: str = ""
    time: str = ""
    topic: str = ""
    wire: bytes = b""
    attributes: Mapping[str, Any] = _NO_ATTRIBUTES


def happened(
    data: msgspec.Struct,
    *,
    subject: str,
    id: str = "",  # noqa: A002 - CloudEvents' word
    time: str = "",
    **attributes: str,
) -> Happened:
    """Return an event of ours: `happened(VoteCast(…), subject="vote-1")`."""
    return Happened(data, subject, id, time, attributes=attributes)


def stranger(topic: str, wire: bytes) -> Happened:
    """Return an event that somebody else wrote, as the bytes in the log."""
    return Happened(None, topic=topic, wire=wire)


class Recorded(msgspec.Struct, frozen=True):
    """An event of a history, ready for the log: its topic, its bytes, what to call it, and what keeps it in order.

    `order` is equal for events that must keep their order among each other, and None where none must be kept.
    """

    topic: str
    wire: bytes
    name: str
    order: Hashable


def record(history: Sequence[Happened], registry: Registry, *, ordered: bool) -> list[Recorded]:
    """Count and encode a history.

    Args:
        history: what happened, in order.
        registry: the language it is written in.
        ordered: whether the projection needs the events of a stream in order.
    """
    sequences: defaultdict[str, int] = defaultdict(int)
    versions: defaultdict[tuple[str, str], int] = defaultdict(int)
    recorded = []
    for at, each in enumerate(history, start=1):
        if each.data is None:
            recorded.append(_strange(each, at, ordered=ordered))
            continue
        event = _new_event(each, each.data, at, registry)
        sequences[event.topic] += 1
        stream = (event.topic, each.subject)
        versions[stream] += event.ordered
        counted = Counted(PRODUCER, sequences[event.topic], versions[stream] if event.ordered else None)
        recorded.append(Recorded(event.topic, encode_event(event, counted), event.id, stream if ordered and event.ordered else None))
    return recorded


def _new_event(happened: Happened, data: msgspec.Struct, at: int, registry: Registry) -> NewEvent:
    return registry.new_event(
        data,
        id=happened.id or f"e-{at:03}",
        subject=happened.subject,
        time=happened.time or _second(at),
        **happened.attributes,
    )


def _second(at: int) -> str:
    minutes, seconds = divmod(at, 60)
    hours, minutes = divmod(minutes, 60)
    return f"2026-01-{1 + hours // 24:02}T{hours % 24:02}:{minutes:02}:{seconds:02}.000000Z"


def _strange(happened: Happened, at: int, *, ordered: bool) -> Recorded:
    """A stranger's event of a subject keeps its place in it; what cannot even be read belongs nowhere."""
    try:
        envelope = decode_event(happened.wire)
    except Exception:  # whatever a specification puts into the log, the projector is to judge it
        return Recorded(happened.topic, happened.wire, f"entry {at}", None)
    return Recorded(happened.topic, happened.wire, envelope.id, (happened.topic, envelope.stream) if ordered else None)


def repeated(events: Sequence[Recorded], times: int) -> list[Recorded]:
    """Return every event `times` times, one after another."""
    return [event for event in events for _ in range(times)]


def shuffled(events: Sequence[Recorded], seed: int) -> list[Recorded]:
    """Return the events in another order that is allowed.

    All are shuffled; then the events of one stream are dealt to its places again so that first occurrences are in order:

        written   a1 a2 b1 a1 a2 b1
        shuffled  a2 b1 a2 a1 b1 a1
        dealt     a1 b1 a1 a2 b1 a2      the first `a` seen becomes a1, the next other one a2
    """
    mixed = list(events)
    random.Random(seed).shuffle(mixed)  # noqa: S311 - a seed that is printed, no secret
    return dealt(mixed, events)


def dealt(mixed: Sequence[Recorded], written: Sequence[Recorded]) -> list[Recorded]:
    """Return `mixed` with the first occurrences of each stream's events in the order in which they were written."""
    firsts: defaultdict[Hashable, list[Recorded]] = defaultdict(list)
    for event in written:
        if event.order is not None and event not in firsts[event.order]:
            firsts[event.order].append(event)
    given: defaultdict[Hashable, dict[str, Recorded]] = defaultdict(dict)
    return [_deal(event, firsts[event.order], given[event.order]) if event.order is not None else event for event in mixed]


def _deal(event: Recorded, in_order: Sequence[Recorded], dealt: dict[str, Recorded]) -> Recorded:
    if event.name not in dealt:
        dealt[event.name] = in_order[len(dealt)]
    return dealt[event.name]
