"""What somebody decides about a dead letter, or about a version that never came: `edit`, `skip`, `give-up`, `undo`, `decisions`.

Each is recorded with who and why, and met at once by every generation that follows the log.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sidestream.cli.dead_letters_desk import at_desk, correction_map
from sidestream.cli.rebuilds import RUN_FILE, Data, File, Json

if TYPE_CHECKING:
    from sidestream.applying.corrections import Kind
    from sidestream.applying.dead_letters import Letter
    from sidestream.cli.dead_letters_desk import Decided, Met

Projection = Annotated[str, typer.Argument(metavar="PROJECTION", help="the projection")]
Event = Annotated[str, typer.Argument(metavar="EVENT", help="the event's id; topic@position or entry #... of an entry that cannot be read")]
Versions = Annotated[str, typer.Argument(metavar="STREAM@VERSION", help="as `waiting` shows it: order-7f3a@3, or order-7f3a@3-5")]
Who = Annotated[str, typer.Option("--who", help="who decides; kept for ever")]
Why = Annotated[str, typer.Option("--why", help="why; kept for ever")]
Source = Annotated[str, typer.Option("--source", help="the event's source, where several events have this id")]
Reason = Annotated[str, typer.Option("--reason", help="the letter's reason, where an event has several letters")]


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
    with at_desk(file, data, name) as desk:
        letter = desk.letter(event, source, reason)
        _print_decided(desk.edit(letter, _instead(letter, fields, new_data, whole), who=who, why=why), as_json=as_json)


def _verb(kind: "Kind", does: str) -> Callable[..., None]:
    """Return a verb that needs no more than an event, who, and why."""

    def decide(
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
        with at_desk(file, data, name) as desk:
            _print_decided(desk.decide(kind, desk.letter(event, source, reason), who=who, why=why), as_json=as_json)

    decide.__doc__ = does
    return decide


skip = _verb("skip", "Count a parked event and do nothing for it, in every generation from now on; its stream goes on.")
undo = _verb("undo", "Take a decision back. A generation that has met it keeps what it did: rebuild it then.")


def give_up(
    name: Projection,
    versions: Versions,
    who: Who,
    why: Why,
    topic: Annotated[str, typer.Option("--topic", help="the stream's topic, where streams of several topics have this name")] = "",
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Wait no more for versions of a stream that never came; what waits behind them is applied, in every generation from now on.

    A version that comes after all is kept as a dead letter. Exit code 1 when events of the stream are still parked.
    """
    with at_desk(file, data, name) as desk:
        _print_decided(desk.give_up(versions, topic, who=who, why=why), as_json=as_json)


def decisions(name: Projection, file: File = RUN_FILE, data: Data = None, as_json: Json = False) -> None:
    """List every decision: who, why, when. Nothing is ever removed from this list."""
    from sidestream.cli.output import print_json, print_table

    with at_desk(file, data, name) as desk:
        made = desk.corrections.after(0)
    if as_json:
        print_json([correction_map(each) for each in made])
        return
    titles = ("number", "decision", "about", "of", "event", "who", "when", "why")
    print_table(titles, [(e.number, e.kind, e.about, e.origin, e.name, e.who, e.at, e.why) for e in made])


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


def _print_decided(decided: "Decided", *, as_json: bool) -> None:
    """Say what became of it in each generation; exit code 1 when what was decided about is still parked in one."""
    from sidestream.cli.output import print_json

    kind = decided.decision.kind
    if as_json:
        print_json(decided.as_map())
    for each in () if as_json else decided.generations:
        typer.echo(f"{decided.projection} {each.generation}: {_became(kind, each)}")
    raise typer.Exit(1 if kind != "undo" and any(each.still_parked for each in decided.generations) else 0)


def _became(kind: str, each: "Met") -> str:
    if not each.was_parked:
        return "nothing of it is parked there: applied or skipped before, or still to come. This decision holds from the next rebuild on."
    if kind == "undo" and not each.result.applied:
        return "parked as before."
    applied = f"{each.result.applied:,} events left the parked streams, {each.result.freed:,} streams are free."
    if not each.still_parked:
        return applied
    if kind in ("give-up", "undo"):
        return f"{applied} {each.still_parked:,} events of the stream are still parked; sidestream dead-letters waiting and list say why."
    return "still parked; sidestream dead-letters show says why, or what it waits for."
