"""The operator's view of parked events: list them, and try a stream again after the cause is mended."""

from collections.abc import Callable, Sequence

import msgspec

from sidestream.applied import PARKED_EVENTS, PARKED_STREAMS, ParkedEvent, ParkedStream
from sidestream.applying import Applier, Remembered, Rule
from sidestream.errors import RefusedByStore
from sidestream.ports import Generation, Query


class Retried(msgspec.Struct, frozen=True):
    """What a retry did: streams tried, streams free now, events applied by it."""

    tried: int
    freed: int
    applied: int


def parked_streams(generation: Generation, limit: int = 1_000_000) -> Sequence[ParkedStream]:
    """Return the parked streams of a generation, by topic and name."""
    with generation.snapshot() as reader:
        return reader.select(PARKED_STREAMS, Query(order_by=("topic", "stream"), limit=limit))


def parked_events(generation: Generation, limit: int = 1000, after: tuple[str, str, int] | None = None) -> Sequence[ParkedEvent]:
    """Return a page of parked events, by topic, stream and order of arrival."""
    with generation.snapshot() as reader:
        return reader.select(PARKED_EVENTS, Query(order_by=PARKED_EVENTS.key, after=after, limit=limit))


def retry(rule: Rule, generation: Generation, now: Callable[[], str], topic: str | None = None, stream: str | None = None) -> Retried:
    """Try parked streams again, each in a transaction of its own: all, those of a topic, or one.

    A stream is drained in order until an event cannot be applied; that one keeps its new reason.
    """
    wanted = [
        parked
        for parked in parked_streams(generation)
        if (topic is None or parked.topic == topic) and (stream is None or parked.stream == stream)
    ]
    remembered = Remembered()
    freed = applied = 0
    for parked in wanted:
        try:
            with generation.unit() as unit:
                applier = Applier(rule, unit, remembered, now())
                free = applier.retry(parked.topic, parked.stream)
                applier.commit()
        except RefusedByStore:  # the database still refuses what this stream brings; the others may go on
            remembered.clear()
            continue
        freed += free
        applied += applier.outcome.released
    return Retried(len(wanted), freed, applied)
