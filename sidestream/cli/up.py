"""`sidestream up`: start everything that dapr.yaml lists."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sidestream.launcher.run import Session

app = typer.Typer()


@app.command()
def up(
    file: Annotated[Path, typer.Option("--file", "-f", help="the run file")] = Path("dapr.yaml"),
    leave_out: Annotated[
        list[str] | None, typer.Option("--except", help="start all but this app's own process (its sidecar is started); may be repeated")
    ] = None,
    memory: Annotated[bool, typer.Option("--memory", help="everything in one process: no sidecar, no broker, nothing on disk")] = False,
    data: Annotated[Path | None, typer.Option("--data", help="folder for broker, stores and logs; .sidestream beside the file")] = None,
    then: Annotated[str, typer.Option("--then", help="run this command when everything is healthy; it finds SIDESTREAM_URL_<APP>")] = "",
    unsafe: Annotated[bool, typer.Option("--unsafe", help="take a broker that may lose events")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the addresses as one JSON object; everything else goes to stderr")] = False,
) -> None:
    """Start broker, sidecars and apps of dapr.yaml, watch them, and stop them on Ctrl-C."""
    import asyncio

    from rich.console import Console

    from sidestream.errors import ConfigurationError
    from sidestream.launcher.plan import Wishes
    from sidestream.launcher.run import Session

    if memory and (leave_out or data):
        raise ConfigurationError("--memory starts every app in one process and writes nothing. Leave out --except and --data.")
    wishes = Wishes(leave_out=tuple(leave_out or ()), unsafe=unsafe)
    session = Session(file, data, wishes, Console(stderr=as_json), then, as_json)
    raise typer.Exit(asyncio.run(_run(session, memory=memory)))


async def _run(session: "Session", *, memory: bool) -> int:
    if memory:
        from sidestream.launcher import one_process

        return await one_process.run(session)
    from sidestream.launcher import run

    return await run.run(session)
