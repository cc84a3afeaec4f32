"""`sidestream projections rebuild | verify | diff`: generations built from the log, and held against each other."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sidestream.cli.declared import Declared
    from sidestream.rebuilding.building import Site
    from sidestream.rebuilding.comparing import Comparison
    from sidestream.rebuilding.estimating import Estimate
    from sidestream.rebuilding.rebuild import Rebuilt, Scratch
    from sidestream.rebuilding.verifying import Watch

Name = Annotated[str, typer.Argument(metavar="NAME", help="the projection")]
File = Annotated[Path, typer.Option("--file", "-f", help="the run file")]
Data = Annotated[Path | None, typer.Option("--data", help="folder of the system; .sidestream beside the file")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document; everything else goes to stderr")]
RUN_FILE = Path("dapr.yaml")


def rebuild(
    name: Name,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say how many events, how long, how much space; write nothing")] = False,
    until: Annotated[str, typer.Option("--until", help="as of a time, or of TOPIC=POSITION,…: a scratch generation")] = "",
    accept: Annotated[bool, typer.Option("--accept", help="let a new version differ from the live one; never lack events")] = False,
    drop: Annotated[bool, typer.Option("--drop", help="drop a generation that differs, instead of keeping it to look at")] = False,
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Build a new generation beside the live one, verify it against that one, and let queries read it.

    Queries are answered all the time; a running app takes over by itself. The one before stays and goes on following:
    `rollback` is a way back; what programs of older versions answer from stays until it is dropped. Killed half-way it
    serves nothing, and goes on where it stopped when it is run again.
    Exit code 1 when the new generation differs, or when events are parked in it.
    """
    from sidestream.errors import ConfigurationError

    if dry_run and until:
        raise ConfigurationError("rebuild: expected --dry-run or --until, found both. A dry run speaks of the whole log.")
    if dry_run:
        _dry_run(name, file, data, as_json)
    elif until:
        _as_of(name, until, file, data, as_json)
    else:
        _rebuild(name, accept, drop, file, data, as_json)


def _rebuild(name: str, accept: bool, drop: bool, file: Path, data: Path | None, as_json: bool) -> None:
    from time import perf_counter

    from sidestream.cli.interrupted import saying_what_is_left
    from sidestream.cli.output import print_json
    from sidestream.rebuilding.rebuild import rebuild_at

    begin = perf_counter()
    with site(file, data, name) as found, saying_what_is_left(found, as_json=as_json), watching(found) as watch:
        result = rebuild_at(found, watch, accept=accept, keep=not drop)
    seconds = perf_counter() - begin
    if as_json:
        print_json({"projection": found.projection.name, "seconds": round(seconds, 3), "rebuilt": result})
    else:
        _say_rebuilt(found.projection.name, result, seconds)
    raise typer.Exit(1 if result.parked or not result.live else 0)


def _say_rebuilt(name: str, result: "Rebuilt", seconds: float) -> None:
    from sidestream.rebuilding.lacking import why_it_stays

    if result.comparison is not None and not result.comparison.same:
        show_comparison(result.comparison)
    if not result.live:
        typer.echo(f"{name}: {result.before} stays live. {_read(result, seconds)} {_what_now(name, result)}")
    elif result.comparison is not None and result.comparison.unreadable:
        _say_live_instead(name, result, seconds)
    else:
        beside = f"; {result.before} stays beside it" if result.before else ""
        typer.echo(f"{name}: {result.generation} is live now{beside}. {_read(result, seconds)}{_dropped(result)}")
        _say_kept(name, result.kept)
    for generation, held in result.staying.items():
        typer.echo(why_it_stays(name, generation, result.generation, held))
    if result.parked:
        typer.echo(f"{result.parked:,} events are parked: sidestream dead-letters list {name}")


def _say_live_instead(name: str, result: "Rebuilt", seconds: float) -> None:
    """The one before cannot be read: it stays beside nothing, and somebody has to end it."""
    end = f"End {result.before}: sidestream projections drop {name} {result.before}"
    typer.echo(f"{name}: {result.generation} is live now. {_read(result, seconds)}{_dropped(result)} {end}")
    _say_kept(name, {generation: version for generation, version in result.kept.items() if generation != result.before})


