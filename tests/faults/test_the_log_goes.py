"""The broker forgets: everything flushed, a stream deleted, history trimmed, under load. No read model goes back, and what is gone is said.

Store-backed events are still in the store: the repair writes them anew, and the balances are exact then. Of direct facts those
are lost that nobody had applied, and no more.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis

from tests.faults.causing import nothing
from tests.faults.day import Day, a_day, balances_now, tally_now
from tests.faults.load import Load, tally_of
from tests.integration.sidestream_program import sidestream
from tests.parts import REPOSITORY
from tests.waiting import until

POLLS = ("poll-0", "poll-1", "poll-2")


@pytest.mark.timeout(300)
async def test_a_flush_a_deleted_stream_and_a_trim_take_nothing_back_and_are_said(seed: int, tmp_path: Path) -> None:
    async with a_day(seed, tmp_path / "system") as day, _watched(day):
        for fault in day.dice.sample((flush_everything, delete_a_stream), 2):
            await _lose(day, fault)
        await _repair(day)
        await _trim_what_nobody_has_applied(day, tmp_path / "system")


Lose = Callable[["redis.Redis"], list[dict[str, str]]]
"""Takes something from the broker; returns votes that it wrote instead."""


def flush_everything(broker: "redis.Redis") -> list[dict[str, str]]:
    broker.flushall()
    return []


def delete_a_stream(broker: "redis.Redis") -> list[dict[str, str]]:
    """The new stream begins at a lower position than the old one: the clock of its broker is behind."""
    vote = {"poll": POLLS[0], "option": "early", "voter": "early"}
    event = {"specversion": "1.0", "id": "early", "source": "/elsewhere", "type": "vote.cast", "subject": "vote-early", "data": vote}
    with broker.pipeline(transaction=True) as both:
        both.delete("votes")
        both.xadd("votes", {"data": json.dumps(event)}, id="1-1")
        both.execute()
    return [vote]


async def _lose(day: Day, lose: Lose) -> None:
    """Everything accepted before is applied, everything accepted after is counted, and what was on its way may be either."""
    name, early = lose.__name__, Load(0, "early", 0)
    await day.suffer(nothing)
    settled = await _settled(day)

    async def fault(day: Day, load: Load) -> None:
        await load.reached(day.dice.random() * 0.8)
        with redis.Redis(port=day.system.broker.port) as broker:
            early.votes.extend(await asyncio.to_thread(lose, broker))

    fault.__name__ = name
    on_its_way = await day.suffer(fault)
    after = await day.suffer(nothing)
    promised = _sum(settled, _flat(tally_of([after, early])))
    most = _sum(promised, _flat(tally_of([on_its_way])))

    async def kept() -> bool:
        found = _flat(await tally_now(day.system["tally"].url, POLLS) or {})
        return all(found.get(key, 0) >= count for key, count in promised.items())

    await until(kept, 60, lambda: f"after {name}: at least {promised}")
    found = _flat(await tally_now(day.system["tally"].url, POLLS) or {})
    assert all(found[key] <= most.get(key, 0) for key in found), (found, most)


def _sum(one: dict[tuple[str, str], int], other: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in one | other}


async def _settled(day: Day) -> dict[tuple[str, str], int]:
    """Wait until nothing comes any more; return the tally as it is then."""
    last: list[object] = []

    async def still() -> bool:
        last.append(await tally_now(day.system["tally"].url, POLLS))
        return len(last) > 20 and last[-1] is not None and all(one == last[-1] for one in last[-20:])

    await until(still, 60, lambda: "a tally that stands still")
    found: Any = last[-1]
    return _flat(found)


async def _repair(day: Day) -> None:
    """What the store has, the log has again, in order, and so have the balances."""
    where = ("--data", str(day.system.folder.path), "-f", str(day.broker.run_file))
    missing = await sidestream("log", "verify", *where, code=1)
    assert "accounts" in missing.out, missing
    day.note("repair")
    await sidestream("log", "verify", "--repair", *where, code=None)  # the votes' own end is lost, which is said
    await day.deposits_are_exact()


async def _trim_what_nobody_has_applied(day: Day, folder: Path) -> None:
    """An error that is said, by the app and by the tool: never a silent skip."""
    day.note("trim_what_nobody_has_applied")
    tally = day.system["tally"]
    await _settled(day)
    tally.app.pause()
    load = Load(day.dice.randrange(1_000_000), "trimmed", 100)
    await load.post(day.votes_door, day.bank_door)
    with redis.Redis(port=day.system.broker.port) as broker:
        broker.xtrim("votes", maxlen=5, approximate=False)
    before = await tally_after_waking(day)
    await until(lambda: _says(f"{tally.url}/readyz", "trimmed"), 30, lambda: "the app says that its log was trimmed")
    assert await tally_now(tally.url, POLLS) == before, "it went on beyond the gap"
    where = ("--data", str(folder), "-f", str(REPOSITORY / "dapr.yaml"))
    told = await sidestream("projections", "status", "tally", *where, code=1)
    assert "trimmed" in told.out + told.err, told


async def tally_after_waking(day: Day) -> dict[str, dict[str, int]] | None:
    day.system["tally"].app.resume()
    return await tally_now(day.system["tally"].url, POLLS)


async def _says(url: str, word: str) -> bool:
    async with aiohttp.ClientSession() as door, door.get(url) as answer:
        return answer.status == 503 and word in await answer.text()


# ── nothing goes back ────────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def _watched(day: Day) -> AsyncIterator[None]:
    """Ask all the time; fail at the end if a number ever was smaller than before."""
    steps_back: list[str] = []
    watching = [asyncio.create_task(_watch(day, steps_back))]
    try:
        yield
    finally:
        for task in watching:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    assert steps_back == []


async def _watch(day: Day, steps_back: list[str]) -> None:
    highest: dict[object, int] = {}
    while True:
        tally = _flat(await tally_now(day.system["tally"].url, POLLS) or {})
        balances = {account: row[1] for account, row in (await balances_now(day.system["balances"].url) or {}).items()}
        for key, count in (*tally.items(), *balances.items()):
            if count < highest.get(key, 0):
                steps_back.append(f"{key}: {highest[key]} → {count}")
            highest[key] = max(count, highest.get(key, 0))
        if tally and any(key not in tally for key in highest if isinstance(key, tuple)):
            steps_back.append("a row of the tally is gone")
        await asyncio.sleep(0.02)


def _flat(tally: dict[str, dict[str, int]]) -> dict[tuple[str, str], int]:
    return {(poll, option): votes for poll, options in tally.items() for option, votes in options.items()}
