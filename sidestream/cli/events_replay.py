"""`sidestream events replay`: recorded events handed to a subscriber again, marked as replayed, never to a read model."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from sidestream.cli.events_options import Correlation, Count, Inbox, Since, Source, Store, Stream, Topics, Types, Until
from sidestream.cli.rebuilds import RUN_FILE, Data, File, Json

if TYPE_CHECKING:
    from sidestream.cli.events_logs import Opened
    from sidestream.logs.finding import Stretch, Wanted
    from sidestream.logs.replaying import HandOver, Marked, Replayed


def replay(
    to: Annotated[str, typer.Option("--to", metavar="URL|APP", help="who gets them: an address, or an app of dapr.yaml")],
    path: Annotated[str, typer.Option("--path", help="the door of the app")] = "/events",
    topic: Topics = None,
    type: Types = None,  # noqa: A002 - the option's name
    stream: Stream = "",
    source: Source = "",
    correlation: Correlation = "",
    since: Since = "",
    until: Until = "",
    after: Annotated[str, typer.Option("--after", help="TOPIC=POSITION,… behind which to go on")] = "",
    count: Count = None,
    rate: Annotated[float | None, typer.Option("--rate", min=0.001, help="so many events a second at most")] = None,
    attempts: Annotated[int, typer.Option("--attempts", min=1, help="how often one event is tried, with longer and longer pauses")] = 6,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say how many there are; hand over nothing")] = False,
    store: Store = "",
    inbox: Inbox = "",
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Hand recorded events to a subscriber again, one after another, each a CloudEvent that is marked as replayed.

    Stops at the first event that is not taken, and says how to go on behind the last one that was. Exit code 1 then.
    """
    from sidestream.cli.events_logs import Place, opened, stretch_of
    from sidestream.cli.events_sending import address_of
    from sidestream.launcher.runfile import read
    from sidestream.logs.finding import Wanted

    address = address_of(to, path, read(file).apps)
    wanted = Wanted(frozenset(type or ()), stream, source, correlation)
    with opened(Place(file, data, tuple(topic or ()), store, inbox)) as where:
        stretch = stretch_of(where, since, until, after)
        replayed, problem = _replayed(where, stretch, wanted, address, count=count, rate=rate, attempts=attempts, dry_run=dry_run)
    go_on = ",".join(f"{topic}={(replayed.done.get(topic) or stretch.after.get(topic) or 'start')}" for topic in where.topics)
    _say(replayed, problem, go_on, address, dry_run=dry_run, as_json=as_json)
    raise typer.Exit(1 if problem else 0)


def _replayed(
    where: "Opened",
    stretch: "Stretch",
    wanted: "Wanted",
    address: str,
    *,
    count: int | None,
    rate: float | None,
    attempts: int,
    dry_run: bool,
) -> "tuple[Replayed, str]":
    """Return what became of it, and why it ended before its end."""
    from sidestream.cli.events_printing import Looking
    from sidestream.cli.events_sending import Subscriber
    from sidestream.errors import LogUnavailable
    from sidestream.identifiers import new_id
    from sidestream.logs.finding import recorded_order
    from sidestream.logs.replaying import Replay, ReplayStopped
    from sidestream.tracing import tracing_of

    replay_id, tracing = new_id(), tracing_of("sidestream")
    with closing(Subscriber(address, replay_id, attempts=attempts, tracing=tracing)) as subscriber:
        hand_over: HandOver = _nobody if dry_run else paced(subscriber, rate) if rate else subscriber
        run = Replay(wanted, hand_over, replay_id, count)
        try:
            run.run(Looking().over(recorded_order(where.log, where.topics, stretch)))
        except (ReplayStopped, LogUnavailable) as error:
            return run.replayed, str(error)
        except KeyboardInterrupt:
            return run.replayed, "interrupted"
        finally:
            if tracing is not None:
                tracing.close()
    return run.replayed, ""


def _nobody(_: object) -> None:
    """Take an event and do nothing with it."""


def paced(hand_over: "HandOver", rate: float) -> "HandOver":
    """Return the same, but not more often than so many times a second."""
    from time import monotonic, sleep

    free_at = monotonic()

    def waiting(event: "Marked") -> None:
        nonlocal free_at
        sleep(max(0.0, free_at - monotonic()))
        free_at = max(free_at, monotonic() - 1 / rate) + 1 / rate
        hand_over(event)

    return waiting


def _say(replayed: "Replayed", problem: str, go_on: str, address: str, *, dry_run: bool, as_json: bool) -> None:
    from sidestream.cli.output import print_json

    if as_json:
        answer = {"read": replayed.read, "handed": replayed.handed, "unreadable": replayed.unreadable, "after": go_on}
        print_json({**answer, "dry_run": dry_run, "problem": problem or None})
        return
    what = "would be handed" if dry_run else "handed"
    unreadable = f"; {replayed.unreadable:,} entries are no events" if replayed.unreadable else ""
    typer.echo(f"{replayed.handed:,} of {replayed.read:,} entries {what} to {address}{unreadable}.")
    if problem:
        typer.echo(f"{problem}\nGo on with the same words and --after {go_on}", err=True)
