"""`sidestream projections status`: how far every generation is, and what is wrong, as tables or JSON, once or again and again.

Positions, lag and parked events are read from the log and the databases, beside the app or without it. Rate, duplicates,
bells and what the app noticed come from the app itself, if it answers on the port of the run file.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

if TYPE_CHECKING:
    from sidestream.cli.asking import Health, Told
    from sidestream.cli.declared import Declared
    from sidestream.hosting.lag import Lag
    from sidestream.ports import EventLog, GenerationInfo, Reader, ReadModels


class Line(msgspec.Struct, frozen=True):
    """One generation and one topic.

    Attributes:
        generation: empty when the projection has none.
        applied, end: positions; empty for nothing applied, and for an empty log.
        behind: entries of the log that are not applied, `behind_more`: at least so many; None where nobody can say.
        lag_seconds: time in the log between the oldest entry not applied and the newest; `oldest_seconds`: its age.
        rate, duplicates, bells, sweeps: as the app says, of all topics; None where it does not answer.
        unreadable: whether its file or tables are gone or broken: nothing is known of its topics then.
        kept: why it is there though it is not live, and what ends it, where it is kept for programs of an older version.
        problem: why somebody should look at it, empty when all is well.
    """

    projection: str
    generation: str = ""
    live: bool = False
    state: str = ""
    version: int = 0
    topic: str = ""
    applied: str = ""
    end: str = ""
    behind: int | None = 0
    behind_more: bool = False
    lag_seconds: float = 0.0
    oldest_seconds: float = 0.0
    parked_streams: int = 0
    parked_events: int = 0
    rate: float | None = None
    duplicates: int | None = None
    bells: int | None = None
    sweeps: int | None = None
    unreadable: bool = False
    kept: str = ""
    problem: str = ""


def status(
    name: Annotated[str, typer.Argument(help="one projection; all when left out")] = "",
    watch: Annotated[bool, typer.Option("--watch", help="look again and again, until Ctrl-C")] = False,
    every: Annotated[float, typer.Option("--every", min=0.1, help="seconds between two looks of --watch")] = 2.0,
    file: Annotated[Path, typer.Option("--file", "-f", help="the run file")] = Path("dapr.yaml"),
    data: Annotated[Path | None, typer.Option("--data", help="folder of the system; .sidestream beside the file")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON, with --watch a line a look; everything else goes to stderr")] = False,
) -> None:
    """Show how far every generation has applied each topic. Exit code 1 when something is parked, wedged, or not live."""
    from sidestream.cli.declared import declared, named

    with declared(file, data) as found:
        chosen = [named(found, name)] if name else found
        lines = _look(chosen, as_json=as_json)
        while watch:
            time.sleep(every)
            if not as_json:
                typer.echo()
            lines = _look(chosen, as_json=as_json)
    raise typer.Exit(1 if any(line.problem for line in lines) else 0)


def _look(chosen: "Sequence[Declared]", *, as_json: bool) -> list[Line]:
    from sidestream.cli.output import print_json, print_table

    lines = [line for each in chosen for line in lines_of(each)]
    if as_json:
        print_json(lines)
        return lines
    titles = ("projection", "generation", "topic", "applied up to", "the log ends at", "behind", "lag", "oldest", "parked", "rate", "twice")
    print_table(titles, [_cells(line) for line in lines])
    for said in dict.fromkeys(said for line in lines for said in (line.kept, line.problem) if said):
        typer.echo(said)
    return lines


def _cells(line: Line) -> tuple[str, ...]:
    if line.unreadable:
        return line.projection, f"{line.generation} (live)" if line.live else line.generation, "", "unreadable", *[""] * 7
    behind = "log away" if line.behind is None else f"{line.behind:,}" + ("+" if line.behind_more else "")
    return (
        line.projection,
        f"{line.generation} (live)" if line.live else line.generation or "none",
        line.topic,
        line.applied or "start",
        line.end or "empty",
        behind,
        f"{line.lag_seconds:.1f} s",
        f"{line.oldest_seconds:.1f} s",
        f"{line.parked_events} of {line.parked_streams} streams" if line.parked_events else "none",
        "-" if line.rate is None else f"{line.rate:,.0f}/s",
        "-" if line.duplicates is None else f"{line.duplicates:,}",
    )


# ── one projection ───────────────────────────────────────────────────────────────────────────────────────────────────


def lines_of(each: "Declared") -> Iterator[Line]:
    """Go through every generation and topic of a projection."""
    from msgspec.structs import replace

    from sidestream.cli.asking import ask
    from sidestream.rebuilding.keeping import kept_for_programs, why_kept

    name = each.projection.name
    told = ask(each.door, name)
    with each.log() as log, each.read_models() as read_models:
        infos = read_models.generations()
        kept = {found: why_kept(name, found, version) for found, version in kept_for_programs(infos).items()}
        for info in infos:
            for line in _of_generation(each, info, read_models, log, told):
                yield line if line.unreadable else replace(line, kept=kept.get(info.name, ""))
    if not any(info.live for info in infos):
        yield Line(name, problem=f"{name}: no generation is live. Start its app once.")


def _of_generation(each: "Declared", info: "GenerationInfo", read_models: "ReadModels", log: "EventLog", told: "Told") -> Iterator[Line]:
    from sidestream.errors import UnreadableGeneration
    from sidestream.hosting.unreadable import why_unreadable

    try:
        applied, parked = _kept_in(read_models, info.name, each.projection.topics)
    except UnreadableGeneration as error:
        yield _unreadable(each.projection.name, info, why_unreadable(each.projection.name, info, error))
        return
    own = told.of(info.name)
    for topic, (streams, events) in parked.items():
        lag, end, away = _lag(log, topic, applied.get(topic, ""))
        gone = "" if away else _gone(log, topic, applied.get(topic, ""))
        yield Line(
            projection=each.projection.name,
            generation=info.name,
            live=info.live,
            state=info.state,
            version=info.version,
            topic=topic,
            applied=applied.get(topic, ""),
            end=end,
            behind=None if away else lag.events,
            behind_more=lag.more,
            lag_seconds=lag.seconds,
            oldest_seconds=lag.oldest_seconds,
            parked_streams=streams,
            parked_events=events,
            rate=own.rate,
            duplicates=own.duplicates,
            bells=told.health.bells,
            sweeps=told.health.sweeps,
            problem=_problem(each, info, events, away, gone, told.health) if info.live else "",
        )


def _kept_in(
    read_models: "ReadModels", generation: str, topics: Collection[str]
) -> tuple[Mapping[str, str], Mapping[str, tuple[int, int]]]:
    """Return of each topic how far it is applied, where anything is, and how many streams and events are parked."""
    from sidestream.applying.applied import CHECKPOINTS

    with closing(read_models.open(generation)) as opened, opened.snapshot() as reader:
        applied = {row.topic: row.position for row in reader.read(CHECKPOINTS, [(topic,) for topic in topics]).values()}
        return applied, {topic: _parked(reader, topic) for topic in topics}


def _unreadable(projection: str, info: "GenerationInfo", problem: str) -> Line:
    return Line(projection, info.name, info.live, info.state, info.version, behind=None, unreadable=True, problem=problem)


def _parked(reader: "Reader", topic: str) -> tuple[int, int]:
    from sidestream.applying.applied import PARKED_EVENTS, PARKED_STREAMS
    from sidestream.ports import Condition

    of_topic = [Condition("topic", "=", topic)]
    return reader.count(PARKED_STREAMS, of_topic), reader.count(PARKED_EVENTS, of_topic)


def _lag(log: "EventLog", topic: str, applied: str) -> "tuple[Lag, str, str]":
    """Return lag, the log's end, and why it cannot be read."""
    from sidestream.errors import LogUnavailable
    from sidestream.hosting.lag import Lag, measure
    from sidestream.identifiers import milliseconds

    try:
        return measure(log, topic, applied, milliseconds()), log.extent(topic).last or "", ""
    except LogUnavailable as error:
        return Lag(), "", str(error)


