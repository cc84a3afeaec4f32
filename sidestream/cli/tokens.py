"""`sidestream tokens`: make a pair of tokens for each app, for those who start the apps with something else than `sidestream up`."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def tokens(
    file: Annotated[Path, typer.Option("--file", "-f", help="the run file whose apps get tokens")] = Path("dapr.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Print fresh tokens, one VARIABLE=value a line, as docker-compose.yml names them: `(umask 077; sidestream tokens > .env)`."""
    import json

    from sidestream.launcher.runfile import read
    from sidestream.launcher.tokens import variables

    made = variables([entry.name for entry in read(file).apps])
    typer.echo(json.dumps(made) if as_json else "\n".join(f"{name}={token}" for name, token in made.items()))
