"""`sidestream broker`: which broker is in force, another one instead, and the embedded one by itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sidestream.cli.broker_check import check
from sidestream.cli.broker_move import move

if TYPE_CHECKING:
    from sidestream.cli.swapping import Swapped

app = typer.Typer(help="Which broker is in force, another one instead, and the embedded one by itself.", no_args_is_help=True)

File = Annotated[Path, typer.Option("--file", "-f", help="the run file")]
Data = Annotated[Path | None, typer.Option("--data", help="the folder of the system; .sidestream beside the file")]


@app.callback()
def broker() -> None:
    """Which broker is in force, another one instead, and the embedded one by itself."""


@app.command()
def start(
    data: Annotated[Path, typer.Option("--data", help="folder for its log and its address")] = Path(".sidestream"),
    as_json: Annotated[bool, typer.Option("--json", help="print the address as one JSON object; everything else goes to stderr")] = False,
) -> None:
    """Run the broker in the foreground until Ctrl-C, its address written where the components look for it."""
    import asyncio

    from rich.console import Console

    from sidestream.launcher.broker_alone import run

    raise typer.Exit(asyncio.run(run(data, Console(stderr=as_json), as_json=as_json)))


@app.command(name="list")
def show(
    file: File = Path("dapr.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="print a JSON list")] = False,
) -> None:
    """Show the brokers there are folders for, and which one is in force."""
    import msgspec

    from sidestream.cli.swapping import folder_in_force, offered

    found = offered(folder_in_force(file))
    if as_json:
        typer.echo(msgspec.json.encode(found))
        return
    for each in found:
        typer.echo(f"{each.name:<12}{each.type:<20}{'projections follow: ' + each.log:<36}{each.state}".rstrip())


@app.command()
def use(
    name: Annotated[str, typer.Argument(help="a folder below components/brokers")],
    address: Annotated[str, typer.Option("--address", help="where the broker is; kept in the secrets of the system's folder")] = "",
    file: File = Path("dapr.yaml"),
    data: Data = None,
    leave_history: Annotated[
        bool, typer.Option("--leave-history", help="leave events and read models of the broker before behind")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print what changed as one JSON object")] = False,
) -> None:
    """Put another broker in force: copy its folder of resources, and make the topics or streams that it needs."""
    import asyncio

    import msgspec

    from sidestream.cli import swapping
    from sidestream.cli.language import language_of
    from sidestream.launcher.folder import DEFAULT, SystemFolder
    from sidestream.launcher.other_broker import OtherBroker

    place = SystemFolder(data or file.resolve().parent / DEFAULT)
    with place.claimed("another broker"):
        found, done = swapping.use(swapping.folder_in_force(file), name, place, address, leave_history=leave_history)
        if found.needs_topics:
            topics = language_of(file, file.parent / "tests" / "golden").registry.topics
            made = asyncio.run(OtherBroker.of(found, place, address).ready(topics))
            done = msgspec.structs.replace(done, topics=made)
    typer.echo(msgspec.json.encode(done) if as_json else _told(done))


app.command()(check)
app.command()(move)


def _told(done: "Swapped") -> str:
    lines = [f"{done.broker} is in force. Changed: {', '.join(done.files) or 'nothing, it was already'}."]
    lines += [f"Made in the broker: {', '.join(done.topics)}."] if done.topics else []
    return "\n".join([*lines, *done.remarks])
