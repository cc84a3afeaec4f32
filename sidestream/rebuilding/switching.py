"""Moves the pointer that queries follow: to a generation, back to the one before; and drops what is no longer wanted.

The pointer moves only to a generation that has reached the place of the one it leaves, while that one stands still for
the moment of the move: a client never goes back in time. A generation whose code is gone is followed by nobody; it can
be made live all the same, as it stands, and says since when.
"""

from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import UTC, datetime

import msgspec

from sidestream.errors import ReadModelError, StoreAway, TryAgain, UnreadableGeneration
from sidestream.ports import Generation, GenerationInfo
from sidestream.rebuilding.building import Site, Vector
from sidestream.rebuilding.lacking import count_lacking
from sidestream.rebuilding.verifying import shapes_of, up_to

Move = Callable[[str, str], None]


class Switched(msgspec.Struct, frozen=True):
    """The pointer moved: what is live now, what was before, and since when the live one is stale, if it is."""

    live: str
    before: str
    stale_since: str = ""


def switch(site: Site, name: str, *, accept: bool = False, stale: bool = False) -> Switched:
    """Let queries use this generation.

    Args:
        site: where it is.
        name: the generation.
        accept: take one that was held because it differs from the live one, or that lacks events that this one has counted.
        stale: take one whose code is gone, as it stands.

    Raises:
        UnknownGeneration: there is none of this name.
        ReadModelError: it is live already, unfinished, held and not accepted, or its code is gone; it lacks what the live one
            has counted, and that is not accepted; or a rebuild runs.
    """
    with site.read_models.exclusively(site.who):
        return _move(site, site.named(name), site.read_models.switch, accept=accept, stale=stale)


def roll_back(site: Site, *, stale: bool = False) -> Switched:
    """Let queries use the generation that was live before this one; raises as `switch` does, and when there is none."""
    with site.read_models.exclusively(site.who):
        found = previous(site)
        if found is None:
            raise ReadModelError(
                f"{site.projection.name}: expected a generation that was live before this one, found none. "
                f"`sidestream projections list {site.projection.name}` shows what there is; switch to one by its name."
            )
        return _move(site, found, site.read_models.roll_back, accept=False, stale=stale)


def previous(site: Site) -> GenerationInfo | None:
    """Return the generation that was live before the live one."""
    once_live = [info for info in site.read_models.generations() if info.switched and not info.live]
    return max(once_live, key=lambda info: info.switched, default=None)


def drop(site: Site, name: str) -> None:
    """Remove a generation for good; raises UnknownGeneration, or ReadModelError if it is live or a rebuild runs."""
    with site.read_models.exclusively(site.who):
        site.read_models.drop(site.named(name).name)


def _move(site: Site, info: GenerationInfo, move: Move, *, accept: bool, stale: bool) -> Switched:
    _refuse_unfit(site, info, accept=accept)
    live = site.live()
    before = live.name if live else ""
    if info.version != site.projection.version:
        since = _stale_since(site, info, stale=stale)
        site.read_models.mark_ready(info.name)
        move(info.name, since)
        return Switched(info.name, before, since)
    site.refuse_foreign(live)
    with closing(site.read_models.open(info.name)) as generation:
        take_over(site, generation, live, move, accept=accept)
    return Switched(info.name, before)


def _refuse_unfit(site: Site, info: GenerationInfo, *, accept: bool) -> None:
    where = f"{site.projection.name}: generation {info.name}"
    if info.live:
        raise ReadModelError(f"{where} is live already.")
    if info.state == "building":
        raise ReadModelError(f"{where}: expected it ready, found it building. Let the rebuild finish first, or run it again.")
    if info.state == "scratch":
        raise ReadModelError(f"{where}: expected one that follows the log, found one made by --until. It can be compared and dropped.")
    site.refuse_other_tables(info)
    if info.state == "held" and not accept:
        raise ReadModelError(f"{where} differs from the live one. Look at it with `projections diff`, then switch with --accept.")


# ── with its code ────────────────────────────────────────────────────────────────────────────────────────────────────


