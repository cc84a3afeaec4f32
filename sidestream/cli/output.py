"""What verbs print: tables for people, JSON for programs, and progress on standard error."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from rich.progress import Progress

_UNITS: Final = ("bytes", "KB", "MB", "GB", "TB")
_WIDE: Final = 10_000
"""In a pipe nothing is folded."""


def print_json(value: Any) -> None:
    """Print one JSON document on a line."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def as_size(number: int) -> str:
    """Return a number of bytes as people say it: `1.2 MB`."""
    size, at = float(number), 0
    while size >= 1000 and at < len(_UNITS) - 1:
        size, at = size / 1000, at + 1
    return f"{size:.1f} {_UNITS[at]}" if at else f"{number} bytes"


def as_time(seconds: float) -> str:
    """Return a length of time as people say it: `2 min 5 s`."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def print_table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; in a pipe it is as wide as its content."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*map(str, row))
    Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else _WIDE).print(table)


Show = Callable[[int, int], None]


@contextmanager
def counting(what: str) -> Iterator[Show]:
    """Show a bar on standard error with rate and time left; call what is yielded with how many are done, of how many."""
    with counting_each(what) as (show,):
        yield show


@contextmanager
def counting_each(*whats: str) -> Iterator[Sequence[Show]]:
    """Show a bar for each of several things, from the moment it begins."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.description}  {task.completed:,.0f} of {task.total:,.0f}  {task.fields[rate]:,.0f}/s")
    console = Console(stderr=True)
    unseen = not console.is_interactive  # else an empty line would be left of the bars
    with Progress(text, BarColumn(), TimeRemainingColumn(), console=console, transient=True, disable=unseen) as bars:
        yield [_bar(bars, what) for what in whats]


def _bar(bars: "Progress", what: str) -> Show:
    task = bars.add_task(what, start=False, total=0, visible=False, rate=0.0)

    def show(done: int, total: int) -> None:
        bars.start_task(task)
        elapsed = bars.tasks[task].elapsed or 0.0
        bars.update(task, completed=done, total=max(done, total), visible=True, rate=done / elapsed if elapsed else 0.0)

    return show
