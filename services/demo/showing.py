"""Prints what the read models say, as tables, and what to try next."""

import sys
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.demo.doors import Doors
from services.demo.orders import expected_states, found_states
from services.demo.playing import Played
from services.demo.script import Script

_LINES: Final = 8
_WIDTH: Final = 110
"""Columns where the output is no terminal: `sidestream up` reads it through a pipe."""
_PATH_LETTERS: Final = 48
_DATA_LETTERS: Final = 56


def open_console() -> Console:
    """Return where to print."""
    return Console() if sys.stdout.isatty() else Console(width=_WIDTH, highlight=False)


async def show(console: Console, doors: Doors, script: Script, played: Played) -> bool:
    """Print all tables; return whether tally and orders are what was worked out without them."""
    right = await _show_tally(console, doors, script)
    right = await _show_orders(console, doors, played) and right
    await _show_revenue(console, doors)
    await _show_catalogue(console, doors)
    await _show_duplicates(console, doors)
    await _show_activity(console, doors)
    return right


async def _show_tally(console: Console, doors: Doors, script: Script) -> bool:
    table = _table(console, "Tally: votes per poll (one per voter, the first one counts)", "poll", "option", "votes>", "expected>")
    right = True
    for poll, counts in sorted(script.expected().items()):
        found = {line["option"]: line["votes"] for line in (await doors.get("tally", f"/polls/{poll}"))["options"]}
        for option in sorted(counts.keys() | found.keys()):
            right = right and found.get(option, 0) == counts[option]
            _add(table, poll, option, f"{found.get(option, 0):,}", f"{counts[option]:,}")
    console.print(table)
    if not right:
        console.print("The tally differs from what this script expects: somebody else has voted in these polls, or it is wrong.")
    return right


async def _show_orders(console: Console, doors: Doors, played: Played) -> bool:
    title = "Order book: what became of the orders (whoever paid was shipped to, exactly once)"
    table = _table(console, title, "state", "orders>", "expected>")
    found, expected = await found_states(doors, played.orders), expected_states(tuple(played.orders.values()))
    for state in sorted(found.keys() | expected.keys()):
        _add(table, state, f"{found[state]:,}", f"{expected[state]:,}")
    console.print(table)
    return found == expected


async def _show_revenue(console: Console, doors: Doors) -> None:
    table = _table(console, "Order book: revenue per day, everybody's orders", "day (UTC)", "orders>", "revenue>", "currency")
    for line in (await doors.get("order_book", "/revenue", limit=_LINES))["revenue"]:
        _add(table, line["day"], f"{line['orders']:,}", f"{line['amount_minor'] / 100:,.2f}", line["currency"])
    console.print(table)


async def _show_catalogue(console: Console, doors: Doors) -> None:
    summary = await doors.get("asset_catalog", "/summary")
    table = _table(console, f"Asset catalogue: {summary['assets']:,} files, {_bytes(summary['bytes'])}", "media type", "files>", "bytes>")
    for line in (await doors.get("asset_catalog", "/types", limit=_LINES))["types"]:
        _add(table, line["media_type"], f"{line['assets']:,}", _bytes(line["bytes"]))
    console.print(table)


async def _show_duplicates(console: Console, doors: Doors) -> None:
    summary = await doors.get("asset_catalog", "/summary")
    title = f"Duplicates by hash: {summary['duplicates']:,} contents stand in several files and waste {_bytes(summary['wasted'])}"
    table = _table(console, title, "sha-256", "copies>", "size>", "one of them")
    for line in (await doors.get("asset_catalog", "/duplicates", limit=_LINES // 2))["duplicates"]:
        _add(table, line["sha256"][:12], f"{line['copies']:,}", _bytes(line["size"]), _end_of(line["paths"][0] if line["paths"] else ""))
    console.print(table)


async def _show_activity(console: Console, doors: Doors) -> None:
    table = _table(console, "Activity: the newest events across all topics", "time", "type", "source", "data")
    for line in (await doors.get("activity", "/events", limit=_LINES))["events"]:
        _add(table, str(line.get("time", ""))[11:19], line["type"], line["source"], _shortened(line.get("data")))
    console.print(table)


def say_what_next(console: Console, doors: Doors) -> None:
    """Print what to try."""
    lines = (
        ("rebuild a read model", ".venv/bin/sidestream projections rebuild tally"),
        ("kill a projection", "kill -9 PROCESS   (its number stands in the table above; started again, it goes on where it stopped)"),
        ("cast a vote", f"curl -H 'content-type: application/json' {doors.urls['votes']}/votes \\"),
        ("", """     -d '{"poll": "cats or dogs", "option": "cats", "voter": "me"}'"""),
        ("scan a directory", ".venv/bin/python -m services.assets scan DIR"),
        ("import CloudEvents", ".venv/bin/sidestream publish FILE.ndjson"),
        ("OpenAPI pages", "   ".join(f"{url}/docs" for url in list(doors.urls.values())[:5])),
        ("", "   ".join(f"{url}/docs" for url in list(doors.urls.values())[5:])),
    )
    for name, line in lines:
        console.print(f"{name:<22}{line}", markup=False, highlight=False, soft_wrap=True)


# ── cells ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _table(console: Console, title: str, *columns: str) -> Table:
    """Print the title and make a table; a column whose name ends in `>` holds numbers."""
    console.print(f"\n[bold]{title}[/bold]", highlight=False)
    table = Table()
    for column in columns:
        table.add_column(column.removesuffix(">"), justify="right" if column.endswith(">") else "left", overflow="ellipsis", no_wrap=True)
    return table


def _add(table: Table, *cells: str) -> None:
    """Add a row; what came from outside is text, and no markup or escape sequence in it counts."""
    table.add_row(*(Text("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in cell)) for cell in cells))


def _bytes(size: int) -> str:
    amount = float(size)
    for unit in ("B", "KB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def _end_of(path: str) -> str:
    return path if len(path) <= _PATH_LETTERS else "…" + path[-_PATH_LETTERS + 1 :]


def _shortened(data: Any) -> str:
    text = msgspec.json.encode(data).decode() if data is not None else ""
    return text if len(text) <= _DATA_LETTERS else text[: _DATA_LETTERS - 1] + "…"
