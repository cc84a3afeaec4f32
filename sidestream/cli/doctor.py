"""`sidestream doctor`: what is set up wrongly, in plain words, each with the line that fixes it."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sidestream.doctor.finding import Finding

app = typer.Typer()


@app.command()
def doctor(
    file: Annotated[Path, typer.Option("--file", "-f", help="the run file")] = Path("dapr.yaml"),
    data: Annotated[Path | None, typer.Option("--data", help="folder of the system; .sidestream beside the file")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="look for this code alone; may be said again", metavar="CODE")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="read files only, ask nothing that runs")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the findings as one JSON document")] = False,
) -> None:
    """Look at the run file, the resources, the settings and all that runs; say what is wrong, and the line that fixes it.

    It changes nothing. Exit code 0: no errors and no warnings; 1: some; 2: there is nothing that could be looked at.
    """
    from sidestream.doctor.checks import known, look
    from sidestream.doctor.examination import examine
    from sidestream.doctor.finding import Severity
    from sidestream.launcher.settings import LauncherSettings

    codes = known(only or ())
    patient = examine(file, data, LauncherSettings())
    if not offline:
        from sidestream.doctor.probing import probe

        patient = replace(patient, live=probe(patient, data))
    found = look(patient, codes)
    _print_as_json(found) if as_json else _print(found)
    raise typer.Exit(1 if any(finding.severity < Severity.NOTE for finding in found) else 0)


def _print_as_json(found: "Sequence[Finding]") -> None:
    import msgspec

    from sidestream.cli.output import print_json

    print_json({"findings": [{**msgspec.structs.asdict(each), "severity": each.severity.word, "page": each.page} for each in found]})


def _print(found: "Sequence[Finding]") -> None:
    for severity, group in groupby(found, key=lambda finding: finding.severity):
        typer.secho(f"{severity.word}s", bold=True)
        for each in group:
            typer.echo(f"  {each.code}  {each.place}: {each.found}\n         fix: {each.remedy}\n         {each.page}")
    if not found:
        typer.echo("Nothing is set up wrongly.")
