"""`sidestream projections`: the read models of a system, and building one anew."""

from typing import Annotated

import typer

from sidestream.cli import pointer, rebuilds
from sidestream.cli import status as status_verb
from sidestream.cli.rebuilds import RUN_FILE, Data, File, Json

app = typer.Typer(help="Read models: how far they are, and building one anew.", no_args_is_help=True)


@app.callback()
def projections() -> None:
    """Read models: how far they are, and building one anew."""


@app.command("list")
def list_projections(
    name: Annotated[str, typer.Argument(help="one projection; all when left out")] = "",
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List the projections of dapr.yaml and their generations: state, place in the log, rows, size on disk."""
    from sidestream.cli.declared import declared, named
    from sidestream.cli.output import print_json, print_table
    from sidestream.cli.overview import TITLES, cells, overview_of

    with declared(file, data) as found:
        projections = [overview_of(each) for each in ([named(found, name)] if name else found)]
    if as_json:
        print_json(projections)
    else:
        print_table(TITLES, [line for projection in projections for line in cells(projection)])


app.command()(status_verb.status)
app.command()(rebuilds.rebuild)
app.command()(rebuilds.verify)
app.command()(pointer.switch)
app.command()(pointer.rollback)
app.command()(pointer.drop)
app.command()(rebuilds.diff)
