"""`sidestream projections switch | rollback | drop`: which generation queries read, and which is no longer wanted."""

from typing import TYPE_CHECKING, Annotated

import typer

from sidestream.cli.rebuilds import RUN_FILE, Data, File, Json, Name

if TYPE_CHECKING:
    from sidestream.rebuilding.switching import Switched

Generation = Annotated[str, typer.Argument(metavar="GENERATION", help="its name, as `projections list` shows it")]
Stale = Annotated[bool, typer.Option("--stale", help="serve a generation whose code is gone, as it stands")]


def switch(
    name: Name,
    generation: Generation,
    accept: Annotated[bool, typer.Option("--accept", help="take one that was held, or that lacks counted events")] = False,
    stale: Stale = False,
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Let queries read this generation, as soon as it has reached the place of the live one."""
    from sidestream.cli.rebuilds import site
    from sidestream.rebuilding.switching import switch as move

    with site(file, data, name) as found:
        _say(found.projection.name, move(found, generation, accept=accept, stale=stale), as_json)


def rollback(name: Name, stale: Stale = False, file: File = RUN_FILE, data: Data = None, as_json: Json = False) -> None:
    """Let queries read the generation that was live before this one. The one it leaves stays, and goes on following."""
    from sidestream.cli.rebuilds import site
    from sidestream.rebuilding.switching import roll_back

    with site(file, data, name) as found:
        _say(found.projection.name, roll_back(found, stale=stale), as_json)


def drop(name: Name, generation: Generation, file: File = RUN_FILE, data: Data = None, as_json: Json = False) -> None:
    """Remove a generation that is not live, for good; one that is kept for programs of an older version too."""
    from sidestream.cli.output import print_json
    from sidestream.cli.rebuilds import site
    from sidestream.rebuilding.switching import drop as remove

    with site(file, data, name) as found:
        remove(found, generation)
    if as_json:
        print_json({"projection": found.projection.name, "dropped": generation})
    else:
        typer.echo(f"{found.projection.name}: {generation} is gone.")


def _say(name: str, moved: "Switched", as_json: bool) -> None:
    from sidestream.cli.output import print_json

    if as_json:
        print_json({"projection": name, "switched": moved})
        return
    before = f"; {moved.before} stays beside it" if moved.before else ""
    stale = f" Nobody follows it: answers say that it stands as of {moved.stale_since}." if moved.stale_since else ""
    typer.echo(f"{name}: {moved.live} is live now{before}.{stale}")
