"""Builds the next generation of a projection beside the live one, from the beginning of the log, and moves the pointer.

The same projector, a new generation, from position 0. Queries go on reading the old one until the new one has caught up.
Killed half-way it never serves: what it left is removed by the next rebuild. Two at once: the second is refused.
"""

from collections.abc import Callable

import msgspec

from sidestream.applied import BOOKKEEPING
from sidestream.applying import Outcome, Rule
from sidestream.errors import HistoryTrimmed
from sidestream.ports import EventLog, ReadModels
from sidestream.projection import Projection
from sidestream.projector import Projector
from sidestream.registry import Registry

REBUILD_BATCH = 50_000

Progress = Callable[[int, int], None]
"""Called after each batch with how many entries were read, and how many the log held at the start."""


class Rebuilt(msgspec.Struct, frozen=True):
    """What a rebuild did: the new live generation, the one before it, and what became of the events."""

    generation: str
    before: str
    dropped: tuple[str, ...]
    outcome: Outcome


def rebuild(
    projection: Projection,
    registry: Registry,
    log: EventLog,
    read_models: ReadModels,
    now: Callable[[], str],
    *,
    progress: Progress = lambda done, total: None,
) -> Rebuilt:
    """Build the next generation and switch to it. The one before stays and follows; older ones are dropped.

    Raises:
        ReadModelError: another rebuild of this projection is running.
        HistoryTrimmed: the log does not begin at its beginning.
        LogUnavailable, StoreAway: the new generation stays unfinished and is removed by the next rebuild.
    """
    with read_models.exclusively():
        dropped = _drop_unfinished(read_models)
        _refuse_trimmed(projection, log)
        name = read_models.create(projection.version, (*BOOKKEEPING, *projection.tables), now())
        generation = read_models.open(name)
        try:
            outcome = _fill(Projector(Rule(projection, registry), log, generation, now, REBUILD_BATCH), _length(projection, log), progress)
        finally:
            generation.close()
        before = next((info.name for info in read_models.generations() if info.live), "")
        read_models.mark_ready(name)
        read_models.switch(name)
        return Rebuilt(name, before, (*dropped, *_drop_older(read_models, {name, before})), outcome)


def _fill(projector: Projector, total: int, progress: Progress) -> Outcome:
    """Follow the log until its end, as it is when it is reached."""
    outcome = Outcome()
    while (step := projector.step()) is not None:
        outcome.add(step)
        progress(outcome.applied + outcome.unhandled + outcome.duplicates + outcome.parked, total)
    return outcome


def _length(projection: Projection, log: EventLog) -> int:
    return sum(log.extent(topic).length for topic in projection.topics)


def _drop_unfinished(read_models: ReadModels) -> tuple[str, ...]:
    """Under the exclusive right nobody else is building: what is unfinished was left by one that died."""
    names = tuple(info.name for info in read_models.generations() if info.state == "building")
    for name in names:
        read_models.drop(name)
    return names


def _drop_older(read_models: ReadModels, keep: set[str]) -> tuple[str, ...]:
    names = tuple(info.name for info in read_models.generations() if info.name not in keep)
    for name in names:
        read_models.drop(name)
    return names


def _refuse_trimmed(projection: Projection, log: EventLog) -> None:
    for topic in projection.topics:
        trimmed_to = log.extent(topic).trimmed_to
        if trimmed_to is not None:
            raise HistoryTrimmed(
                f"{projection.name}: topic {topic} was trimmed up to {trimmed_to}: a rebuild would forget these events. "
                "Restore the log first; the live generation stays as it is."
            )
