"""Faults of rebuilds, by the operator's own verb, while clients post: killed half-way, under full load, two at once."""

import asyncio
import contextlib
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any

import aiohttp
import psycopg
import redis

from sidestream.event import Counted, NewEvent, encode_event
from tests.faults.day import LONG, Day, Fault
from tests.faults.load import Load
from tests.parts import REPOSITORY
from tests.waiting import until

HISTORY = 20_000 if LONG else 6_000
PROGRAM = str(REPOSITORY / ".venv" / "bin" / "sidestream")


async def a_rebuild_under_full_load(day: Day, load: Load) -> None:
    """It switches by itself, the program that runs takes over, and nobody who asks meanwhile goes without an answer."""
    await _history(day)
    async with _asking(day) as failures:
        rebuilt = _rebuilt(await _rebuild(day))
        assert rebuilt["live"], rebuilt
        await until(lambda: _serves(day, rebuilt["generation"]), 30, lambda: f"{rebuilt['generation']} serves")
    assert failures == []


async def a_rebuild_killed_half_way(day: Day, load: Load) -> None:
    """It never serves; the next one goes on where it stopped, or begins anew, and is exact."""
    await _history(day)
    live = await asyncio.to_thread(_live, day)
    process = await _start(day)
    await until(lambda: "building" in _states(day).values() or process.returncode is not None, 30, lambda: "a rebuild that began")
    process.kill()
    await process.communicate()
    assert process.returncode == -9, "it was not killed half-way: it had ended"
    assert await asyncio.to_thread(_live, day) == live
    assert await _serves(day, live)
    rebuilt = _rebuilt(await _rebuild(day))
    assert rebuilt["live"], rebuilt
    await until(lambda: _serves(day, rebuilt["generation"]), 30, lambda: f"{rebuilt['generation']} serves")


async def two_rebuilds_at_once(day: Day, load: Load) -> None:
    """The second is refused, and told who the first is."""
    await _history(day)
    first = await _start(day)
    await until(lambda: "building" in _states(day).values() or first.returncode is not None, 30, lambda: "a rebuild that began")
    first.send_signal(19)  # SIGSTOP: still in the middle of it when the second comes
    try:
        code, _, told = await _rebuild(day)
    finally:
        first.send_signal(18)
    out, err = await first.communicate()
    assert code == 1, told
    assert "another rebuild of this projection is running" in told, told
    assert f"process {first.pid}" in told, told
    assert first.returncode == 0, err
    rebuilt = json.loads(out)["rebuilt"]
    await until(lambda: _serves(day, rebuilt["generation"]), 30, lambda: f"{rebuilt['generation']} serves")


REBUILDS: Sequence[Fault] = (a_rebuild_under_full_load, a_rebuild_killed_half_way, two_rebuilds_at_once)


async def _history(day: Day) -> None:
    """So many votes more, once a day, that a rebuild takes a while; the fold counts them too."""
    if any(load.name == "history" for load in day.loads):
        return
    votes = [{"poll": "history", "option": f"option-{at % 7}", "voter": f"voter-{at}"} for at in range(HISTORY)]
    history = Load(0, "history", 0)
    history.votes.extend(votes)
    await asyncio.to_thread(_record, day.system.broker.port, votes)
    day.loads.append(history)


def _record(port: int, votes: Sequence[dict[str, str]]) -> None:
    """Write them as a publisher of long ago did."""
    with redis.Redis(port=port) as broker, broker.pipeline(transaction=False) as pipeline:
        for number, vote in enumerate(votes, 1):
            data, subject = json.dumps(vote).encode(), f"vote-history-{number}"
            event = NewEvent(topic="votes", id=subject, source="/services/votes", type="vote.cast", subject=subject, data=data)
            pipeline.xadd("votes", {"data": encode_event(event, Counted("history.1", number)), "metadata": "{}"})
            if number % 5000 == 0:
                pipeline.execute()
        pipeline.execute()


# ── the operator ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def _start(day: Day) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    where = ("--data", str(day.system.folder.path), "-f", str(REPOSITORY / "dapr.yaml"))
    environment = {**os.environ, "SIDESTREAM_DATABASE_URL": day.database}
    return await asyncio.create_subprocess_exec(
        PROGRAM, "projections", "rebuild", "tally", "--json", *where, stdout=pipe, stderr=pipe, env=environment
    )


async def _rebuild(day: Day) -> tuple[int | None, str, str]:
    process = await _start(day)
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def _rebuilt(ended: tuple[int | None, str, str]) -> dict[str, Any]:
    code, out, _ = ended
    assert code == 0, ended
    found: dict[str, Any] = json.loads(out)["rebuilt"]
    return found


def _states(day: Day) -> dict[str, str]:
    """Read the catalogue of the tally by hand: the state of each generation."""
    return {f"g{number}": state for number, state, _ in _catalogue(day)}


def _live(day: Day) -> str:
    (live,) = [f"g{number}" for number, _, live in _catalogue(day) if live]
    return live


def _catalogue(day: Day) -> list[tuple[int, str, bool]]:
    asked = "SELECT number, state, live FROM {} ORDER BY number"
    if day.database:
        with psycopg.connect(day.database) as connection:
            of_tally = asked.format("sidestream.generations WHERE projection = 'tally'")
            return connection.execute(of_tally.encode()).fetchall()
    file = day.system.folder.data / "read-models" / "tally" / "catalog.sqlite"
    with closing(sqlite3.connect(file)) as catalogue:
        return catalogue.execute(asked.format("generations")).fetchall()


# ── who asks ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _serves(day: Day, generation: str) -> bool:
    async with aiohttp.ClientSession() as door, door.get(f"{day.system['tally'].url}/polls") as answer:
        return answer.headers.get("Sidestream-Generation") == generation


@asynccontextmanager
async def _asking(day: Day) -> AsyncIterator[list[str]]:
    """Ask all the time; yield what did not answer."""
    failures: list[str] = []

    async def ask() -> None:
        async with aiohttp.ClientSession() as door:
            while True:
                async with door.get(f"{day.system['tally'].url}/polls") as answer:
                    if answer.status != 200:
                        failures.append(await answer.text())

    asking = asyncio.create_task(ask())
    try:
        yield failures
    finally:
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
