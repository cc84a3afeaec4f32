"""`sidestream dead-letters`: events that could not be applied, and the streams that wait behind them.

EVENT is an event's id; of an entry that cannot be read `topic@position`, or `entry #...` as the column stream shows it; a version
that never came is STREAM@VERSION.
docs/dead-letters.md is the operator's page.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from sidestream.cli.dead_letters_deciding import Event, Projection, decisions, edit, give_up, skip, undo
from sidestream.cli.dead_letters_desk import as_map, at_desk, desk_of
from sidestream.cli.rebuilds import RUN_FILE, Data, File, Json
from sidestream.identifiers import now

if TYPE_CHECKING:
    from sidestream.applying.applied import ParkedEvent
    from sidestream.applying.dead_letters import Retried
    from sidestream.applying.missing import Missing
    from sidestream.cli.declared import Declared
    from sidestream.ports import Generation

app = typer.Typer(help="Events that could not be applied.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="[PROJECTION]", help="one projection; all when left out")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="most to list")]
Found = TypeVar("Found")
_PAGE = 1000


@app.callback()
def dead_letters() -> None:
    """Events that could not be applied, and the streams that wait behind them."""


@app.command("list")
def list_letters(
    name: Name = "",
    limit: Limit = 100,
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List parked events of the live generations: those that failed, and those that wait behind them."""
    from sidestream.cli.output import print_json, print_table

    letters = _first(limit, _parked, name, file, data)
    if as_json:
        print_json([as_map(projection, event) for projection, event in letters])
        return
    titles = ("projection", "stream", "type", "event", "reason", "tries", "since", "detail")
    print_table(titles, [(at, e.stream, e.type, _name(e), e.reason, e.attempts, e.first_at, e.detail) for at, e in letters])


def _name(event: "ParkedEvent") -> str:
    return event.event_id or f"{event.topic}@{event.position}"


