"""The whole line on other brokers, with only YAML changed: votes through the HTTP door, real sidecars and a real broker end
in a tally that is exactly right, whatever is killed meanwhile.

The run file is the one of the whole-line test; only the folder of components is another. Where the broker has a log it is
read; RabbitMQ keeps none, and the tally follows its inbox.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sidestream.launcher.plan import Wishes
from sidestream.launcher.settings import LauncherSettings
from sidestream.launcher.system import System
from tests.brokers.chosen import chosen
from tests.brokers.run_files import run_file_on
from tests.brokers.servers import SIDECARS_GO_FIRST, Server, running_server
from tests.integration.test_whole_line import APPS, assert_tally, ballots, during, post_all

VOTES = 2_000

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(params=chosen())
def broker(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def server(broker: str, tmp_path: Path) -> Iterator[Server]:
    """A broker of the test's own, so that no test hears another's events."""
    with running_server(broker, tmp_path / broker) as running:
        yield running


@pytest.fixture
async def system(broker: str, server: Server, tmp_path: Path) -> AsyncIterator[System]:
    """Votes and tally, each with a sidecar."""
    settings = LauncherSettings(broker=server.address)
    wishes = Wishes(free_ports=True, topics=("votes",))
    run_file = run_file_on(broker, APPS / "voting.yaml", tmp_path)
    async with System.start(run_file, folder=tmp_path / "system", wishes=wishes, settings=settings) as running:
        yield running


async def test_votes_are_counted_exactly(system: System) -> None:
    votes = ballots(VOTES, seed=21)
    await post_all(system["votes"].url, votes)
    await assert_tally(system, votes)


async def test_a_tally_and_then_its_sidecar_killed_lose_and_double_nothing(system: System) -> None:
    async def kill_app() -> None:
        await system["tally"].app.kill()
        await system["tally"].app.start()

    async def kill_sidecar() -> None:
        await system["tally"].sidecar.kill()
        await system["tally"].sidecar.start()

    votes = ballots(VOTES, seed=22)
    await during(votes, system, {VOTES // 4: kill_app, VOTES // 2: kill_sidecar})
    await assert_tally(system, votes)


async def test_a_broker_killed_meanwhile_loses_no_accepted_vote(system: System, server: Server, broker: str) -> None:
    """With RabbitMQ its sidecars must go first, and come back after it: docs/fault-suite.md says why."""
    with_it = [pair.sidecar for pair in system] if broker in SIDECARS_GO_FIRST else []

    async def kill() -> None:
        for sidecar in with_it:
            await sidecar.kill()
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        for sidecar in with_it:
            await sidecar.start()

    votes = ballots(VOTES, seed=23)
    await during(votes, system, {VOTES // 3: kill})
    await assert_tally(system, votes)
