"""Faults of rebuilds, by the operator's own verb, while clients post: killed half-way, under full load, two at once."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import psycopg

from sidestream.event import Counted, NewEvent, encode_event
from tests.faults.day import PROJECTIONS, Day, Fault
from tests.faults.load import Load
from tests.faults.seeds import LONG
from tests.faults.strangers import publish_in_bulk
from tests.parts import REPOSITORY
from tests.waiting import until

HISTORY = 20_000 if LONG else 6_000
PROGRAM = str(REPOSITORY / ".venv" / "bin" / "sidestream")


async def a_rebuild_under_full_load(day: Day, load: Load) -> None:
    """It switches by itself, the program that runs takes over, and nobody who asks meanwhile goes without an answer."""
    await _history(day)
    async with _asking(day) as failures:
        for projection in PROJECTIONS:
            await _exactly_rebuilt(day, projection)
    assert failures == []


async def a_rebuild_killed_half_way(day: Day, load: Load) -> None:
    """It never serves; the next one goes on where it stopped, or begins anew, and is exact."""
    await _history(day)
    projection = day.dice.choice(PROJECTIONS)
    process = await _frozen_half_way(day, projection)
    live = await asyncio.to_thread(_live, day, projection)
    _send(process, signal.SIGKILL)
    await process.communicate()
    assert await asyncio.to_thread(_live, day, projection) == live
    assert await _serves(day, projection, live)
    await _exactly_rebuilt(day, projection)


async def two_rebuilds_at_once(day: Day, load: Load) -> None:
    """The second is refused, and told who the first is."""
    await _history(day)
    projection = day.dice.choice(PROJECTIONS)
    first = await _frozen_half_way(day, projection)
    try:
        code, _, told = await _rebuild(day, projection)
    finally:
        first.send_signal(signal.SIGCONT)
    out, err = await first.communicate()
    assert code == 1, told
    assert "another rebuild of this projection is running" in told, told
    assert f"process {first.pid}" in told, told
    if first.returncode and not out:  # it stood still too long for a question to the broker, or for the database: it is gone on with
        told = json.loads(err.splitlines()[-1])["error"]["code"]  # what it logged stands before that
        assert told == "log-unavailable" or (day.database and told == "store-away"), err
        await _exactly_rebuilt(day, projection)
        return
    assert first.returncode == bool(day.parked[projection]), (out, err)
    await _takes_over(day, projection, json.loads(out)["rebuilt"])


REBUILDS: Sequence[Fault] = (a_rebuild_under_full_load, a_rebuild_killed_half_way, two_rebuilds_at_once)


async def _history(day: Day) -> None:
    """So many votes more, once a day, that a rebuild takes a while; the fold counts them too."""
    if any(load.name == "history" for load in day.loads):
        return
    votes = [{"poll": "history", "option": f"option-{at % 7}", "voter": f"voter-{at}"} for at in range(HISTORY)]
    history = Load(0, "history", 0)
    history.votes.extend(votes)
    await _record(day, votes)
    day.loads.append(history)


async def _record(day: Day, votes: Sequence[dict[str, str]]) -> None:
    """Publish them as somebody did long ago."""
    events = [_event(number, vote) for number, vote in enumerate(votes, 1)]
    for at in range(0, len(events), 500):
        await publish_in_bulk(day.system["votes"].sidecar_url, "votes", events[at : at + 500])


def _event(number: int, vote: dict[str, str]) -> dict[str, Any]:
    data, subject = json.dumps(vote).encode(), f"vote-history-{number}"
    event = NewEvent(topic="votes", id=subject, source="/services/votes", type="vote.cast", subject=subject, data=data)
    found: dict[str, Any] = json.loads(encode_event(event, Counted("history.1", number)))
    return found


# ── the operator ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def _start(day: Day, projection: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    where = ("--data", str(day.system.folder.path), "-f", str(day.broker.run_file))
    environment = {**os.environ, "SIDESTREAM_DATABASE_URL": day.database, **day.deployed}
    return await asyncio.create_subprocess_exec(
        PROGRAM, "projections", "rebuild", projection, "--json", *where, stdout=pipe, stderr=pipe, env=environment
    )


async def _exactly_rebuilt(day: Day, projection: str) -> None:
    """The same version over the same log: no row may differ, parked ones included. The exit code says that some are parked."""
    code, out, told = await _rebuild(day, projection)
    assert code == bool(day.parked[projection]), (projection, out, told)
    await _takes_over(day, projection, json.loads(out)["rebuilt"])


async def _takes_over(day: Day, projection: str, rebuilt: dict[str, Any]) -> None:
    assert rebuilt["live"], rebuilt
    await until(lambda: _serves(day, projection, rebuilt["generation"]), 30, lambda: f"{rebuilt['generation']} of {projection} serves")


async def _frozen_half_way(day: Day, projection: str) -> asyncio.subprocess.Process:
    """Start a rebuild, and freeze it while it builds: it runs in slow motion. One that was quicker all the same does not count."""
    for _ in range(20):
        process = await _start(day, projection)

        async def frozen_or_ended(process: asyncio.subprocess.Process = process) -> bool:
            _send(process, signal.SIGSTOP)
            if process.returncode is not None or await asyncio.to_thread(_builds, day, projection):
                return True
            _send(process, signal.SIGCONT)
            return False

        await until(frozen_or_ended, 120, lambda: "a rebuild that began")
        if process.returncode is None:
            return process
        await process.communicate()
    raise AssertionError("20 rebuilds ended before they could be frozen")


def _builds(day: Day, projection: str) -> bool:
    """Whether a generation is being built, by somebody who is not about to write that it is not: its rival needs the catalogue too."""
    try:
        if not day.database:
            with closing(sqlite3.connect(_file(day, projection), timeout=0.1)) as catalogue:
                catalogue.execute("BEGIN IMMEDIATE")
        return "building" in {state for _, state, _ in _catalogue(day, projection)}
    except sqlite3.OperationalError:  # frozen in the middle of it
        return False


def _send(process: asyncio.subprocess.Process, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(what)


async def _rebuild(day: Day, projection: str) -> tuple[int | None, str, str]:
    process = await _start(day, projection)
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def _live(day: Day, projection: str) -> str:
    (live,) = [f"g{number}" for number, _, live in _catalogue(day, projection) if live]
    return live


def _catalogue(day: Day, projection: str) -> list[tuple[int, str, bool]]:
    """Read the catalogue of a projection by hand: number and state of each generation, and whether it is live."""
    asked = "SELECT number, state, live FROM {} ORDER BY number"
    if day.database:
        with psycopg.connect(day.database) as connection:
            of_projection = asked.format("sidestream.generations WHERE projection = %s")
            return connection.execute(of_projection.encode(), (projection,)).fetchall()
    with closing(sqlite3.connect(_file(day, projection))) as catalogue:
        return catalogue.execute(asked.format("generations")).fetchall()


def _file(day: Day, projection: str) -> Path:
    return day.system.folder.data / "read-models" / projection / "catalog.sqlite"


# ── who asks ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _door(day: Day, projection: str) -> str:
    return day.system[projection].url + {"tally": "/polls", "balances": "/balances"}[projection]


async def _serves(day: Day, projection: str, generation: str) -> bool:
    async with aiohttp.ClientSession() as door, door.get(_door(day, projection)) as answer:
        return answer.headers.get("Sidestream-Generation") == generation


@asynccontextmanager
async def _asking(day: Day) -> AsyncIterator[list[str]]:
    """Ask all the time; yield what did not answer."""
    failures: list[str] = []

    async def ask() -> None:
        async with aiohttp.ClientSession() as door:
            for at in count():
                async with door.get(_door(day, PROJECTIONS[at % len(PROJECTIONS)])) as answer:
                    if answer.status != 200:
                        failures.append(await answer.text())
                await asyncio.sleep(0.01)  # a client's own pause: it shares the machine with the rebuild

    asking = asyncio.create_task(ask())
    try:
        yield failures
    finally:
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
