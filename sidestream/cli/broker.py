"""`sidestream broker`: the embedded broker by itself, for those who start apps with Dapr's own CLI."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The embedded broker.", no_args_is_help=True)


@app.callback()
def broker() -> None:
    """The embedded broker by itself."""


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