@app.command()
def waiting(
    name: Name = "",
    limit: Limit = 100,
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List streams of the live generations that wait for a version: which is missing, how many events wait, and since when."""
    from sidestream.cli.output import print_json, print_table

    missing = _first(limit, _missing, name, file, data)
    if as_json:
        print_json([_missing_map(projection, one) for projection, one in missing])
        return
    titles = ("projection", "topic", "missing", "events waiting", "since")
    print_table(titles, [(projection, one.topic, one.versions, one.events, one.since) for projection, one in missing])


def _missing_map(projection: str, one: "Missing") -> dict[str, Any]:
    import msgspec

    versions = msgspec.structs.asdict(one.versions)
    return {
        "projection": projection,
        "topic": one.topic,
        "missing": str(one.versions),
        **versions,
        "events": one.events,
        "since": one.since,
    }


@app.command()
def show(
    name: Projection,
    event: Event,
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show a parked event whole: its bytes as they came, what became of it, and what was decided about it."""
    from sidestream.cli.output import print_json

    with at_desk(file, data, name) as desk:
        letters = [desk.shown(parked) for parked in desk.parked_as(event)]
    if as_json:
        print_json(letters)
    for letter in () if as_json else letters:
        typer.echo("\n".join(f"{key:13} {value}" for key, value in _lines(letter)) + "\n")
    if not letters:
        _refuse(name, f"event {event!r}", as_json=as_json)


def _lines(letter: dict[str, Any]) -> Iterator[tuple[str, object]]:
    for key, value in letter.items():
        if key == "decisions":
            for each in value:
                yield each["kind"], f"{each['at']} by {each['who']}: {each['why']}"
        else:
            yield key, value


@app.command()
def retry(
    name: Name = "",
    event: Annotated[str, typer.Argument(metavar="[EVENT]", help="only the stream of this event")] = "",
    stream: Annotated[str | None, typer.Option("--stream", help="only this stream")] = None,
    topic: Annotated[str | None, typer.Option("--topic", help="only streams of this topic")] = None,
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Try parked streams again, after the cause is mended. Exit code 1 when one is still parked, or what was named is not."""
    from sidestream.cli.declared import declared, named

    with declared(file, data) as found:
        chosen = [named(found, name)] if name else found
        _expect_versions(chosen)  # before anything is tried
        results = [line for each in chosen for line in _retried(each, topic, stream, event)]
    words = {"event": event or None, "stream": stream, "topic": topic}
    wanted = ", ".join(f"{what} {value!r}" for what, value in words.items() if value is not None)
    if wanted and not any(each.tried for _, _, each in results):
        _refuse(name, wanted, as_json=as_json)
    _print_retried(results, as_json=as_json)
    raise typer.Exit(1 if any(each.freed < each.tried for _, _, each in results) else 0)


def _expect_versions(chosen: "Iterable[Declared]") -> None:
    for each in chosen:
        with desk_of(each) as desk:
            desk.expect_version()


def _print_retried(results: "Sequence[tuple[str, str, Retried]]", *, as_json: bool) -> None:
    from sidestream.cli.output import print_json, print_table

    if as_json:
        names = ("projection", "generation", "result")
        print_json([dict(zip(names, line, strict=True)) for line in results])
        return
    titles = ("projection", "generation", "streams tried", "free now", "events applied")
    print_table(titles, [(projection, at, each.tried, each.freed, each.applied) for projection, at, each in results])


def _refuse(name: str, what: str, *, as_json: bool) -> NoReturn:
    """Say that nothing of what somebody named is parked, as the program says its errors, and end with exit code 1."""
    import json

    whose = f"{name}: " if name else ""
    problem = f"{whose}expected a parked {what}, found none. sidestream dead-letters list {name}".rstrip() + " shows what is parked."
    typer.echo(json.dumps({"error": {"code": "not-parked", "message": problem}}) if as_json else problem, err=True)
    raise typer.Exit(1)


def _retried(each: "Declared", topic: str | None, stream: str | None, event: str) -> "Iterator[tuple[str, str, Retried]]":
    """Try again in every generation that follows the log, so that a switch back finds the same."""
    from sidestream.applying.dead_letters import parked_as
    from sidestream.applying.dead_letters import retry as try_again

    with desk_of(each) as desk:
        for generation in desk.followed():
            only = _streams_of(parked_as(generation, event), topic, stream) if event else None
            yield each.projection.name, generation.name, try_again(desk.rule, generation, now, topic, stream, only=only)


def _streams_of(events: "Iterable[ParkedEvent]", topic: str | None, stream: str | None) -> set[tuple[str, str]]:
    """Return the streams of events, of those only that were named."""
    return {(each.topic, each.stream) for each in events if topic in (None, each.topic) and stream in (None, each.stream)}


app.command("edit")(edit)
app.command("skip")(skip)
app.command("give-up")(give_up)
app.command("undo")(undo)
app.command("decisions")(decisions)


# ── the live generation ──────────────────────────────────────────────────────────────────────────────────────────────


def _first(
    limit: int, found_in: "Callable[[Declared], Iterator[Found]]", name: str, file: Path, data: Path | None
) -> "list[tuple[str, Found]]":
    """Return the first of what is found in one projection, or in all, each with the projection's name."""
    from itertools import islice

    from sidestream.cli.declared import declared, named

    with declared(file, data) as projections:
        chosen = [named(projections, name)] if name else projections
        return list(islice(((each.projection.name, one) for each in chosen for one in found_in(each)), limit))


@contextmanager
def _live(each: "Declared") -> "Iterator[Generation | None]":
    """Open the live generation; None when there is none yet."""
    with each.read_models() as read_models:
        live = next((info for info in read_models.generations() if info.live), None)
        if live is None:
            yield None
            return
        with closing(read_models.open(live.name)) as generation:
            yield generation


def _parked(each: "Declared") -> "Iterator[ParkedEvent]":
    """Go through the parked events of the live generation."""
    from sidestream.applying.dead_letters import parked_events

    with _live(each) as generation:
        after = None
        while generation is not None and (page := parked_events(generation, _PAGE, after)):
            yield from page
            after = (page[-1].topic, page[-1].stream, page[-1].ordinal)


def _missing(each: "Declared") -> "Iterator[Missing]":
    """Go through the versions that streams of the live generation wait for."""
    from sidestream.applying.missing import missing_versions

    with _live(each) as generation:
        if generation is not None:
            yield from missing_versions(generation)
