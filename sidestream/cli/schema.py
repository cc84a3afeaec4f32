"""`sidestream schema`: what the events look like, what changed since the last release, and who breaks.

The catalogue of the last release is a file that is committed; `release` writes it anew when a version is released.
docs/schema-evolution.md is the page for whoever changes an event.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sidestream.cli.language import Language
    from sidestream.schema.comparing import Finding

app = typer.Typer(help="What events look like, and what a change of them breaks.", no_args_is_help=True)

File = Annotated[Path, typer.Option("--file", "-f", help="the run file; other paths are meant from its folder")]
Released = Annotated[Path, typer.Option("--catalogue", help="the catalogue of the last release")]
Samples = Annotated[Path, typer.Option("--samples", help="the folder of golden samples")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document; everything else goes to stderr")]
RUN_FILE = Path("dapr.yaml")
CATALOGUE = Path("events/catalogue.json")
SAMPLES = Path("tests/golden/events")
PAGE = Path("docs/events.md")


@app.callback()
def schema() -> None:
    """What events look like, and what a change of them breaks."""


@app.command()
def check(file: File = RUN_FILE, catalogue: Released = CATALOGUE, samples: Samples = SAMPLES, as_json: Json = False) -> None:
    """Compare the models with the last release: each change, who writes and who reads it, what to do. 1 when one breaks."""
    released = _beside(file, catalogue)
    if not released.is_file():
        from sidestream.errors import ConfigurationError

        raise ConfigurationError(f"{released}: no such file. Name it with --catalogue, or write it with `sidestream schema release`.")
    from sidestream.cli.language import language_left

    language = language_left(file, _beside(file, samples))
    findings = _findings(language, released)
    _show(findings, language.broken, as_json=as_json)
    _end(findings, language.broken, as_json=as_json)


@app.command()
def release(file: File = RUN_FILE, catalogue: Released = CATALOGUE, samples: Samples = SAMPLES, as_json: Json = False) -> None:
    """Write the catalogue anew from the models, after a check; nothing is written when a change breaks somebody."""
    from sidestream.schema.catalogue import encode

    language, released = _language(file, samples), _beside(file, catalogue)
    findings = _findings(language, released)
    if _breaking(findings):
        _show(findings, {}, as_json=as_json)
        raise typer.Exit(1)
    _write(released, encode(language.catalogue))
    _say_written(released, language, as_json=as_json)


@app.command("catalogue")
def write_page(
    out: Annotated[Path, typer.Option("--out", help="the page to write")] = PAGE,
    file: File = RUN_FILE,
    samples: Samples = SAMPLES,
    as_json: Json = False,
) -> None:
    """Write the page of events: topics, fields, versions, readers, an example of each."""
    from sidestream.schema.page import page

    language, place = _language(file, samples), _beside(file, out)
    _write(place, page(language.catalogue, language.samples).encode())
    _say_written(place, language, as_json=as_json)


@app.command()
def asyncapi(
    out: Annotated[Path | None, typer.Option("--out", help="the file to write; standard output when left out")] = None,
    file: File = RUN_FILE,
    samples: Samples = SAMPLES,
    pubsub: Annotated[str, typer.Option("--pubsub", help="name of the pub/sub component")] = "pubsub",
    as_json: Json = False,
) -> None:
    """Write the system as an AsyncAPI 3 document: channels, who sends, who receives, messages."""
    import json

    from sidestream.schema.asyncapi import document
    from sidestream.web.version import VERSION

    language = _language(file, samples)
    title = file.resolve().parent.name
    found = document(language.catalogue, title=title, version=VERSION, pubsub=pubsub, samples=language.samples)
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    if out is None:
        sys.stdout.write(text)
        return
    _write(_beside(file, out), text.encode())
    _say_written(_beside(file, out), language, as_json=as_json)


# ── what they share ──────────────────────────────────────────────────────────────────────────────────────────────────


def _beside(file: Path, path: Path) -> Path:
    return file.resolve().parent / path


def _language(file: Path, samples: Path) -> "Language":
    from sidestream.cli.language import language_of

    return language_of(file, _beside(file, samples))


def _findings(language: "Language", released: Path) -> Sequence["Finding"]:
    """Return what changed since the file was written; without a file nothing was released, and only the samples count."""
    from sidestream.schema.catalogue import Catalogue, decode
    from sidestream.schema.comparing import compare
    from sidestream.schema.remaining import compare_remaining, with_released_readers
    from sidestream.schema.samples import check_samples

    before = decode(released.read_bytes(), str(released)) if released.is_file() else Catalogue(())
    now = with_released_readers(language.catalogue, before, language.broken)
    samples = check_samples(before, now, language.registry, language.samples)
    if language.broken:
        return [*samples, *compare_remaining(before, now, language.broken)]
    return [*samples, *(compare(before, now) if released.is_file() else ())]


def _end(findings: Sequence["Finding"], broken: Mapping[str, str], *, as_json: bool) -> None:
    """End with 1 when somebody breaks; when apps are broken and nothing else is known to be, with their error."""
    from sidestream.cli.language import told
    from sidestream.errors import ConfigurationError

    if broken and not _breaking(findings):
        raise ConfigurationError(told(broken))
    if broken and not as_json:
        typer.echo(told(broken), err=True)
    if _breaking(findings):
        raise typer.Exit(1)


def _breaking(findings: Sequence["Finding"]) -> bool:
    return any(finding.severity == "breaking" for finding in findings)


def _write(path: Path, content: bytes) -> None:
    """Put the file in place whole or not at all."""
    from sidestream.errors import ConfigurationError

    draft = path.with_name(f".{path.name}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}. Name another place.") from error


def _say_written(path: Path, language: "Language", *, as_json: bool) -> None:
    from sidestream.cli.output import print_json

    numbers: dict[str, Any] = {"categories": len(language.catalogue.categories), "events": len(language.catalogue.events)}
    if as_json:
        print_json({"written": str(path), **numbers})
    else:
        sys.stdout.write(f"{path}: written, {numbers['events']} events of {numbers['categories']} categories\n")


def _show(findings: Sequence["Finding"], broken: Mapping[str, str], *, as_json: bool) -> None:
    from sidestream.cli.output import print_json

    if as_json:
        print_json({"breaking": _breaking(findings), "findings": findings, "broken": broken})
        return
    for finding in findings:
        read_by = f"read by {', '.join(finding.read_by)}" if finding.read_by else "nobody here reads it"
        written_by = f"written by {finding.written_by}" if finding.written_by else "nobody here writes it"
        sys.stdout.write(f"{finding.severity}: {finding.subject}: {finding.change}\n    {written_by}; {read_by}\n    → {finding.remedy}\n")
    if findings or not broken:
        sys.stdout.write(f"{len(findings)} changes since the last release\n" if findings else "Nothing changed since the last release.\n")
