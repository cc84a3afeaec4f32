"""What verbs print: tables for people, JSON for programs, and progress on standard error."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec

_WIDE: Final = 10_000
"""In a pipe nothing is folded."""


def print_json(value: Any) -> None:
    """Print one JSON document on a line."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


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


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error with rate and time left; call what is yielded with how many are done, of how many."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.description}  {task.completed:,.0f} of {task.total:,.0f}  {task.fields[rate]:,.0f}/s")
    with Progress(text, BarColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=0, rate=0.0)

        def show(done: int, total: int) -> None:
            elapsed = bar.tasks[0].elapsed or 0.0
            bar.update(task, completed=done, total=max(done, total), rate=done / elapsed if elapsed else 0.0)

        yield show