def _gone(log: "EventLog", topic: str, applied: str) -> str:
    """Say it where events that were never applied are gone from the log: no app goes on by itself then."""
    trimmed_to = log.extent(topic).trimmed_to
    if not applied or trimmed_to is None or log.compare(trimmed_to, applied) <= 0:
        return ""
    return f"topic {topic}: expected events after {applied}, found the log trimmed up to {trimmed_to}. Restore the log."


def _problem(each: "Declared", info: "GenerationInfo", parked: int, away: str, gone: str, health: "Health") -> str:
    """Say what is wrong with the live generation, the app and its sidecar, each in a sentence of its own."""
    name = each.projection.name
    found = [f"{name}: {parked:,} events are parked: sidestream dead-letters list {name}"] if parked else []
    if info.version != each.projection.version:
        found.append(_other_version(name, info, each.projection.version))
    if gone:
        found.append(f"{name}: {gone}")
    if away or health.log_away:
        found.append(f"{name}: the log cannot be read; queries go on with what was applied: {away or health.log_away}")
    elif health.not_ready:
        found.append(health.not_ready)
    if health.sidecar_silent:
        found.append(f"{name}: the log moves and the sidecar does not ring; sweeps do its work. Restart the sidecar of app {each.app}.")
    return "; ".join(found)


def _other_version(name: str, info: "GenerationInfo", code: int) -> str:
    found = f"{name}: {info.name} was built by version {info.version}, the code is version {code}: "
    if info.version > code:
        return f"{found}deploy version {info.version}; a rebuild with this code would take queries back to version {code}"
    return f"{found}sidestream projections rebuild {name}"
