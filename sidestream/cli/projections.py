"""`sidestream projections`: the read models of a system, and building one anew."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sidestream.cli.declared import Declared
    from sidestream.cli.positions import TopicStatus
    from sidestream.rebuilding import Rebuilt

app = typer.Typer(help="Read models: how far they are, and building one anew.", no_args_is_help=True)

File = Annotated[Path, typer.Option("--file", "-f", help="the run file")]
Data = Annotated[Path | None, typer.Option("--data", help="folder of the system; .sidestream beside the file")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document; everything else goes to stderr")]
RUN_FILE = Path("dapr.yaml")


@app.callback()
def projections() -> None:
    """Read models: how far they are, and building one anew."""


@app.command("list")
def list_projections(file: File = RUN_FILE, data: Data = None, as_json: Json = False) -> None:
    """List the projections of dapr.yaml and their generations."""
    from sidestream.cli.declared import declared
    from sidestream.cli.output import print_json, print_table

    with declared(file, data) as found:
        rows = [_line(each) for each in found]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("projection", "version", "topics", "live", "generations"),
        [(row["projection"], row["version"], ", ".join(row["topics"]), row["live"], ", ".join(row["generations"])) for row in rows],
    )


def _line(each: "Declared") -> dict[str, Any]:
    with each.read_models() as read_models:
        infos = read_models.generations()
    return {
        "projection": each.projection.name,
        "app": each.app,
        "version": each.projection.version,
        "topics": each.projection.topics,
        "live": next((info.name for info in infos if info.live), ""),
        "generations": [info.name if info.state == "ready" else f"{info.name} (building)" for info in infos],
    }


@app.command()
def status(
    name: Annotated[str, typer.Argument(help="one projection; all when left out")] = "",
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show how far every generation has applied each topic. Exit code 1 when something is parked or nothing is live."""
    from sidestream.cli.declared import declared, named
    from sidestream.cli.output import print_json, print_table
    from sidestream.cli.positions import status_of

    with declared(file, data) as found:
        lines = [line for each in ([named(found, name)] if name else found) for line in status_of(each)]
    if as_json:
        print_json(lines)
    else:
        titles = ("projection", "generation", "topic", "applied up to", "the log ends at", "behind", "parked")
        print_table(titles, [_cells(line) for line in lines])
    raise typer.Exit(1 if any(line.problem for line in lines) else 0)


def _cells(line: "TopicStatus") -> tuple[str, ...]:
    generation = f"{line.generation} (live)" if line.live else line.generation
    parked = f"{line.parked_events} of {line.parked_streams} streams" if line.parked_events else "none"
    behind = f"{line.behind:,}" + ("+" if line.behind_more else "")
    return line.projection, generation or "none", line.topic, line.applied or "start", line.end or "empty", behind, parked


@app.command()
def rebuild(
    name: Annotated[str, typer.Argument(help="the projection")], file: File = RUN_FILE, data: Data = None, as_json: Json = False
) -> None:
    """Build a new generation beside the live one from the whole log, and let queries read it.

    The one before stays and goes on following. Queries are answered all the time. A running app takes over by itself.
    """
    from sidestream.cli.declared import declared, named
    from sidestream.cli.output import print_json

    with declared(file, data) as found:
        result, seconds = _rebuild(named(found, name))
    if as_json:
        print_json({"projection": name, "seconds": round(seconds, 3), "rebuilt": result})
    else:
        typer.echo(_sentence(name, result, seconds))
    raise typer.Exit(1 if result.outcome.parked else 0)


def _rebuild(each: "Declared") -> "tuple[Rebuilt, float]":
    from time import perf_counter

    from sidestream.cli.output import counting
    from sidestream.identifiers import now
    from sidestream.rebuilding import rebuild as build

    begin = perf_counter()
    with each.log() as log, each.read_models() as read_models, counting(f"rebuilding {each.projection.name}") as progress:
        result = build(each.projection, each.registry, log, read_models, now, progress=progress)
    return result, perf_counter() - begin


def _sentence(name: str, result: "Rebuilt", seconds: float) -> str:
    outcome = result.outcome
    read = outcome.applied + outcome.unhandled + outcome.duplicates + outcome.parked
    before = f"; {result.before} stays beside it" if result.before else ""
    parked = f" {outcome.parked:,} events are parked: sidestream dead-letters list {name}" if outcome.parked else ""
    return f"{name}: {result.generation} is live now{before}. {read:,} events in {seconds:.1f} s.{parked}"
