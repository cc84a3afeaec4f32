"""Builds the next generation of a projection beside the live one, from the beginning of the log, and moves the pointer.

The same projector, a new generation, from position 0; then it is held against the live one, then the pointer moves.
Queries go on reading the old one until then. Killed half-way it never serves: the next rebuild goes on where it stopped,
or begins anew where version or tables are others. Two at once: the second is refused and told who the first is.
"""

from collections.abc import Callable
from contextlib import closing

import msgspec
from msgspec.structs import replace

from sidestream.applying.batch import Outcome
from sidestream.errors import ReadModelError
from sidestream.ports import EventLog, Generation, GenerationInfo, ReadModels
from sidestream.projection import Projection
from sidestream.rebuilding.building import Begun, Progress, Site, parked_in, silent
from sidestream.rebuilding.comparing import Comparison
from sidestream.rebuilding.keeping import drop_older, kept_for_programs, once_live
from sidestream.rebuilding.lacking import Held
from sidestream.rebuilding.late_decisions import DecidedTooLate
from sidestream.rebuilding.log_until import Later, first_of
from sidestream.rebuilding.switching import take_over
from sidestream.rebuilding.verifying import Watch, verify_beside
from sidestream.registry import Registry


class Rebuilt(msgspec.Struct, frozen=True):
    """What a rebuild did.

    Attributes:
        generation: the new one.
        before: the live one when it began, empty where there was none.
        dropped: generations that were removed.
        kept: those that programs of an older version answer from, each with that version.
        outcome: what became of the events.
        parked: how many events are parked in it now; some of those that were, in `outcome`, may have been applied since.
        live: whether queries use the new one now.
        resumed: whether it went on with what a rebuild that died had left.
        comparison: how it differs from the one before; None where there was none.
        staying: older ones that were not dropped, each with what it has counted and the new one lacks.
    """

    generation: str
    before: str
    dropped: tuple[str, ...]
    kept: dict[str, int]
    outcome: Outcome
    parked: int
    live: bool
    resumed: bool
    comparison: Comparison | None
    staying: dict[str, Held] = {}


class Scratch(msgspec.Struct, frozen=True):
    """A generation as of some moment: its name, how far it has applied each topic, what became of the events, how many are parked."""

    generation: str
    applied: dict[str, str]
    outcome: Outcome
    parked: int


def rebuild(
    projection: Projection,
    registry: Registry,
    log: EventLog,
    read_models: ReadModels,
    now: Callable[[], str],
    *,
    progress: Progress = silent,
    accept: bool = False,
) -> Rebuilt:
    """Build the next generation, verify it, and switch to it. See `rebuild_at`."""
    return rebuild_at(Site(projection, registry, log, read_models, now), Watch(progress, silent), accept=accept)


def rebuild_at(site: Site, watch: Watch, *, accept: bool = False, keep: bool = True) -> Rebuilt:
    """Build the next generation, verify it, and switch to it. The one before stays and follows.

    Older ones are dropped, but for those that programs of an older version answer from, and those that have counted what the new
    one lacks; see `sidestream.rebuilding.keeping`.
    Where it differs from the live one, the pointer stays. A generation of another version than the live one may differ:
    it becomes live if that is accepted. What differs is kept as *held*, to look at and to switch to deliberately. So is
    one, accepted or not, that lacks what the live one has counted: the log has lost events, and no read model goes back. And
    so is one that had done without a decision about a dead letter before it came: the next one meets it from the beginning.
    A live one whose file or tables are gone or broken answers nobody and nothing can be held against it: it is left at once,
    and because nothing was compared, none that was ever live is dropped.

    Args:
        site: what to build, and where.
        watch: is told how far it is.
        accept: let a new version differ; let code that is older than the live generation take everybody back to its version.
        keep: keep a generation that differs; else it is dropped.

    Raises:
        ReadModelError: another rebuild of this projection is running; or the live generation is of a newer version than the code.
        HistoryTrimmed: the log does not begin at its beginning.
        OtherTables: tables were changed, and the version was not raised.
        LogUnavailable, StoreAway: the new generation stays unfinished; the next rebuild goes on with it.
    """
    with site.read_models.exclusively(site.who):
        site.refuse_unfit()
        live = site.live()
        if not accept:
            _refuse_going_back(site, live)
        site.refuse_foreign(live)
        begun, outcome = site.begin(), Outcome()
        with closing(site.read_models.open(begun.name)) as generation:
            comparison = _build(site, live, generation, watch, outcome)
            is_live = not _is_held(site, live, comparison, accept=accept) and _takes_over(site, generation, live, comparison)
            found = _result(begun, live, outcome, comparison, parked_in(generation), is_live=is_live)
        if not is_live:
            return replace(found, dropped=(*begun.dropped, *_set_aside(site, begun.name, keep=keep)))
        return _swept(site, found)


