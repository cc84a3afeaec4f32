"""`sidestream reset`: forget everything."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def reset(
    data: Annotated[Path, typer.Option("--data", help="the folder to empty")] = Path(".sidestream"),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
    file: Annotated[Path, typer.Option("--file", "-f", help="the run file whose apps must not run any more")] = Path("dapr.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="print what was deleted as one JSON object; needs --yes")] = False,
) -> None:
    """Delete log, stores and read models together: they belong together, and one without the others is a wrong answer.

    Refused while a system runs on the folder, and while anything that was started by hand holds its files or answers.
    """
    import json

    from sidestream.launcher.folder import SystemFolder
    from sidestream.launcher.holding import expect_nobody

    place = SystemFolder(data)
    with place.claimed("a reset"):
        expect_nobody(place, file)
        if not yes and not typer.confirm(f"Delete every event and every read model below {place.path}?", err=True):
            raise typer.Exit(0)
        expect_nobody(place, file)  # whoever was asked may have taken their time
        deleted = place.wipe()
    typer.echo(json.dumps({"deleted": deleted}) if as_json else f"Deleted below {place.path}: {', '.join(deleted) or 'nothing was there'}.")
