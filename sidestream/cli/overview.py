"""What `projections list` tells of a projection: every generation, its state, its place in the log, its rows, its size."""

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Final

import msgspec

from sidestream.applying.applied import BOOKKEEPING_PREFIX
from sidestream.cli.output import as_size
from sidestream.errors import ReadModelError
from sidestream.ports import GenerationInfo
from sidestream.rebuilding.comparing import read_as
from sidestream.rebuilding.keeping import kept_for_programs
from sidestream.rebuilding.switching import previous
from sidestream.rebuilding.verifying import shapes_of

if TYPE_CHECKING:
    from sidestream.cli.declared import Declared
    from sidestream.rebuilding.building import Site

TITLES: Final = ("projection", "generation", "state", "version", "applied up to", "rows", "size", "created")


class GenerationOverview(msgspec.Struct, frozen=True):
    """One generation.

    Attributes:
        live, previous: whether queries use it, and whether `rollback` would go to it.
        kept_for: version of the older programs that answer from it, None where there can be none; see `why_kept`.
        stale_since: time of its last event, where it is live and nobody follows it.
        applied: topic → position, `start` where nothing was applied.
        rows: of all its tables; `problem` says why they cannot be read.
    """

    generation: str
    state: str
    version: int
    live: bool
    previous: bool
    kept_for: int | None
    stale_since: str
    created_at: str
    applied: dict[str, str]
    rows: int
    bytes: int
    problem: str = ""


class ProjectionOverview(msgspec.Struct, frozen=True):
    """One projection: the version of its code, and its generations. `live` and `previous` are empty where there is none."""

    projection: str
    app: str
    version: int
    topics: tuple[str, ...]
    live: str
    previous: str
    generations: list[GenerationOverview]


def overview_of(each: "Declared") -> ProjectionOverview:
    """Look at every generation of a projection."""
    from sidestream.cli.rebuilds import site_of

    with site_of(each) as site:
        before, live = previous(site), site.live()
        back = before.name if before else ""
        infos = site.read_models.generations()
        kept = kept_for_programs(infos)
        generations = [_generation(site, info, info.name == back, kept.get(info.name)) for info in infos]
    projection = each.projection
    return ProjectionOverview(
        projection.name, each.app, projection.version, tuple(projection.topics), live.name if live else "", back, generations
    )


def _generation(site: "Site", info: GenerationInfo, is_previous: bool, kept_for: int | None) -> GenerationOverview:
    applied, rows, problem = _content(site, info)
    return GenerationOverview(
        generation=info.name,
        state=info.state,
        version=info.version,
        live=info.live,
        previous=is_previous,
        kept_for=kept_for,
        stale_since=info.stale_since if info.live else "",
        created_at=info.created_at,
        applied=applied,
        rows=rows,
        bytes=site.read_models.size(info.name),
        problem=problem,
    )


def _content(site: "Site", info: GenerationInfo) -> tuple[dict[str, str], int, str]:
    shapes = [shape for shape in shapes_of(site, info) if not shape.name.startswith(BOOKKEEPING_PREFIX)]
    try:
        with closing(site.read_models.open(info.name)) as generation, generation.snapshot() as reader:
            place = site.vector(reader)
            rows = sum(reader.count(read_as(shape.name, shape.key, shape.columns)) for shape in shapes)
    except ReadModelError as error:
        return {}, 0, str(error)
    return {topic: at.position if at else "start" for topic, at in place.items()}, rows, ""


def cells(found: ProjectionOverview) -> Iterator[tuple[str, ...]]:
    """Return the lines of a projection's generations; one that has none has a line of its own."""
    if not found.generations:
        yield found.projection, "none", "start its app once", str(found.version), "", "", "", ""
    for each in found.generations:
        version = str(each.version) if each.version == found.version else f"{each.version}, the code is {found.version}"
        applied = ", ".join(f"{topic}={position}" for topic, position in each.applied.items())
        row = (_state(each), version, applied, each.problem or f"{each.rows:,}", as_size(each.bytes), each.created_at)
        yield found.projection, each.generation, *row


def _state(each: GenerationOverview) -> str:
    if each.live:
        return f"live, stale since {each.stale_since}" if each.stale_since else "live"
    notes = [*(["rollback"] if each.previous else []), *([f"kept for version {each.kept_for}"] if each.kept_for is not None else [])]
    return f"{each.state} ({', '.join(notes)})" if notes else each.state
