"""The whole line with its read models in a real PostgreSQL: two replicas on one database, and a database that crashes.

The expected tally is worked out from what was posted; clients and votes are those of test_whole_line.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from sidestream.launcher.network import free_ports
from sidestream.launcher.parts import APP_IS_HEALTHY, Part
from sidestream.launcher.process import Program
from sidestream.launcher.system import System
from tests.asking import caught_up
from tests.integration.sidestream_program import sidestream
from tests.integration.test_whole_line import ballots, during, expected_tally, post_all, tally_of
from tests.parts import REPOSITORY, running_system
from tests.postgres import Postgres, running_postgres
from tests.waiting import until

VOTES = 2_000

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server of our own: it is crashed here."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """An empty database."""
    with postgres.database() as url:
        yield url


@pytest.fixture
async def system(tmp_path: Path, database: str) -> AsyncIterator[System]:
    """Votes and tally, each with a sidecar; the tally keeps its read model in PostgreSQL."""
    run_file = REPOSITORY / "tests" / "apps" / "voting.yaml"
    async with running_system(tmp_path / "system", run_file, environment={"SIDESTREAM_DATABASE_URL": database}) as running:
        yield running


@asynccontextmanager
async def replica_of(system: System, app: str) -> AsyncIterator[Part]:
    """A second process of an app, as somebody starts it by hand: the same environment, another port, and no sidecar to ring it."""
    first, port = system[app].app.program, free_ports(1)[0]
    program = Program(f"{app}/2", first.command, first.folder, {**first.environment, "APP_PORT": str(port)}, secrets=first.secrets)
    part = Part(program, port, system.log.sink(app, program.name))
    try:
        await part.start()
        await part.ready(APP_IS_HEALTHY)
        yield part
    finally:
        await part.stop()


async def assert_tally_at(url: str, votes: list[dict[str, str]]) -> None:
    expected = expected_tally(votes)

    async def is_right() -> bool:
        try:
            return await tally_of(url) == expected
        except (httpx.TransportError, KeyError):
            return False

    await until(is_right, seconds=60, what=lambda: f"tally {expected} at {url}")


async def test_two_replicas_count_exactly_while_one_of_them_is_killed(system: System) -> None:
    votes = ballots(VOTES, seed=11)
    first = system["tally"].app
    async with replica_of(system, "tally") as second:

        async def kill_the_first() -> None:
            await first.kill()

        async def start_it_again_and_kill_the_second() -> None:
            await first.start()
            await first.ready(APP_IS_HEALTHY)
            await second.kill()
            await second.start()

        await during(votes, system, {500: kill_the_first, 1_200: start_it_again_and_kill_the_second})
        for url in (first.url, second.url):
            await assert_tally_at(url, votes)
        await caught_up(system, "tally", "/polls")


async def test_a_database_that_crashes_and_comes_back_costs_no_vote(system: System, postgres: Postgres) -> None:
    votes = ballots(VOTES, seed=12)

    async def crash() -> None:
        await asyncio.to_thread(postgres.crash)
        async with httpx.AsyncClient(base_url=system["tally"].url, timeout=30) as door:
            for path in ("/polls", "/readyz"):
                answer = await door.get(path)
                assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
                assert int(answer.headers["retry-after"]) > 0
            assert (await door.get("/healthz")).status_code == 200

    async def start() -> None:
        await asyncio.to_thread(postgres.start)

    try:
        await during(votes[:1_400], system, {400: crash})
    finally:
        await start()
    await post_all(system["votes"].url, votes[1_400:])
    await assert_tally_at(system["tally"].url, votes)
    assert system.deaths == []


async def test_a_rebuild_beside_the_live_generation_comes_to_the_same_tally(system: System, database: str) -> None:
    votes = ballots(500, seed=13)
    await post_all(system["votes"].url, votes)
    await assert_tally_at(system["tally"].url, votes)
    where = ("--data", str(system.folder.path), "-f", str(REPOSITORY / "dapr.yaml"), "--json")
    rebuilt = json.loads((await sidestream("projections", "rebuild", "tally", *where, SIDESTREAM_DATABASE_URL=database)).out)["rebuilt"]

    async def serves_the_new_one() -> bool:
        async with httpx.AsyncClient(base_url=system["tally"].url, timeout=30) as door:
            return (await door.get("/polls")).headers["sidestream-generation"] == str(rebuilt["generation"])

    await until(serves_the_new_one, what=lambda: f"generation {rebuilt['generation']} live")
    await assert_tally_at(system["tally"].url, votes)
    assert rebuilt["outcome"]["applied"] == len(votes)
