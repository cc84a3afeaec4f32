"""`sidestream dead-letters`: events that could not be applied, and the streams that wait behind them.

EVENT is an event's id, or `topic@position` of an entry that cannot be read. docs/dead-letters.md is the operator's page.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sidestream.applying.applied import ParkedEvent
    from sidestream.applying.corrections import Correction, Corrections
    from sidestream.applying.dead_letters import Letter, Retried
    from sidestream.cli.declared import Declared
    from sidestream.ports import Generation, ReadModels

app = typer.Typer(help="Events that could not be applied.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="[PROJECTION]", help="one projection; all when left out")]
File = Annotated[Path, typer.Option("--file", "-f", help="the run file")]
Data = Annotated[Path | None, typer.Option("--data", help="folder of the system; .sidestream beside the file")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document; everything else goes to stderr")]
Projection = Annotated[str, typer.Argument(metavar="PROJECTION", help="the projection")]
Event = Annotated[str, typer.Argument(metavar="EVENT", help="the event's id, or topic@position of an entry that cannot be read")]
Who = Annotated[str, typer.Option("--who", help="who decides; kept for ever")]
Why = Annotated[str, typer.Option("--why", help="why; kept for ever")]
Source = Annotated[str, typer.Option("--source", help="the event's source, where several events have this id")]
Reason = Annotated[str, typer.Option("--reason", help="the letter's reason, where an event has several letters")]
RUN_FILE = Path("dapr.yaml")
_PAGE = 1000


@app.callback()
def dead_letters() -> None:
    """Events that could not be applied, and the streams that wait behind them."""


@app.command("list")
def list_letters(
    name: Name = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="most events to list")] = 100,
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List parked events of the live generations: those that failed, and those that wait behind them."""
    from itertools import islice

    from sidestream.cli.declared import declared, named
    from sidestream.cli.output import print_json, print_table

    with declared(file, data) as found:
        chosen = [named(found, name)] if name else found
        letters = list(islice(((each.projection.name, event) for each in chosen for event in _parked(each)), limit))
    if as_json:
        print_json([_as_map(projection, event) for projection, event in letters])
        return
    titles = ("projection", "stream", "type", "event", "reason", "tries", "since", "detail")
    print_table(titles, [(at, e.stream, e.type, _name(e), e.reason, e.attempts, e.first_at, e.detail) for at, e in letters])


def _name(event: "ParkedEvent") -> str:
    return event.event_id or f"{event.topic}@{event.position}"