def _read(result: "Rebuilt", seconds: float) -> str:
    from sidestream.cli.output import as_time

    count = result.outcome.counted
    rate = f", {count / seconds:,.0f}/s" if seconds else ""
    resumed = " It went on with what a rebuild that died had left." if result.resumed else ""
    return f"{count:,} events in {as_time(seconds)}{rate}.{resumed}"


def _dropped(result: "Rebuilt") -> str:
    return f" Dropped: {', '.join(result.dropped)}." if result.dropped else ""


def _say_kept(name: str, kept: dict[str, int]) -> None:
    from sidestream.rebuilding.keeping import why_kept

    for generation, version in kept.items():
        typer.echo(why_kept(name, generation, version))


def _what_now(name: str, result: "Rebuilt") -> str:
    lost = result.comparison.lost if result.comparison is not None else 0
    if result.generation in result.dropped:
        return f"{result.generation} {f'lacks {lost:,} events' if lost else 'differs'} and was dropped."
    look = f"sidestream projections diff {name} {result.before} {result.generation}"
    take = f"sidestream projections switch {name} {result.generation} --accept"
    end = f"sidestream projections drop {name} {result.generation}"
    if lost:
        return (
            f"{result.generation} lacks {lost:,} events that {result.before} has counted: the log has lost them. It is held, and no "
            f"`rebuild --accept` takes it. Restore the log and rebuild; or give these events up for good: {take}; or end it: {end}"
        )
    if result.comparison is not None and result.comparison.late:
        return f"{result.generation} was built without what was decided meanwhile. Rebuild again; or end it: {end}"
    return f"{result.generation} differs and is held. Look: {look}; take it: {take}; or end it: {end}"


def _dry_run(name: str, file: Path, data: Path | None, as_json: bool) -> None:
    from sidestream.adapters.memory_read_model import MemoryReadModels
    from sidestream.cli.output import print_json
    from sidestream.rebuilding.estimating import estimate

    with site(file, data, name) as found:
        result = estimate(found, MemoryReadModels())
    if as_json:
        print_json({"projection": found.projection.name, "estimate": result})
    else:
        typer.echo(_estimate(found.projection.name, result))


def _estimate(name: str, found: "Estimate") -> str:
    from sidestream.cli.output import as_size, as_time

    return (
        f"{name}: {found.events:,} events, about {as_time(found.seconds)} at {found.per_second:,.0f}/s (from {found.rate_from}), "
        f"about {as_size(found.bytes)} more (from {found.bytes_from}). Nothing was written."
    )


def _as_of(name: str, until: str, file: Path, data: Path | None, as_json: bool) -> None:
    from sidestream.cli.interrupted import saying_what_is_left
    from sidestream.cli.output import print_json
    from sidestream.cli.until import later_than
    from sidestream.rebuilding.rebuild import build_scratch

    with site(file, data, name) as found:
        later = later_than(until, found.projection, found.log)
        with saying_what_is_left(found, as_json=as_json), watching(found) as watch:
            result = build_scratch(found, later, watch.events)
    if as_json:
        print_json({"projection": found.projection.name, "scratch": result})
    else:
        typer.echo(_say_scratch(found.projection.name, result))
    raise typer.Exit(1 if result.parked else 0)


def _say_scratch(name: str, result: "Scratch") -> str:
    at = ", ".join(f"{topic}={position}" for topic, position in result.applied.items())
    return (
        f"{name}: {result.generation} is as of {at}: {result.outcome.counted:,} events. Nobody follows it and no query reads it; "
        f"compare it with `projections diff`, end it with `sidestream projections drop {name} {result.generation}`"
    )


# ── comparing ────────────────────────────────────────────────────────────────────────────────────────────────────────