def _takes_over(site: Site, generation: Generation, live: GenerationInfo | None, comparison: Comparison | None) -> bool:
    """Make it live; or say in the comparison what was decided too late for it, and leave it."""
    broken = comparison is not None and bool(comparison.unreadable)
    try:
        take_over(site, generation, None if broken else live, site.read_models.switch, accept=True)  # what it lacks was looked at
    except DecidedTooLate:
        _note_late(site, comparison)
        return False
    return True


def _note_late(site: Site, comparison: Comparison | None) -> None:
    if comparison is not None and site.late is not None:
        comparison.late = len(site.late.found)
        comparison.findings.extend(site.late.findings(comparison.right))


def _swept(site: Site, found: Rebuilt) -> Rebuilt:
    """Drop older ones; what was ever live stays where nothing could be compared with the one before."""
    broken = found.comparison is not None and bool(found.comparison.unreadable)
    swept = drop_older(site, found.generation, {found.before, *(once_live(site) if broken else ())})
    kept = kept_for_programs(site.read_models.generations())
    return replace(found, dropped=(*found.dropped, *swept.dropped), staying=swept.staying, kept=kept)


def _refuse_going_back(site: Site, live: GenerationInfo | None) -> None:
    if live is not None and live.version > site.projection.version:
        raise ReadModelError(
            f"{site.projection.name}: the code is of version {site.projection.version}, and {live.name} of version {live.version} is live: "
            f"this rebuild would take everybody back. Rebuild with version {live.version}, or say --accept."
        )


def _is_held(site: Site, live: GenerationInfo | None, comparison: Comparison | None, *, accept: bool) -> bool:
    """Whether the pointer stays: the new one was held against the live one, differs from it, and that is not accepted."""
    if comparison is None or comparison.same or comparison.unreadable:
        return False
    return not (accept and _may_differ(site, live, comparison))


def _may_differ(site: Site, live: GenerationInfo | None, comparison: Comparison) -> bool:
    """Whether a difference may be accepted in passing: of a new version, and where nothing that was counted is lacking."""
    return live is not None and live.version != site.projection.version and comparison.counted and not (comparison.lost or comparison.late)


def _build(site: Site, live: GenerationInfo | None, generation: Generation, watch: Watch, outcome: Outcome) -> Comparison | None:
    if live is not None:
        comparison = verify_beside(site, live, generation, watch, outcome)
        if not comparison.unreadable:  # else it is wanted at once
            _note_late(site, comparison)
        return comparison
    outcome.add(site.come_close(lambda: site.fill(generation, site.end_of_log(), watch.events)))
    return None


def _result(
    begun: Begun, live: GenerationInfo | None, outcome: Outcome, comparison: Comparison | None, parked: int, *, is_live: bool
) -> Rebuilt:
    return Rebuilt(begun.name, live.name if live else "", begun.dropped, {}, outcome, parked, is_live, begun.resumed, comparison)


def _set_aside(site: Site, name: str, *, keep: bool) -> tuple[str, ...]:
    if keep:
        site.read_models.set_aside(name, "held")
        return ()
    site.read_models.drop(name)
    return (name,)


# ── a generation that is not to be live ──────────────────────────────────────────────────────────────────────────────


def verify(site: Site, watch: Watch) -> Comparison | None:
    """Build a generation beside the live one, compare them, drop it; None when nothing is live. Raises as `rebuild_at` does.

    What a rebuild has left unfinished stays as it is.
    """
    with site.read_models.exclusively(site.who):
        site.refuse_unfit()
        live = site.live()
        if live is None:
            return None
        site.refuse_foreign(live)
        name = site.create()
        try:
            with closing(site.read_models.open(name)) as generation:
                return verify_beside(site, live, generation, watch, Outcome())
        finally:
            site.read_models.drop(name)


def build_scratch(site: Site, later: Later, progress: Progress) -> Scratch:
    """Build the read model as it was at some moment, or as it is now if that is to come. It is never followed and never live.

    `drop` ends it. What a rebuild has left unfinished stays as it is.
    """
    with site.read_models.exclusively(site.who):
        site.refuse_unfit()
        name = site.create()
        with closing(site.read_models.open(name)) as generation:
            outcome = site.fill(generation, first_of(later, site.end_of_log()), progress)
            place, parked = site.vector_of(generation), parked_in(generation)
        site.read_models.set_aside(name, "scratch")
        return Scratch(name, {topic: at.position if at else "start" for topic, at in place.items()}, outcome, parked)
