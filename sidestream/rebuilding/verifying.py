"""Holds a new generation against the live one, at the same place in the log, while the live one goes on.

    follow the live one's checkpoints until close behind them     the new one never overtakes it
    open a snapshot of the live one: its checkpoints are V        one transaction wrote them: a consistent cut
    step the new one to exactly V                                 the log ends at V for its projector
        by the decisions about dead letters that the snapshot met     others wait for the switch, or it would be ahead
        what only the new one has parked is tried once more           decided, or mended, while it was built
    compare the new one with that snapshot                        nobody else writes to the new one

The live generation belongs to another process, or to none; it is never stopped, and nothing is asked of it. On PostgreSQL
the snapshot is REPEATABLE READ, on SQLite a read transaction; it is short, because the long way is gone before it.
"""

from contextlib import ExitStack, closing

import msgspec

from sidestream.applying.batch import Outcome
from sidestream.applying.corrections import InForce
from sidestream.applying.dead_letters import has_met, retry
from sidestream.applying.decoding import Rule
from sidestream.errors import ReadModelError, RefusedByStore, StoreAway, TryAgain, UnreadableGeneration
from sidestream.ports import Generation, GenerationInfo, Reader, TableShape, shape_of
from sidestream.rebuilding.building import Progress, Site, Vector
from sidestream.rebuilding.comparing import Comparison, Side, compare, parked_only_in, read_through
from sidestream.rebuilding.log_until import Later, after_positions


class Watch(msgspec.Struct, frozen=True):
    """Who is told how far it is: of the events, and of the rows to compare."""

    events: Progress
    rows: Progress


def verify_beside(site: Site, live: GenerationInfo, shadow: Generation, watch: Watch, outcome: Outcome) -> Comparison:
    """Fill a generation up to the live one's place and compare the two there. What became of events is added to `outcome`.

    A live generation whose file or tables are gone or broken is not compared; one that another release wrote is a finding.
    In both cases the other one is filled up to the log's end.
    """
    try:
        return _beside(site, live, shadow, watch, outcome)
    except UnreadableGeneration:
        why = why_broken(site, live)
        if not why:  # it is the other one that is broken
            raise
        outcome.add(site.come_close(lambda: site.fill(shadow, site.end_of_log(), watch.events)))
        return Comparison(live.name, shadow.name, unreadable=why)


def why_broken(site: Site, info: GenerationInfo) -> str:
    """Return why nobody can read a generation, whatever his release, or nothing; all of it is read for that."""
    try:
        with closing(site.read_models.open(info.name)) as generation, generation.snapshot() as reader:
            read_through(side_of(site, info, reader))
    except UnreadableGeneration as error:
        return str(error)
    return ""


def _beside(site: Site, live: GenerationInfo, shadow: Generation, watch: Watch, outcome: Outcome) -> Comparison:
    try:
        generation = site.read_models.open(live.name)
    except (StoreAway, TryAgain, UnreadableGeneration):
        raise
    except ReadModelError as error:
        outcome.add(site.come_close(lambda: site.fill(shadow, site.end_of_log(), watch.events)))
        return Comparison(live.name, shadow.name, findings=[f"{live.name} cannot be read: {error}"])
    with closing(generation):
        outcome.add(site.come_close(lambda: _come_up(site, live, generation, shadow, watch)))
        with generation.snapshot() as reader:
            side = side_of(site, live, reader)
            outcome.add(_reach(site, side, shadow, watch))
            return _beside_snapshot(site, side, shadow, watch.rows)


def _come_up(site: Site, info: GenerationInfo, live: Generation, shadow: Generation, watch: Watch) -> Outcome:
    with live.snapshot() as reader:
        vector, met = _standing(site, side_of(site, info, reader))
    return site.fill(shadow, up_to(site, vector), watch.events, met)


def _reach(site: Site, live: Side, shadow: Generation, watch: Watch) -> Outcome:
    """Bring a generation to the very place where the live one stands in the reader's moment, in the log and in what was decided."""
    vector, met = _standing(site, live)
    outcome = site.fill(shadow, up_to(site, vector), watch.events, met)
    with shadow.snapshot() as reader:
        streams = parked_only_in(reader, live.reader)
    if streams:
        retry(Rule(site.projection, site.registry, met), shadow, site.now, only=streams)
    return outcome


def _standing(site: Site, live: Side) -> tuple[Vector, InForce]:
    """Return how far a generation is, and which decisions it has met; all of them, where it was built by another version.

    First the vector: by this read the moment is chosen. What is recorded after it is in the list too, and waits in the
    reader; what had been met before it is in the list, and does not. Another rule applies what fails in this one: it is to
    meet what was decided about that when it comes to it, because it will not come to it again.
    """
    vector = site.vector(live.reader)
    with site.decisions() as in_force:
        return vector, in_force.only(lambda decision: live.version != site.projection.version or has_met(live.reader, decision))


def _beside_snapshot(site: Site, live: Side, shadow: Generation, progress: Progress) -> Comparison:
    new = next(info for info in site.read_models.generations() if info.name == shadow.name)
    with shadow.snapshot() as reader:
        return _compared(site, live, side_of(site, new, reader), progress)


def _compared(site: Site, left: Side, right: Side, progress: Progress) -> Comparison:
    try:
        return compare(left, right, site.projection.topics, progress)
    except RefusedByStore as error:  # a table or column is not there that should be
        return Comparison(left.name, right.name, findings=[f"the two cannot be compared: {error}"])


def up_to(site: Site, vector: Vector) -> Later:
    """Stop exactly where a generation stands."""
    return after_positions(site.log, {topic: at.position if at else None for topic, at in vector.items()})


def side_of(site: Site, info: GenerationInfo, reader: Reader) -> Side:
    """Return a generation as one side of a comparison."""
    return Side(info.name, reader, shapes_of(site, info), info.version)


def shapes_of(site: Site, info: GenerationInfo) -> tuple[TableShape, ...]:
    """Return the tables of a generation; where its release did not note them, those of the code if it is of its version."""
    noted = tuple(site.read_models.shapes(info.name))
    if noted or info.version != site.projection.version:
        return noted
    return tuple(map(shape_of, site.projection.tables))


def diff(site: Site, left: str, right: str, progress: Progress) -> Comparison:
    """Compare any two generations, each in a moment of its own.

    Raises:
        UnknownGeneration: one of them does not exist.
    """
    one, other = site.named(left), site.named(right)
    with ExitStack() as opened:
        ours, theirs = (opened.enter_context(closing(site.read_models.open(info.name))) for info in (one, other))
        here, there = (opened.enter_context(generation.snapshot()) for generation in (ours, theirs))
        return _compared(site, side_of(site, one, here), side_of(site, other, there), progress)
