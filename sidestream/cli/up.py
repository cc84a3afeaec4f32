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
    wishes = Wishes(leave_out=tuple(leave_out or ()), unsafe=unsafe, topics=() if memory else _topics_wanted_by_the_broker(file))
    session = Session(file, data, wishes, Console(stderr=as_json), then, as_json)
    raise typer.Exit(asyncio.run(_run(session, memory=memory)))


def _topics_wanted_by_the_broker(file: Path) -> tuple[str, ...]:
    """Return every topic of the apps' language where the broker in force makes none by itself."""
    from sidestream.cli.language import language_of
    from sidestream.cli.swapping import broker_in_force
    from sidestream.errors import ConfigurationError

    try:
        needs_topics = broker_in_force(file).needs_topics
    except ConfigurationError:
        return ()  # whatever it is, the start says it better
    return language_of(file, file.parent / "tests" / "golden").registry.topics if needs_topics else ()


async def _run(session: "Session", *, memory: bool) -> int:
    if memory:
        from sidestream.launcher import one_process

        return await one_process.run(session)
    from sidestream.launcher import run

    return await run.run(session)