@app.command()
def show(
    name: Projection,
    event: Event,
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show a parked event whole: its bytes as they came, what became of it, and what was decided about it."""
    from sidestream.cli.declared import declared, named
    from sidestream.cli.output import print_json

    with declared(file, data) as found, _desk(named(found, name)) as desk:
        letters = [desk.shown(parked) for parked in desk.parked_as(event)]
    if as_json:
        print_json(letters)
    for letter in () if as_json else letters:
        typer.echo("\n".join(f"{key:13} {value}" for key, value in _lines(letter)) + "\n")
    if not letters:
        typer.echo(f"{name}: expected a parked event {event}, found none. sidestream dead-letters list {name} shows them.", err=True)
        raise typer.Exit(1)


def _lines(letter: dict[str, Any]) -> Iterator[tuple[str, object]]:
    for key, value in letter.items():
        if key == "decisions":
            for each in value:
                yield each["kind"], f"{each['at']} by {each['who']}: {each['why']}"
        else:
            yield key, value


@app.command()
def edit(
    name: Projection,
    event: Event,
    who: Who,
    why: Why,
    fields: Annotated[str, typer.Option("--set", metavar="JSON", help="fields of the data to replace, as a JSON object")] = "",
    new_data: Annotated[Path | None, typer.Option("--with", metavar="FILE", help="new data, as JSON; - reads it from stdin")] = None,
    whole: Annotated[Path | None, typer.Option("--event", metavar="FILE", help="the whole event, as a CloudEvent in JSON")] = None,
    source: Source = "",
    reason: Reason = "",
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Use another event instead of a parked one, in every generation from now on. Exit code 1 when it still cannot be applied.

    The original is kept. Id, source, subject and count stay; give one of --set, --with and --event.
    """
    with _at_desk(file, data, name) as desk:
        letter = desk.letter(event, source, reason)
        draft = letter.correction("edit", _instead(letter, fields, new_data, whole), who=who, why=why, at=_now())
        desk.expect_readable(draft)
        _print_decided(desk.decide(draft), as_json=as_json)


@app.command()
def skip(
    name: Projection,
    event: Event,
    who: Who,
    why: Why,
    source: Source = "",
    reason: Reason = "",
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Count a parked event and do nothing for it, in every generation from now on; its stream goes on."""
    with _at_desk(file, data, name) as desk:
        draft = desk.letter(event, source, reason).correction("skip", who=who, why=why, at=_now())
        _print_decided(desk.decide(draft), as_json=as_json)


@app.command()
def undo(
    name: Projection,
    event: Event,
    who: Who,
    why: Why,
    source: Source = "",
    reason: Reason = "",
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Take an edit or a skip back. A generation that has met it keeps what it did: rebuild it then."""
    with _at_desk(file, data, name) as desk:
        draft = desk.letter(event, source, reason).correction("undo", who=who, why=why, at=_now())
        _print_decided(desk.decide(draft), as_json=as_json)


@app.command()
def decisions(name: Projection, file: File = RUN_FILE, data: Data = None, as_json: Json = False) -> None:
    """List every edit, skip and undo: who, why, when. Nothing is ever removed from this list."""
    from sidestream.cli.output import print_json, print_table

    with _at_desk(file, data, name) as desk:
        made = desk.corrections.after(0)
    if as_json:
        print_json([_correction_map(each) for each in made])
        return
    titles = ("number", "decision", "about", "of", "event", "who", "when", "why")
    print_table(titles, [(e.number, e.kind, e.about, e.origin, e.name, e.who, e.at, e.why) for e in made])


@app.command()
def retry(
    name: Name = "",
    event: Annotated[str, typer.Argument(metavar="[EVENT]", help="only the stream of this event")] = "",
    stream: Annotated[str | None, typer.Option("--stream", help="only this stream")] = None,
    topic: Annotated[str | None, typer.Option("--topic", help="only streams of this topic")] = None,
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Try parked streams again, after the cause is mended. Exit code 1 when one is still parked."""
    from sidestream.cli.declared import declared, named
    from sidestream.cli.output import print_json, print_table

    with declared(file, data) as found:
        chosen = [named(found, name)] if name else found
        results = [line for each in chosen for line in _retried(each, topic, stream, event)]
    if as_json:
        names = ("projection", "generation", "result")
        print_json([dict(zip(names, line, strict=True)) for line in results])
    else:
        titles = ("projection", "generation", "streams tried", "free now", "events applied")
        print_table(titles, [(projection, at, each.tried, each.freed, each.applied) for projection, at, each in results])
    raise typer.Exit(1 if any(each.freed < each.tried for _, _, each in results) else 0)


def _retried(each: "Declared", topic: str | None, stream: str | None, event: str) -> "Iterator[tuple[str, str, Retried]]":
    """Try again in every generation that follows the log, so that a switch back finds the same."""
    from sidestream.applying.dead_letters import parked_as
    from sidestream.applying.dead_letters import retry as try_again

    with _desk(each) as desk:
        for generation in desk.followed():
            only = {(parked.topic, parked.stream) for parked in parked_as(generation, event)} if event else None
            yield each.projection.name, generation.name, try_again(desk.rule, generation, _now, topic, stream, only=only)


# ── the desk at which somebody decides ───────────────────────────────────────────────────────────────────────────────


@contextmanager
def _at_desk(file: Path, data: Path | None, name: str) -> "Iterator[_Desk]":
    from sidestream.cli.declared import declared, named

    with declared(file, data) as found, _desk(named(found, name)) as desk:
        yield desk


@contextmanager
def _desk(each: "Declared") -> "Iterator[_Desk]":
    from sidestream.applying.corrections import BESIDE, Corrections

    with each.read_models() as read_models, closing(Corrections(read_models.beside(BESIDE))) as corrections:
        yield _Desk(each, read_models, corrections)


class _Desk:
    """One projection's generations, and the record of what was decided about its dead letters."""

    def __init__(self, each: "Declared", read_models: "ReadModels", corrections: "Corrections") -> None:
        from sidestream.applying.corrections import InForce
        from sidestream.applying.rules import Rule

        self.name = each.projection.name
        self.corrections = corrections
        self._version = each.projection.version
        self._read_models = read_models
        self._in_force = InForce(corrections)
        self._in_force.refresh()
        self.rule = Rule(each.projection, each.registry, self._in_force)

    def followed(self) -> "Iterator[Generation]":
        """Open every generation that follows the log, the live one first."""
        infos = [info for info in self._read_models.generations() if info.state == "ready" and info.version == self._version]
        for info in sorted(infos, key=lambda info: not info.live):
            with closing(self._read_models.open(info.name)) as generation:
                yield generation

    def parked_as(self, event: str) -> "Sequence[ParkedEvent]":
        """Return the parked events of this name, of the first generation that has any."""
        from sidestream.applying.dead_letters import parked_as

        return next((found for generation in self.followed() if (found := parked_as(generation, event))), ())

    def shown(self, event: "ParkedEvent") -> dict[str, Any]:
        """Return a parked event with every decision about it."""
        from sidestream.applying.dead_letters import letter_of

        subject = letter_of(event).subject
        decided = [_correction_map(each) for each in self.corrections.after(0) if each.subject == subject]
        return {**_as_map(self.name, event), "decisions": decided}

    def letter(self, event: str, source: str, reason: str) -> "Letter":
        """Return what a decision under this name is about: a parked event, else one that was decided about before.

        Raises:
            ConfigurationError: there is none, or there are several.
        """
        from sidestream.errors import ConfigurationError

        letters = [each for each in self._letters(event) if _fits(each, source, reason)]
        if len(letters) == 1:
            return letters[0]
        found = "; ".join(f"{each.reason or each.about} of {each.origin}" for each in letters) or "none"
        remedy = "Name one with --source or --reason." if letters else f"sidestream dead-letters list {self.name} shows them."
        raise ConfigurationError(f"{self.name}: expected one parked event {event}, found {found}. {remedy}")

    def _letters(self, event: str) -> "Sequence[Letter]":
        from sidestream.applying.dead_letters import Letter, letter_of

        if parked := self.parked_as(event):
            return list({letter.subject: letter for letter in map(letter_of, parked)}.values())
        topic, _, position = event.rpartition("@")
        earlier = [each for each in self.corrections.after(0) if (each.name == event) or (each.origin, each.name) == (topic, position)]
        return list({each.subject: Letter(each.about, each.origin, each.name, each.original) for each in earlier}.values())  # type: ignore[arg-type]

    def expect_readable(self, draft: "Correction") -> None:
        """Refuse an edit that the rule could not even read."""
        from sidestream.errors import InvalidEvent
        from sidestream.ports import LogEntry

        problem = self.rule.decode(LogEntry("", draft.wire, 0)).problem
        if problem:
            raise InvalidEvent(f"edit of {draft.name}: {self.name} cannot read the event to use instead: {problem}. Correct it.")

    def decide(self, draft: "Correction") -> dict[str, Any]:
        """Record a decision and let every generation that follows meet it now."""
        from sidestream.applying.dead_letters import drain, parked_as

        recorded = self.corrections.record(draft)
        self._in_force.refresh()
        name = f"{recorded.origin}@{recorded.name}" if recorded.about == "entry" else recorded.name
        results = []
        for generation in self.followed():
            was = len(parked_as(generation, name))
            result = drain(self.rule, generation, _now, [recorded] if recorded.kind != "undo" else [])
            results.append(
                {"generation": generation.name, "was_parked": was, "still_parked": len(parked_as(generation, name)), "result": result}
            )
        return {"projection": self.name, "decision": _correction_map(recorded), "generations": results}


def _fits(letter: "Letter", source: str, reason: str) -> bool:
    return source in ("", letter.origin) and reason in ("", letter.reason)


def _instead(letter: "Letter", fields: str, new_data: Path | None, whole: Path | None) -> bytes:
    """Return the event to use instead."""
    from sidestream.applying.corrections import checked, with_data, with_fields
    from sidestream.errors import ConfigurationError

    if sum(map(bool, (fields, new_data, whole))) != 1:
        raise ConfigurationError("edit: expected one of --set JSON, --with FILE and --event FILE. Give exactly one.")
    if fields:
        return checked(letter.original, with_fields(letter.original, fields.encode()))
    if new_data:
        return checked(letter.original, with_data(letter.original, _read(new_data)))
    return checked(letter.original, _read(whole or Path("-")))


def _read(path: Path) -> bytes:
    import sys

    from sidestream.errors import ConfigurationError

    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"edit: {path}: {error.strerror}. Name a file that can be read.") from None


def _print_decided(decided: dict[str, Any], *, as_json: bool) -> None:
    """Say what became of the event in each generation; exit code 1 when it is still parked in one."""
    from sidestream.cli.output import print_json

    if as_json:
        print_json(decided)
    for each in () if as_json else decided["generations"]:
        typer.echo(f"{decided['projection']} {each['generation']}: {_became(decided['decision']['kind'], each)}")
    wanted = decided["decision"]["kind"] != "undo"
    raise typer.Exit(1 if wanted and any(each["still_parked"] for each in decided["generations"]) else 0)


def _became(kind: str, each: dict[str, Any]) -> str:
    if not each["was_parked"]:
        return "not parked there: it was applied or skipped before. This decision holds from the next rebuild on."
    if kind == "undo":
        return "parked as before."
    if each["still_parked"]:
        return "still parked; sidestream dead-letters show says why, or what it waits for."
    return f"{each['result'].applied:,} events left the parked streams, {each['result'].freed:,} streams are free."


def _now() -> str:
    from sidestream.identifiers import now

    return now()


def _correction_map(correction: "Correction") -> dict[str, Any]:
    import msgspec

    found = msgspec.structs.asdict(correction)
    return {**found, **{name: found[name].decode("utf-8", "backslashreplace") for name in ("wire", "original")}}


def _parked(each: "Declared") -> "Iterator[ParkedEvent]":
    """Go through the parked events of the live generation; none when there is no generation yet."""
    from sidestream.applying.dead_letters import parked_events

    with each.read_models() as read_models:
        live = next((info for info in read_models.generations() if info.live), None)
        if live is None:
            return
        with closing(read_models.open(live.name)) as generation:
            after = None
            while page := parked_events(generation, _PAGE, after):
                yield from page
                after = (page[-1].topic, page[-1].stream, page[-1].ordinal)


def _as_map(projection: str, event: "ParkedEvent") -> dict[str, Any]:
    import msgspec

    found = {"projection": projection, **msgspec.structs.asdict(event)}
    return {**found, "wire": event.wire.decode("utf-8", "backslashreplace")}
