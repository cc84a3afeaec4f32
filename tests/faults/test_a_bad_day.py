"""A bad day: every fault in a random order on one running system, under load; after each the read models are exact.

What is compared: every accepted vote and deposit is in the log, the first occurrences of each account's deposits stand in
order, the read models equal a fold worked out apart from the product's code, and nothing is left parked. The seed stands
in the test's name; `SIDESTREAM_FAULT_SEEDS=42,` lives the same day again.
"""

import asyncio
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from sidestream.launcher.system import System
from tests.faults.causing import FAULTS, Fault
from tests.faults.load import Load, balances_of, casts_in, deposits_in, tally_of
from tests.parts import REPOSITORY, running_system
from tests.waiting import until

RUN_FILE = REPOSITORY / "tests" / "apps" / "faults.yaml"


@pytest.mark.timeout(600)
async def test_a_bad_day_loses_doubles_and_misplaces_nothing(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    loads: list[Load] = []
    # With `everysec` the broker holds writes back while the disk is slow, and kill -9 takes what it has confirmed.
    async with running_system(tmp_path / "system", RUN_FILE, appendfsync="always") as system:
        for fault in dice.sample(FAULTS, len(FAULTS)):
            loads.append(Load(dice.randrange(1_000_000), f"{fault.__name__}-{len(loads)}"))
            await _suffer(system, loads[-1], fault, dice)
            await _assert_exact(system, loads, fault)


async def _suffer(system: System, load: Load, fault: Fault, dice: random.Random) -> None:
    print(f"{fault.__name__} …", flush=True)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.post(lambda: system["votes"].url, lambda: system["bank"].url))
        group.create_task(fault(system, load, dice))


async def _assert_exact(system: System, loads: list[Load], fault: Fault) -> None:
    expected = tally_of(loads)
    await until(lambda: _tally(system, expected), 60, lambda: f"after {fault.__name__}: tally {expected}")
    deposits = await _all_published(system, loads, fault)
    balances = balances_of(deposits)
    await until(lambda: _equal(f"{system['balances'].url}/balances", balances), 60, lambda: f"after {fault.__name__}: balances")
    casts = casts_in(system.broker.port)
    await until(lambda: _equal(f"{system['balances'].url}/casts", casts), 60, lambda: f"after {fault.__name__}: casts {casts}")
    for projection in ("tally", "balances"):
        assert _parked(system, projection) == [], f"after {fault.__name__}: {projection}"


def _parked(system: System, projection: str) -> list[object]:
    """Nothing in the day is poison, so nothing may be left parked."""
    with closing(sqlite3.connect(system.folder.data / "read-models" / projection / "g1.sqlite")) as generation:
        return generation.execute("SELECT topic, stream, reason, detail FROM sidestream_parked_events").fetchall()


async def _all_published(system: System, loads: list[Load], fault: Fault) -> dict[str, list[tuple[str, int]]]:
    """Every accepted deposit gets into the log, however long its relay was away."""
    promised = {(str(deposit["request"]), int(deposit["cents"])) for load in loads for deposit in load.deposits}

    def all_there() -> bool:
        return {made for deposits in deposits_in(system.broker.port).values() for made in deposits} == promised

    await until(all_there, 60, lambda: f"after {fault.__name__}: all deposits in the log")
    return deposits_in(system.broker.port)


async def _tally(system: System, expected: dict[str, dict[str, int]]) -> bool:
    return all([await _poll(system, poll) == options for poll, options in expected.items()])


async def _poll(system: System, poll: str) -> dict[str, int]:
    answer = await _get(f"{system['tally'].url}/polls/{poll}")
    options = answer.get("options", []) if isinstance(answer, dict) else []
    return {line["option"]: line["votes"] for line in options}


async def _equal(url: str, expected: object) -> bool:
    return await _get(url) == expected


async def _get(url: str) -> object:
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as door, door.get(url) as answer:
            return await answer.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError):
        return None
