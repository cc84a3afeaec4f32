"""`sidestream dead-letters`: events that could not be applied, and the streams that wait behind them."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sidestream.applied import ParkedEvent
    from sidestream.cli.declared import Declared
    from sidestream.dead_letters import Retried

app = typer.Typer(help="Events that could not be applied.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="[PROJECTION]", help="one projection; all when left out")]
File = Annotated[Path, typer.Option("--file", "-f", help="the run file")]
Data = Annotated[Path | None, typer.Option("--data", help="folder of the system; .sidestream beside the file")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document; everything else goes to stderr")]
RUN_FILE = Path("dapr.yaml")
_PAGE = 1000


@app.callback()
def dead_letters() -> None:
    """Events that could not be applied, and the streams that wait behind them."""


@app.command("list")
def list_letters(
    name: Name = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="most events to list")] = 100,
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List parked events of the live generations: those that failed, and those that wait behind them."""
    from itertools import islice

    from sidestream.cli.declared import declared, named
    from sidestream.cli.output import print_json, print_table

    with declared(file, data) as found:
        chosen = [named(found, name)] if name else found
        letters = list(islice(((each.projection.name, event) for each in chosen for event in _parked(each)), limit))
    if as_json:
        print_json([_as_map(projection, event) for projection, event in letters])
        return
    titles = ("projection", "stream", "type", "event", "reason", "tries", "since", "detail")
    print_table(titles, [(at, e.stream, e.type, e.event_id, e.reason, e.attempts, e.first_at, e.detail) for at, e in letters])


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="PROJECTION", help="the projection")],
    event: Annotated[str, typer.Argument(metavar="EVENT", help="the event's id")],
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show a parked event whole: its bytes as they came, and what became of it."""
    from sidestream.cli.declared import declared, named
    from sidestream.cli.output import print_json

    with declared(file, data) as found:
        each = named(found, name)
        letters = [_as_map(each.projection.name, parked) for parked in _parked(each) if parked.event_id == event]
    if as_json:
        print_json(letters)
    for letter in () if as_json else letters:
        typer.echo("\n".join(f"{key:13} {value}" for key, value in letter.items()) + "\n")
    if not letters:
        typer.echo(f"{name}: expected a parked event {event}, found none. sidestream dead-letters list {name} shows them.", err=True)
        raise typer.Exit(1)


@app.command()
def retry(
    name: Name = "",
    stream: Annotated[str | None, typer.Option("--stream", help="only this stream")] = None,
    topic: Annotated[str | None, typer.Option("--topic", help="only streams of this topic")] = None,
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Try parked streams again, after the cause is mended. Exit code 1 when one is still parked."""
    from sidestream.cli.declared import declared, named
    from sidestream.cli.output import print_json, print_table

    with declared(file, data) as found:
        chosen = [named(found, name)] if name else found
        results = [line for each in chosen for line in _retried(each, topic, stream)]
    if as_json:
        names = ("projection", "generation", "result")
        print_json([dict(zip(names, line, strict=True)) for line in results])
    else:
        titles = ("projection", "generation", "streams tried", "free now", "events applied")
        print_table(titles, [(projection, at, each.tried, each.freed, each.applied) for projection, at, each in results])
    raise typer.Exit(1 if any(each.freed < each.tried for _, _, each in results) else 0)


def _retried(each: "Declared", topic: str | None, stream: str | None) -> "Iterator[tuple[str, str, Retried]]":
    """Try again in every generation that follows the log, so that a switch back finds the same."""
    from contextlib import closing

    from sidestream.applying import Rule
    from sidestream.dead_letters import retry as try_again
    from sidestream.identifiers import now

    rule = Rule(each.projection, each.registry)
    with each.read_models() as read_models:
        for info in read_models.generations():
            if info.state == "ready" and info.version == each.projection.version:
                with closing(read_models.open(info.name)) as generation:
                    yield each.projection.name, info.name, try_again(rule, generation, now, topic, stream)


def _parked(each: "Declared") -> "Iterator[ParkedEvent]":
    """Go through the parked events of the live generation; none when there is no generation yet."""
    from contextlib import closing

    from sidestream.dead_letters import parked_events

    with each.read_models() as read_models:
        live = next((info for info in read_models.generations() if info.live), None)
        if live is None:
            return
        with closing(read_models.open(live.name)) as generation:
            after = None
            while page := parked_events(generation, _PAGE, after):
                yield from page
                after = (page[-1].topic, page[-1].stream, page[-1].ordinal)


def _as_map(projection: str, event: "ParkedEvent") -> dict[str, Any]:
    import msgspec

    found = {"projection": projection, **msgspec.structs.asdict(event)}
    return {**found, "wire": event.wire.decode("utf-8", "backslashreplace")}
