"""`sidestream events list | show | tail | trace | replay`: what is recorded, told to people and handed to subscribers."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from sidestream.cli.events_options import Correlation, Count, Inbox, Since, Source, Start, Store, Stream, Topics, Types, Until
from sidestream.cli.events_replay import replay
from sidestream.cli.events_trace import trace
from sidestream.cli.rebuilds import RUN_FILE, Data, File, Json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sidestream.cli.events_logs import Opened
    from sidestream.cli.events_printing import Looking
    from sidestream.logs.finding import Found, Standing, Stretch, Wanted

app = typer.Typer(help="Events as they stand in a log.", no_args_is_help=True)

_POLL_SECONDS: Final = 0.2


@app.callback()
def events() -> None:
    """Events as they stand in a log."""


@app.command("list")
def list_events(
    topic: Topics = None,
    type: Types = None,  # noqa: A002 - the option's name
    stream: Stream = "",
    source: Source = "",
    correlation: Correlation = "",
    since: Since = "",
    until: Until = "",
    count: Count = None,
    start: Start = "first",
    reverse: Annotated[bool, typer.Option("--reverse", help="newest first")] = False,
    store: Store = "",
    inbox: Inbox = "",
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List events of all topics in the order they were recorded. With --json each is one line, the event as it was written."""
    import sys

    from sidestream.cli.events_logs import Place, opened, stretch_of
    from sidestream.cli.events_printing import Looking, print_event_json, print_events
    from sidestream.logs.finding import Wanted

    wanted = Wanted(frozenset(type or ()), stream, source, correlation)
    with opened(Place(file, data, tuple(topic or ()), store, inbox)) as where:
        looking = Looking()
        found = _listed(where, wanted, stretch_of(where, since, until), count, looking, last=start == "last", reverse=reverse)
        if as_json:
            for each in looking.found(found):
                print_event_json(each, sys.stdout)
        elif not print_events(looking.found(found), sys.stdout):
            typer.echo("No such event.", err=True)


def _listed(
    where: "Opened", wanted: "Wanted", stretch: "Stretch", count: int | None, looking: "Looking", *, last: bool, reverse: bool
) -> "Iterator[Found]":
    """Read from the end that is asked for; only what must be turned round is held, at most `count` events."""
    from itertools import islice

    from sidestream.logs.finding import matching, newest_first, recorded_order

    from_the_end = last if count is not None else reverse
    read = newest_first if from_the_end else recorded_order
    found = islice(matching(looking.over(read(where.log, where.topics, stretch)), wanted), count)
    return found if from_the_end == reverse else reversed(list(found))


@app.command()
def show(
    which: Annotated[str, typer.Argument(metavar="ID|POSITION", help="an event's id, a position, or TOPIC=POSITION")],
    topic: Topics = None,
    store: Store = "",
    inbox: Inbox = "",
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show one event whole, as it was written. Exit code 1 when there is none."""
    from sidestream.cli.events_logs import Place, opened
    from sidestream.cli.events_printing import Looking
    from sidestream.cli.events_showing import looked_up, print_shown

    with opened(Place(file, data, tuple(topic or ()), store, inbox)) as where:
        shown = looked_up(where, which, Looking())
    if not shown:
        typer.echo(f"{which}: expected the id or the position of an event on {', '.join(where.topics)}; found none.", err=True)
        raise typer.Exit(1)
    print_shown(shown, as_json=as_json)


@app.command()
def tail(
    topic: Topics = None,
    type: Types = None,  # noqa: A002 - the option's name
    stream: Stream = "",
    source: Source = "",
    correlation: Correlation = "",
    since: Since = "",
    count: Annotated[int | None, typer.Option("--count", min=1, help="end after so many events")] = None,
    store: Store = "",
    inbox: Inbox = "",
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show events as they are recorded, from now or --since on, until Ctrl-C."""
    import sys
    from contextlib import suppress
    from itertools import islice

    from sidestream.cli.events_logs import Place, opened, stretch_of
    from sidestream.cli.events_printing import print_event, print_event_json
    from sidestream.logs.finding import Wanted, matching

    wanted = Wanted(frozenset(type or ()), stream, source, correlation)
    with suppress(KeyboardInterrupt), opened(Place(file, data, tuple(topic or ()), store, inbox)) as where:
        stretch = stretch_of(where, since) if since else None
        for found in islice(matching(_as_they_come(where, stretch), wanted), count):
            (print_event_json if as_json else print_event)(found, sys.stdout)
            sys.stdout.flush()


def _as_they_come(where: "Opened", stretch: "Stretch | None") -> "Iterator[Standing]":
    """Give what comes; a log that is away for a while is said once, and waited for."""
    from time import sleep

    from sidestream.errors import LogUnavailable
    from sidestream.logs.following import Follower

    follower = Follower(where.log, where.topics, stretch)
    away = False
    while True:
        try:
            yield from follower.fresh()
            away = False
        except LogUnavailable as error:
            if not away:
                typer.echo(f"The log is away, waiting for it: {error}", err=True)
            away = True
        sleep(_POLL_SECONDS)


app.command()(trace)
app.command()(replay)