def verify(name: Name, file: File = RUN_FILE, data: Data = None, as_json: Json = False) -> None:
    """Build a generation beside the live one, compare the two at one place in the log, and drop it again.

    Exit code 1 when they differ, or when nothing is live.
    """
    from sidestream.cli.interrupted import saying_what_is_left
    from sidestream.cli.output import print_json
    from sidestream.rebuilding.rebuild import verify as build_and_compare

    with site(file, data, name) as found, saying_what_is_left(found, as_json=as_json), watching(found) as watch:
        result = build_and_compare(found, watch)
    if as_json:
        print_json({"projection": found.projection.name, "comparison": comparison_map(result) if result else None})
    elif result is None:
        typer.echo(f"{found.projection.name}: expected a live generation to verify, found none. Start its app once, or rebuild.", err=True)
    else:
        show_comparison(result)
    raise typer.Exit(0 if result is not None and result.same else 1)


def diff(
    name: Name,
    left: Annotated[str, typer.Argument(metavar="A", help="a generation")],
    right: Annotated[str, typer.Argument(metavar="B", help="another one")],
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Compare any two generations, row by row, each as it is now. Exit code 1 when they differ."""
    from sidestream.cli.output import print_json
    from sidestream.rebuilding.verifying import diff as compared

    with site(file, data, name) as found, watching(found) as watch:
        result = compared(found, left, right, watch.rows)
    if as_json:
        print_json({"projection": found.projection.name, "comparison": comparison_map(result)})
    else:
        show_comparison(result)
    raise typer.Exit(0 if result.same else 1)


def comparison_map(found: "Comparison") -> dict[str, Any]:
    """Return a comparison for programs."""
    import msgspec

    return {"same": found.same, **msgspec.structs.asdict(found)}


def show_comparison(found: "Comparison") -> None:
    """Print what differs, each row with both sides."""
    from sidestream.cli.output import print_table

    if found.unreadable:
        typer.echo(f"{found.left}: the live one cannot be read: nothing to compare. {found.unreadable}")
        return
    verdict = "the same" if found.same else f"{found.differing:,} differ"
    typer.echo(f"{found.left} and {found.right}: {found.rows:,} rows compared, {verdict}.")
    for line in (*found.findings, *(f"not compared: {each}" for each in found.not_compared)):
        typer.echo(f"  {line}")
    if found.shown:
        rows = [(row.table, _short(row.key), *_columns(row.left, row.right, row.key)) for row in found.shown]
        print_table(("table", "key", found.left, found.right), rows)
    if found.differing > len(found.shown):
        typer.echo(f"  and {found.differing - len(found.shown):,} rows more")


def _columns(left: dict[str, Any] | None, right: dict[str, Any] | None, key: dict[str, Any]) -> tuple[str, str]:
    """Show the columns that differ; all of a row that only one side has."""
    if left is None or right is None:
        one, other = (("no such row" if side is None else _short(_without(side, key))) for side in (left, right))
        return one, other
    changed = [name for name in left if left[name] != right[name]]
    return _short({name: left[name] for name in changed}), _short({name: right[name] for name in changed})


def _without(row: dict[str, Any], key: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in key}


def _short(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


# ── what verbs of generations work on ────────────────────────────────────────────────────────────────────────────────


@contextmanager
def site(file: Path, data: Path | None, name: str) -> Iterator["Site"]:
    """Open the log and the generations of a projection."""
    from sidestream.cli.declared import declared, named

    with declared(file, data) as found, site_of(named(found, name)) as opened:
        yield opened


@contextmanager
def site_of(each: "Declared") -> Iterator["Site"]:
    """Open the log and the generations of a declared projection."""
    from sidestream.identifiers import now, this_process
    from sidestream.rebuilding.building import Site

    with each.log() as log, each.read_models() as read_models:
        yield Site(each.projection, each.registry, log, read_models, now, who=this_process())


@contextmanager
def watching(found: "Site") -> Iterator["Watch"]:
    """Show how far it is on standard error, with rate and time left."""
    from sidestream.cli.output import counting_each
    from sidestream.rebuilding.verifying import Watch

    name = found.projection.name
    with counting_each(f"applying events to {name}", f"comparing rows of {name}") as (events, rows):
        yield Watch(events, rows)
