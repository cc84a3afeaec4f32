"""Votes with slots, counted in a PostgreSQL that replicas share: two of the service and two of the tally, killed in turn under load.

Expected is what was posted, worked out by code that shares nothing with the product's, and so is the slot of each vote. A
client that got no answer sends the same vote to the other replica: one vote per poll and voter counts, so that a vote that
was recorded and not answered stands in the log twice, and in the tally once.
"""

import asyncio
import itertools
import json
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from sidestream.launcher.system import System
from tests.asking import broker_of, caught_up, wires
from tests.integration.test_on_postgres import assert_tally_at
from tests.integration.test_orders import kill
from tests.integration.test_whole_line import ballots, expected_tally, tally_of
from tests.parts import REPOSITORY, running_system
from tests.postgres import running_postgres

VOTES = 2_000
CLIENTS = 30
SLOTS = 4
TOPICS = [f"votes.{slot}" for slot in range(SLOTS)]
VICTIMS = {200: "votes", 500: "tally", 850: "votes-too", 1_200: "tally-too", 1_450: "votes", 1_700: "tally"}
"""Who is killed and started again when so many votes were accepted."""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def database() -> Iterator[str]:
    with running_postgres() as server, server.database() as url:
        yield url


@pytest.fixture
async def system(tmp_path: Path, database: str) -> AsyncIterator[System]:
    """Two replicas of votes and of tally, each with a sidecar, and a broker of their own."""
    run_file = REPOSITORY / "tests" / "apps" / "slotted-voting.yaml"
    environment = {"SIDESTREAM_DATABASE_URL": database}
    async with running_system(tmp_path / "system", run_file, environment=environment, guarded=False) as running:
        yield running


async def post_until_accepted(doors: list[httpx.AsyncClient], vote: dict[str, str]) -> None:
    """Ask one replica after the other."""
    for door in itertools.cycle(doors):
        try:
            answer = await door.post("/votes", json=vote)
        except httpx.TransportError:
            await asyncio.sleep(0.05)  # a client's own pause before it sends again
            continue
        if answer.status_code == 202:
            return
        assert answer.status_code == 503, answer.text
        await asyncio.sleep(0.05)


async def post_all(system: System, votes: list[dict[str, str]]) -> None:
    """Post every vote; whoever has the vote accepted that a victim waits for kills it, while the others go on."""
    accepted, waiting = itertools.count(1), iter(votes)

    async def client(number: int) -> None:
        names = ("votes", "votes-too")[:: 1 if number % 2 else -1]
        doors = [httpx.AsyncClient(base_url=system[name].url, timeout=30) for name in names]
        for vote in waiting:
            await post_until_accepted(doors, vote)
            if victim := VICTIMS.get(next(accepted)):
                await kill(system[victim])
        await asyncio.gather(*(door.aclose() for door in doors))

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))


def recorded(system: System) -> Iterator[tuple[int, str, str, str]]:
    """Give slot, subject, poll and voter of every vote in the log, the repeated ones too."""
    for slot, topic in enumerate(TOPICS):
        for event in map(json.loads, wires(system, topic)):
            yield slot, event["subject"], event["data"]["poll"], event["data"]["voter"]


async def test_votes_with_slots_are_counted_exactly_by_replicas_that_are_killed_in_turn(system: System) -> None:
    votes = ballots(VOTES, seed=21)
    await post_all(system, votes)

    expected = expected_tally(votes)
    for name in ("tally", "tally-too"):
        await assert_tally_at(system[name].url, votes)
        await caught_up(system, name, "/polls")
        assert await tally_of(system[name].url) == expected
    found = list(recorded(system))
    assert {(poll, voter) for _, _, poll, voter in found} == {(vote["poll"], vote["voter"]) for vote in votes}
    assert all(slot == zlib.crc32(subject.encode()) % SLOTS for slot, subject, _, _ in found)
    assert min(Counter(slot for slot, *_ in found).values()) > VOTES / SLOTS / 2
    with broker_of(system) as client:
        assert client.exists("votes") == 0
