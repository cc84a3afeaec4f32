"""`python -m services.assets scan DIR`: asks the running service to scan and shows how far it is.

Exit code 0: completed. 1: the service failed, is away or busy. 2: asked wrongly.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

DEFAULT_URL: Final = "http://127.0.0.1:8102"
"""Where dapr.yaml puts the service."""
_LOOK_SECONDS: Final = 0.2
_USED_WRONGLY: Final = frozenset({400, 403, 404})

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def assets() -> None:
    """Ask the running assets service for something. Without a command, `python -m services.assets` serves it."""


@app.command()
def scan(
    directory: Annotated[Path, typer.Argument(help="directory to scan")],
    url: Annotated[str, typer.Option(envvar="SIDESTREAM_URL_ASSETS", help="where the service listens")] = DEFAULT_URL,
    exclude: Annotated[list[str] | None, typer.Option(help="name or pattern to leave out; may be given several times")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="print the scan as JSON, and no progress")] = False,
) -> None:
    """Scan a directory and wait until it is done."""
    asked = {"path": str(directory.absolute()), "exclude": exclude or []}
    try:
        with httpx.Client(base_url=url, timeout=30) as client:
            started = _checked(client.post("/scans", json=asked))
            ended = _follow(client, started["id"], Console(stderr=True, quiet=as_json))
    except _RefusedError as error:
        _leave(error.code, f"scan: {error}")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        found = str(error) or type(error).__name__
        _leave(1, f"{url}: expected the assets service, found: {found}. Start it with `make run`, or name it with --url.")
    _report(ended, as_json=as_json)


class _RefusedError(Exception):
    """The service does not do what it was asked."""

    def __init__(self, detail: str, code: int) -> None:
        super().__init__(detail)
        self.code = code


def _checked(response: httpx.Response) -> dict[str, Any]:
    if response.is_success:
        return dict(response.json())
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = f"{response.status_code} {response.reason_phrase}"
    raise _RefusedError(detail, 2 if response.status_code in _USED_WRONGLY else 1)


def _follow(client: httpx.Client, scan_id: str, console: Console) -> dict[str, Any]:
    """Show progress until the scan has ended, and return it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("listing files", total=None)
        while True:
            found = _checked(client.get(f"/scans/{scan_id}"))
            if found["state"] != "running":
                return found
            if found["progress"] and found["progress"]["phase"] == "hashing":
                bar.update(task, description="reading files", total=found["progress"]["to_hash"], completed=found["progress"]["hashed"])
            time.sleep(_LOOK_SECONDS)


def _report(ended: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(ended))
    if ended["state"] == "failed":
        _leave(1, f"scan failed: {ended['reason']}")
    if not as_json:
        result = ended["result"]
        print(f"{ended['path']}: " + ", ".join(f"{result[name]:,} {name}" for name in result))


def _leave(code: int, message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(code)


def run() -> None:
    """Carry out the command line."""
    os.environ.setdefault("COLUMNS", "120")
    app(prog_name="python -m services.assets")
