"""Two hundred times a vote through the real door, sidecars and broker, and the ballot is in the very next answer."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from sidestream.launcher.system import System
from tests.parts import REPOSITORY, running_system

TIMES = 200


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with running_system(tmp_path / "system", REPOSITORY / "tests" / "apps" / "voting.yaml") as running:
        yield running


async def read_own_votes(system: System, prefix: str) -> list[float]:
    """Post and ask; return how long each question took, in ms."""
    took = []
    async with (
        httpx.AsyncClient(base_url=system["votes"].url, timeout=30) as votes,
        httpx.AsyncClient(base_url=system["tally"].url, timeout=30) as tally,
    ):
        for number in range(TIMES):
            voter = f"{prefix}-{number}"
            posted = await votes.post("/votes", json={"poll": "pets", "option": "cats", "voter": voter})
            begin = time.perf_counter()
            headers = {"Sidestream-Consistency": posted.headers["Sidestream-Consistency"], "Sidestream-Wait": "10s"}
            ballot = await tally.get(f"/polls/pets/ballots/{voter}", headers=headers)
            took.append((time.perf_counter() - begin) * 1000)
            assert ballot.status_code == 200, ballot.text
    return sorted(took)


async def test_a_vote_is_in_the_next_answer_two_hundred_times(system: System) -> None:
    took = await read_own_votes(system, "voter")
    print(f"asked with a token: p50 {took[TIMES // 2]:.1f} ms, p99 {took[TIMES * 99 // 100]:.1f} ms")


async def test_without_a_sidecar_to_ring_it_is_in_the_next_answer_too(system: System) -> None:
    await system["tally"].sidecar.kill()
    took = await read_own_votes(system, "unrung")
    print(f"without a bell: p50 {took[TIMES // 2]:.1f} ms, p99 {took[TIMES * 99 // 100]:.1f} ms")
