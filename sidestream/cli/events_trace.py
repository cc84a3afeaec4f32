"""`sidestream events trace`: everything that one request set going, as a tree of causes."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from sidestream.cli.events_options import Inbox, Store, Topics
from sidestream.cli.rebuilds import RUN_FILE, Data, File, Json

if TYPE_CHECKING:
    from rich.text import Text

    from sidestream.cli.events_logs import Opened
    from sidestream.logs.conversations import Told


def trace(
    conversation: Annotated[str, typer.Argument(metavar="CORRELATION", help="a correlation id; the id of one of its events will do")],
    topic: Topics = None,
    store: Store = "",
    inbox: Inbox = "",
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show a conversation: each event below the one that it was done because of. Exit code 1 when there is none."""
    from sidestream.cli.events_logs import Place, opened

    with opened(Place(file, data, tuple(topic or ()), store, inbox)) as where:
        correlation, roots = told(where, conversation)
    if not roots:
        typer.echo(f"{conversation}: expected a conversation or an event on {', '.join(where.topics)}; found none.", err=True)
        raise typer.Exit(1)
    (_print_json if as_json else _print_tree)(correlation, roots)


def told(where: "Opened", asked: str) -> "tuple[str, tuple[Told, ...]]":
    """Return the conversation of this id, or else the one that the event of this id belongs to; and its tree."""
    from sidestream.cli.events_printing import Looking
    from sidestream.logs.conversations import belongs, conversation_of, tree_of
    from sidestream.logs.finding import as_found, recorded_order

    for _ in range(2):
        standings = Looking().over(recorded_order(where.log, where.topics))
        found = [each for each in map(as_found, standings) if belongs(each, asked)]
        spoken_of = any(each.event is not None and each.event.correlationid == asked for each in found)
        named = next((each.event for each in found if each.event is not None), None)
        if spoken_of or named is None or conversation_of(named) == asked:
            break
        asked = conversation_of(named)
    return asked, tree_of(found)


def _print_tree(correlation: str, roots: "tuple[Told, ...]") -> None:
    from rich.console import Console
    from rich.tree import Tree

    from sidestream.logs.conversations import depth_first

    begin = min(each.recorded_ms for each in depth_first(roots))
    tree = Tree(_text(f"conversation {correlation}"))
    branches: list[Tree] = [tree]
    for each in depth_first(roots):
        del branches[each.depth + 1 :]
        branches.append(branches[-1].add(_text(_label(each, begin))))
    Console(highlight=False, width=None if sys.stdout.isatty() else 10_000).print(tree)


def _text(label: str) -> "Text":
    from rich.text import Text

    from sidestream.cli.events_printing import printable

    return Text(printable(label))


def _label(told: "Told", begin: int) -> str:
    event = told.event
    version = f" @{event.streamversion}" if event.streamversion else ""
    repeats = f"  recorded {len(told.positions)} times" if told.positions[1:] else ""
    after = f"+{(told.recorded_ms - begin) / 1000:.3f} s"
    return f"{event.type}  {event.stream}{version}  {after}  {told.topic}={told.positions[0]}{repeats}"


def _print_json(correlation: str, roots: "tuple[Told, ...]") -> None:
    from sidestream.cli.events_printing import recorded
    from sidestream.cli.output import print_json
    from sidestream.logs.conversations import depth_first

    events = [
        {
            "depth": each.depth,
            "id": each.event.id,
            "type": each.event.type,
            "source": each.event.source,
            "stream": each.event.stream,
            "version": each.event.streamversion,
            "causation": each.event.causationid,
            "traceparent": each.event.traceparent,
            "topic": each.topic,
            "positions": each.positions,
            "recorded": recorded(each.recorded_ms),
        }
        for each in depth_first(roots)
    ]
    print_json({"correlation": correlation, "events": events})
