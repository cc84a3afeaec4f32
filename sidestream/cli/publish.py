"""`sidestream publish`: import CloudEvents from a file."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sidestream.cli.importing import Tally
    from sidestream.cli.ndjson import Refused

app = typer.Typer()


@app.command()
def publish(
    file: Annotated[str, typer.Argument(metavar="FILE", help="CloudEvents as JSON, one a line; may be gzipped; - for standard input")],
    url: Annotated[str, typer.Option("--url", help="the bridge")] = "http://127.0.0.1:8103",
    batch: Annotated[int, typer.Option("--batch", min=1, max=10_000, help="most events of one request")] = 500,
    patience: Annotated[float, typer.Option("--patience", min=0, help="seconds to go on trying while the bridge is away")] = 60.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="print each refused line as a JSON object on a line of its own, and the totals as the last one")
    ] = False,
) -> None:
    """Import CloudEvents into the bridge; what is there already is not doubled, so an import may be run again.

    Each line that is refused is reported with its number and the reason; all others go in. Exit code 1 if any was refused.
    """
    from sidestream.cli.importing import Importer
    from sidestream.cli.ndjson import NdjsonFile

    with NdjsonFile(file) as lines, _Progress(lines.size) as progress:
        importer = Importer(url, batch=batch, patience=patience, on_refused=_print_json if as_json else progress.report)
        try:
            importer.run(lines, lambda: progress.show(lines.position, importer.tally))
        finally:
            progress.show(lines.position, importer.tally)
            _print_totals(importer.tally, as_json=as_json)
    raise typer.Exit(1 if importer.tally.refused else 0)


def _print_json(found: Any) -> None:
    import msgspec

    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")


def _print_totals(tally: "Tally", *, as_json: bool) -> None:
    if as_json:
        _print_json(tally)
    else:
        typer.echo(f"{tally.read:,} lines read, {tally.stored:,} events stored or there already, {tally.refused:,} refused.")


class _Progress:
    """A bar on standard error, by bytes of the file; refused lines are printed above it."""

    def __init__(self, size: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), TextColumn("{task.percentage:>3.0f}%  {task.fields[what]}"), TimeRemainingColumn())
        console = Console(stderr=True, soft_wrap=True)
        unseen = not console.is_interactive  # else an empty line would be left of the bar
        self._bar = Progress(*columns, console=console, transient=True, disable=unseen)
        self._task = self._bar.add_task("", total=size, what="")

    def __enter__(self) -> "_Progress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def report(self, refused: "Refused") -> None:
        """Print one refused line."""
        self._bar.console.print(f"line {refused.line}: {refused.reason}", markup=False, highlight=False)

    def show(self, position: int, tally: "Tally") -> None:
        """Move the bar."""
        elapsed = self._bar.tasks[0].elapsed or 0.0
        rate = tally.stored / elapsed if elapsed else 0.0
        self._bar.update(self._task, completed=position, what=f"{tally.stored:,} events, {rate:,.0f}/s")
