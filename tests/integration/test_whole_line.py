"""Ten thousand votes through the HTTP door, real sidecars and a real broker end in a tally that is exactly right,
whatever is killed meanwhile.

The expected tally is worked out here, from what was posted, by code that shares nothing with the product's.
A client that got no answer, or 503, sends the same vote again: one vote per poll and voter counts.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import httpx
import pytest

from sidestream.launcher.system import System
from tests.integration.sidestream_program import dead_letters, sidestream
from tests.parts import REPOSITORY, running_system
from tests.waiting import until

APPS = REPOSITORY / "tests" / "apps"
VOTES = 10_000
CLIENTS = 50
POLLS = {"pets": ("cats", "dogs", "fish"), "tea": ("green", "black"), "day": ("mon", "fri", "sun")}

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    """Votes and tally, each with a sidecar, and a broker of their own."""
    async with running_system(tmp_path / "system", APPS / "voting.yaml") as running:
        yield running


def ballots(count: int, seed: int) -> list[dict[str, str]]:
    """Votes of distinct voters, so that whichever arrives first is the only one."""
    dice = random.Random(seed)
    polls = [dice.choice(list(POLLS)) for _ in range(count)]
    return [{"poll": poll, "option": dice.choice(POLLS[poll]), "voter": f"voter-{at}"} for at, poll in enumerate(polls)]


def expected_tally(votes: list[dict[str, str]]) -> dict[str, dict[str, int]]:
    counted: dict[str, Counter[str]] = {}
    for vote in votes:
        counted.setdefault(vote["poll"], Counter())[vote["option"]] += 1
    return {poll: dict(options) for poll, options in counted.items()}


async def post_all(url: str, votes: list[dict[str, str]], progress: Callable[[int], None] = lambda posted: None) -> None:
    """Post every vote from CLIENTS concurrent clients, each until it is accepted."""
    waiting = iter(votes)
    posted = 0

    async def client() -> None:
        nonlocal posted
        async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=30)) as door:
            for vote in waiting:
                await _post_until_accepted(door, vote)
                posted += 1
                progress(posted)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))


async def _post_until_accepted(door: aiohttp.ClientSession, vote: dict[str, str]) -> None:
    while True:
        try:
            async with door.post("/votes", json=vote) as answer:
                if answer.status == 202:
                    return
                assert answer.status == 503, await answer.text()
                assert int(answer.headers["Retry-After"]) >= 0
        except (aiohttp.ClientError, TimeoutError):
            pass
        await asyncio.sleep(0.05)  # a client's own pause before it sends again


async def tally_of(url: str) -> dict[str, dict[str, int]]:
    async with httpx.AsyncClient(base_url=url, timeout=10) as door:
        polls = [row["poll"] for row in (await door.get("/polls?limit=1000")).json()["polls"]]
        answers = [(poll, (await door.get(f"/polls/{poll}")).json()) for poll in polls]
    return {poll: {row["option"]: row["votes"] for row in answer["options"]} for poll, answer in answers}


async def assert_tally(system: System, votes: list[dict[str, str]]) -> None:
    expected = expected_tally(votes)

    async def is_right() -> bool:
        try:
            return await tally_of(system["tally"].url) == expected
        except (httpx.TransportError, KeyError):
            return False

    await until(is_right, seconds=60, what=lambda: f"tally {expected}")


async def during(votes: list[dict[str, str]], system: System, faults: dict[int, Callable[[], Awaitable[None]]]) -> None:
    """Post all votes; run each fault when so many have been accepted."""
    reached = {count: asyncio.Event() for count in faults}

    def progress(posted: int) -> None:
        for count, event in reached.items():
            if posted >= count:
                event.set()

    async def cause(count: int, fault: Callable[[], Awaitable[None]]) -> None:
        await reached[count].wait()
        await fault()

    async with asyncio.TaskGroup() as group:
        group.create_task(post_all(system["votes"].url, votes, progress))
        for count, fault in faults.items():
            group.create_task(cause(count, fault))


async def test_ten_thousand_votes_are_counted_exactly(system: System) -> None:
    votes = ballots(VOTES, seed=1)
    await post_all(system["votes"].url, votes)
    await assert_tally(system, votes)


async def test_a_tally_killed_twice_loses_and_doubles_nothing(system: System) -> None:
    async def kill() -> None:
        await system["tally"].app.kill()
        await system["tally"].app.start()

    votes = ballots(VOTES, seed=2)
    await during(votes, system, {2500: kill, 6500: kill})
    await assert_tally(system, votes)


async def test_a_sidecar_of_the_tally_killed_twice_loses_and_doubles_nothing(system: System) -> None:
    async def kill() -> None:
        await system["tally"].sidecar.kill()
        await system["tally"].sidecar.start()

    votes = ballots(VOTES, seed=3)
    await during(votes, system, {2500: kill, 6500: kill})
    await assert_tally(system, votes)


async def test_a_broker_killed_and_started_again_loses_no_accepted_vote(system: System) -> None:
    async def kill() -> None:
        await system.broker.kill()
        await system.broker.start()

    votes = ballots(VOTES, seed=4)
    await during(votes, system, {4000: kill})
    await assert_tally(system, votes)


async def test_votes_that_arrive_without_any_sidecar_of_the_tally_are_counted_by_the_sweep(system: System) -> None:
    await system["tally"].sidecar.kill()
    votes = ballots(500, seed=5)
    await post_all(system["votes"].url, votes)
    await assert_tally(system, votes)


async def test_a_rule_that_raises_at_random_parks_and_a_retry_makes_it_right(tmp_path: Path) -> None:
    """The operator's verb, with the sound rule, drains what the flaky one parked."""
    folder = tmp_path / "system"
    votes = ballots(VOTES, seed=6)
    async with running_system(folder, APPS / "flaky-voting.yaml") as system:
        await post_all(system["votes"].url, votes)
        counted = sum(sum(options.values()) for options in expected_tally(votes).values())

        async def all_seen() -> bool:
            found = await dead_letters(folder, "tally")
            return len(found) + sum(sum(options.values()) for options in (await tally_of(system["tally"].url)).values()) == counted

        await until(all_seen, seconds=60, what=lambda: "every vote counted or parked")
        assert 0.02 < len(await dead_letters(folder, "tally")) / VOTES < 0.1
        await sidestream("dead-letters", "retry", "tally", "--data", str(folder), "-f", str(REPOSITORY / "dapr.yaml"))
        assert await dead_letters(folder, "tally") == []
        await assert_tally(system, votes)