def take_over(site: Site, generation: Generation, live: GenerationInfo | None, move: Move, *, accept: bool) -> None:
    """Catch up with the log and with what was decided, then with the live generation while it stands still; then move the pointer.

    Until then a generation is as ready as it was before: whoever is interrupted finds it so.

    Raises:
        ReadModelError: it lacks what the live one has counted, and that is not accepted; or it is gone.
        DecidedTooLate: it did without a decision that the live one has met.
    """
    site.come_close(lambda: site.fill(generation, site.end_of_log()))
    site.meet(generation)
    with ExitStack() as held:
        if live is not None and (left := _readable(site, live)) is not None:
            held.callback(left.close)
            site.come_close(lambda: site.fill(generation, up_to(site, site.vector_of(left))))
            if not accept:
                _refuse_lacking(site, generation, left)
            _reach(site, generation, site.vector(held.enter_context(left.unit())))
            if site.late is not None:
                site.late.refuse()
        _refuse_gone(site, generation)
        site.read_models.mark_ready(generation.name)
        move(generation.name, "")


def _refuse_gone(site: Site, generation: Generation) -> None:
    """What is open can be read and written though its file was removed."""
    try:
        generation.check()
    except UnreadableGeneration as error:
        raise UnreadableGeneration(f"{site.projection.name}: {error} The pointer was not moved. Rebuild again.") from None


def _refuse_lacking(site: Site, generation: Generation, left: Generation) -> None:
    lost = count_lacking(site, generation, left)
    if lost:
        name = site.projection.name
        raise ReadModelError(
            f"{name}: generation {generation.name} lacks {lost:,} events that {left.name} has counted: the log has lost them, and "
            f"{left.name} may be their only copy. The pointer was not moved. Restore the log and try again; or give these events "
            f"up: sidestream projections switch {name} {generation.name} --accept"
        )


def _reach(site: Site, generation: Generation, place: Vector) -> None:
    if site.is_beyond(place, site.vector_of(generation)):
        site.fill(generation, up_to(site, place))
    if site.is_beyond(place, reached := site.vector_of(generation)):
        behind = ", ".join(f"{topic}={at.position if at else 'start'}" for topic, at in reached.items())
        raise ReadModelError(
            f"{site.projection.name}: generation {generation.name} expected to reach the live one, found it at {behind}. "
            "The log ends before; the pointer was not moved. Is it another log?"
        )


def _readable(site: Site, info: GenerationInfo) -> Generation | None:
    try:
        found = site.read_models.open(info.name)
    except (StoreAway, TryAgain):
        raise
    except ReadModelError:  # it is being left because it is broken
        return None
    try:
        site.vector_of(found)
    except UnreadableGeneration:
        found.close()
        return None
    return found


# ── without its code ─────────────────────────────────────────────────────────────────────────────────────────────────


def _stale_since(site: Site, info: GenerationInfo, *, stale: bool) -> str:
    """Return when its last event was recorded; refuse what the present program cannot read."""
    versions = f"generation {info.name} was built by version {info.version}, the code is version {site.projection.version}"
    if not stale:
        raise ReadModelError(
            f"{site.projection.name}: {versions}: nobody follows it. Deploy version {info.version} and try again, "
            "or serve it as it stands with --stale."
        )
    if missing := _unreadable_columns(site, info):
        raise ReadModelError(
            f"{site.projection.name}: {versions} and cannot read it: it lacks {', '.join(missing)}. Deploy the old version."
        )
    with closing(site.read_models.open(info.name)) as generation:
        return _last_event(site, site.vector_of(generation)) or info.created_at


def _unreadable_columns(site: Site, info: GenerationInfo) -> list[str]:
    has = {(shape.name, column.name, column.type) for shape in shapes_of(site, info) for column in shape.columns}
    wanted = [(table.name, column.name, column.type) for table in site.projection.tables for column in table.columns]
    return [f"{table}.{column}" for table, column, kind in wanted if (table, column, kind) not in has]


def _last_event(site: Site, vector: Vector) -> str:
    entries = [site.log.read(topic, at.position, 1) for topic, at in vector.items() if at is not None]
    times = [found[0].recorded_ms for found in entries if found]
    return datetime.fromtimestamp(max(times) / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if times else ""
