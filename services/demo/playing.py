"""Does what the demonstration shows, and waits until the read models have caught up."""

import asyncio
import sysconfig
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from services.demo.doors import DemoFailed, Doors
from services.demo.orders import PlannedOrder, expected_states, found_states, plan_orders, play_orders
from services.demo.script import EVENTS_OF_A_STRANGER, Script, Vote

CALLERS: Final = 16
LEFT_OUT: Final = (".git", ".venv", ".sidestream", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis")
"""What belongs to the machine, and changes while it is looked at."""
SCAN_SECONDS: Final = 300.0
CATCH_UP_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.2


class Played(msgspec.Struct):
    """What was done: the scans as they ended, how many votes and events of strangers went in, and the orders by their ids."""

    scans: list[dict[str, Any]]
    votes: int
    vote_seconds: float
    strangers: dict[str, Any]
    orders: dict[str, PlannedOrder]


def trees() -> list[tuple[Path, Sequence[str]]]:
    """Return the directories to scan, and what is left out: this repository, and the library of the Python that runs this."""
    return [(Path.cwd(), LEFT_OUT), (Path(sysconfig.get_paths()["stdlib"]), ("__pycache__",))]


async def play(doors: Doors, script: Script, directories: Sequence[tuple[Path, Sequence[str]]], say: Callable[[str], object]) -> Played:
    """Order, scan, vote, and send a stranger's events.

    Raises:
        DemoFailed: an app is away or refuses, or a scan fails.
    """
    begin = time.monotonic()
    orders = await play_orders(doors, plan_orders())
    say(f"Placed, paid and cancelled {len(orders)} orders in {time.monotonic() - begin:.1f} s; nobody asked for a shipment.")
    scans = [await scan(doors, directory, exclude, say) for directory, exclude in directories]
    begin = time.monotonic()
    for votes in (script.first, script.second):  # a second thought comes after the first vote was answered
        await _cast_all(doors, votes)
    seconds = time.monotonic() - begin
    say(f"Cast {len(script.first) + len(script.second)} votes in {seconds:.1f} s, {len(script.second)} of them by people who had voted.")
    answer = await doors.post("bridge", "/events", EVENTS_OF_A_STRANGER, "application/cloudevents-batch+json")
    return Played(scans, len(script.first) + len(script.second), seconds, answer.json(), orders)


async def scan(doors: Doors, directory: Path, exclude: Sequence[str], say: Callable[[str], object]) -> dict[str, Any]:
    """Scan one directory and return the scan when it has ended."""
    begin = time.monotonic()
    started = await doors.post("assets", "/scans", {"path": str(directory), "exclude": list(exclude)})
    while True:
        found: dict[str, Any] = await doors.get("assets", started.headers["location"])
        if found["state"] != "running":
            break
        if time.monotonic() - begin > SCAN_SECONDS:
            raise DemoFailed(f"assets: the scan of {directory} did not end within {SCAN_SECONDS:g} s")
        await asyncio.sleep(_LOOK_SECONDS)
    if found["state"] == "failed":
        raise DemoFailed(f"assets: the scan of {directory} failed: {found['reason']}")
    say(f"Scanned {directory}: {files_in(found):,} files in {time.monotonic() - begin:.1f} s.")
    return found


def files_in(ended: dict[str, Any]) -> int:
    """Return how many files a completed scan found to be there."""
    result = ended["result"]
    return int(sum(result[name] for name in ("discovered", "changed", "moved", "unchanged")))


async def _cast_all(doors: Doors, votes: Sequence[Vote]) -> None:
    waiting = list(reversed(votes))

    async def cast_some() -> None:
        while waiting:
            await doors.post("votes", "/votes", msgspec.structs.asdict(waiting.pop()))

    await asyncio.gather(*(cast_some() for _ in range(CALLERS)))


# ── waiting ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def catch_up(doors: Doors, script: Script, played: Played) -> float:
    """Wait until the read models show all of it; return the seconds.

    Raises:
        DemoFailed: they did not in time; the message says which.
    """
    begin = time.monotonic()
    conditions: list[tuple[str, Callable[[], Awaitable[bool]]]] = [
        ("tally", lambda: _tally_is_there(doors, script)),
        ("order_book", lambda: _orders_are_there(doors, played.orders)),
        ("asset_catalog", lambda: _catalogue_is_there(doors, sum(map(files_in, played.scans)))),
    ]
    if played.strangers["stored"]:  # in a later run they are old, and newer events may have taken their place
        conditions.append(("activity", lambda: _strangers_are_there(doors)))
    await asyncio.gather(*(_until(name, condition) for name, condition in conditions))
    return time.monotonic() - begin


async def _until(name: str, condition: Callable[[], Awaitable[bool]]) -> None:
    end = time.monotonic() + CATCH_UP_SECONDS
    while not await condition():
        if time.monotonic() > end:
            raise DemoFailed(
                f"{name}: expected everything to be applied within {CATCH_UP_SECONDS:g} s, found it still behind. Look at its log."
            )
        await asyncio.sleep(_LOOK_SECONDS)


async def _tally_is_there(doors: Doors, script: Script) -> bool:
    found = {line["poll"]: line["votes"] for line in (await doors.get("tally", "/polls", limit=1000))["polls"]}
    return all(found.get(poll, 0) >= counts.total() for poll, counts in script.expected().items())


async def _orders_are_there(doors: Doors, orders: dict[str, PlannedOrder]) -> bool:
    return await found_states(doors, orders) == expected_states(tuple(orders.values()))


async def _catalogue_is_there(doors: Doors, files: int) -> bool:
    """At least as many files as the scans found, and nothing moves any more."""
    before = await doors.get("asset_catalog", "/summary")
    if before["assets"] < files:
        return False
    await asyncio.sleep(_LOOK_SECONDS)
    return bool(before == await doors.get("asset_catalog", "/summary"))


async def _strangers_are_there(doors: Doors) -> bool:
    last = EVENTS_OF_A_STRANGER[-1]
    found = await doors.get("activity", "/events", source=last["source"], limit=len(EVENTS_OF_A_STRANGER))
    return len(found["events"]) >= len(EVENTS_OF_A_STRANGER)
