"""The options that verbs of `sidestream events` have in common: which events, of which part of which log."""

from typing import Annotated, Final

import typer

_ENDS: Final = ("first", "last")


def _which_end(text: str) -> str:
    if text not in _ENDS:
        raise typer.BadParameter(
            f"expected first or last, the end that --count counts from; found {text!r}. A time or a position to begin at is --since."
        )
    return text


Topics = Annotated[list[str] | None, typer.Option("--topic", help="only this topic; may be said again")]
Types = Annotated[list[str] | None, typer.Option("--type", help="only this type; may be said again")]
Stream = Annotated[str, typer.Option("--stream", help="only this stream")]
Source = Annotated[str, typer.Option("--source", help="only of this source")]
Correlation = Annotated[str, typer.Option("--correlation", help="only of this conversation")]
Since = Annotated[str, typer.Option("--since", help="a time with its zone, a position, or TOPIC=POSITION,…; inclusive")]
Until = Annotated[str, typer.Option("--until", help="the same, of the last one; inclusive")]
Count = Annotated[int | None, typer.Option("--count", min=1, help="so many events at most")]
Start = Annotated[
    str, typer.Option("--start", parser=_which_end, metavar="[first|last]", help="with --count: the first ones, or the last ones")
]
Store = Annotated[str, typer.Option("--store", help="look into the event store of this service, not into the broker's log")]
Inbox = Annotated[str, typer.Option("--inbox", help="look into the inbox log of this projection")]
