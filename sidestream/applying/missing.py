"""Versions that streams wait for: which are missing, how many events wait behind them, and what it is to give them up.

Giving up is a decision like any other (`corrections.py`): it is kept beside the generations, every generation meets it,
and it can be taken back. It is recorded while the generation stands still, so that no version can come in between.
"""

from collections.abc import Callable, Iterator

import msgspec

from sidestream.applying.applied import PARKED_EVENTS, PARKED_STREAMS, ParkedStream
from sidestream.applying.corrections import Correction, Corrections
from sidestream.applying.dead_letters import Letter
from sidestream.applying.decoding import Rule
from sidestream.applying.remembered import Remembered
from sidestream.applying.rules import Applier
from sidestream.applying.versions import Versions
from sidestream.errors import InvalidEvent
from sidestream.ports import Condition, Generation, Query, Reader

_PAGE = 1000


class Missing(msgspec.Struct, frozen=True):
    """What a stream waits for.

    Attributes:
        versions: those that are missing before the first event that waits.
        events: how many events wait.
        since: when the first of them came.
    """

    topic: str
    versions: Versions
    events: int
    since: str

    @property
    def letter(self) -> Letter:
        """What a decision about it is about."""
        return Letter("version", self.topic, str(self.versions), b"", "waiting")


def missing_versions(generation: Generation) -> Iterator[Missing]:
    """Go through the streams of a generation that wait for a version, by topic and name, in one consistent moment."""
    with generation.snapshot() as reader:
        after: tuple[str, str] | None = None
        where = (Condition("waiting_for", ">", 0),)
        while page := reader.select(PARKED_STREAMS, Query(where=where, order_by=PARKED_STREAMS.key, after=after, limit=_PAGE)):
            yield from (_missing_of(reader, parked) for parked in page)
            after = (page[-1].topic, page[-1].stream)


def missing_in(generation: Generation, stream: str) -> list[Missing]:
    """Return what a stream waits for; several where streams of several topics have one name."""
    where = (Condition("waiting_for", ">", 0), Condition("stream", "=", stream))
    with generation.snapshot() as reader:
        found = reader.select(PARKED_STREAMS, Query(where=where, order_by=PARKED_STREAMS.key, limit=_PAGE))
        return [_missing_of(reader, parked) for parked in found]


def parked_behind(generation: Generation, decision: Correction) -> int:
    """Return how many events are parked of the stream that a decision gave versions up of."""
    stream = Versions.parse(decision.name).stream
    with generation.snapshot() as reader:
        return reader.count(PARKED_EVENTS, (Condition("topic", "=", decision.origin), Condition("stream", "=", stream)))


def _missing_of(reader: Reader, parked: ParkedStream) -> Missing:
    of_stream = (Condition("topic", "=", parked.topic), Condition("stream", "=", parked.stream))
    (oldest,) = reader.select(PARKED_EVENTS, Query(where=of_stream, order_by=PARKED_EVENTS.key, limit=1))
    beyond = (*of_stream, Condition("streamversion", ">", parked.waiting_for))
    nearest = reader.select(PARKED_EVENTS, Query(where=beyond, order_by=("streamversion", "ordinal"), limit=1))
    last = nearest[0].streamversion - 1 if nearest else parked.waiting_for
    versions = Versions(parked.stream, parked.waiting_for, last)
    return Missing(parked.topic, versions, reader.count(PARKED_EVENTS, of_stream), oldest.first_at)


# ── giving up ────────────────────────────────────────────────────────────────────────────────────────────────────────


def give_up(rule: Rule, generation: Generation, decision: Correction, record: Corrections, now: Callable[[], str]) -> Correction:
    """Record that versions are given up, if they are what a stream waits for, and return the decision with its number.

    Nothing is applied by this; `drain` does it, in this generation as in all others.

    Args:
        rule: the one that the generation is built by.
        generation: the one that somebody looked at.
        decision: all or some of the missing versions, from the first one on.
        record: of every decision about the projection.
        now: the clock for what is written down.

    Raises:
        InvalidEvent: the stream does not wait for these, or not any more; nothing was recorded.
    """
    versions = Versions.parse(decision.name)
    key = (decision.origin, versions.stream)
    with generation.unit() as unit:
        parked = unit.read(PARKED_STREAMS, [key]).get(key)
        _expect_missing(_missing_of(unit, parked).versions if parked is not None and parked.waiting_for else None, versions)
        recorded = record.record(decision)
        applier = Applier(rule, unit, Remembered(), now())
        applier.retry(*key, most=0)  # it waits for nothing now: what comes, comes behind it until it is drained
        applier.commit()
    return recorded


def _expect_missing(missing: Versions | None, given_up: Versions) -> None:
    if missing is not None and missing.first == given_up.first and given_up.last <= missing.last:
        return
    found = f"it waiting for {missing}" if missing else "that it waits for none"
    raise InvalidEvent(
        f"{given_up}: expected versions that the stream waits for, from the first one on, found {found}. "
        "sidestream dead-letters waiting shows what is missing now."
    )
