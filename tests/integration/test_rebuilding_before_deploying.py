"""The next versions of the tally are rebuilt, one after another, while the app of the first one runs and is asked all the time."""

import asyncio
from pathlib import Path

import pytest

from projections.tally.projection import Tally
from sidestream.cli.declared import declared, named
from sidestream.identifiers import now
from sidestream.launcher.system import System
from sidestream.rebuilding.building import Site
from sidestream.rebuilding.rebuild import rebuild_at
from sidestream.rebuilding.switching import drop
from tests.contract.rebuilt import UNWATCHED
from tests.integration.test_rebuilding_while_running import Asking
from tests.integration.test_whole_line import assert_tally, ballots, post_all
from tests.integration.votes_and_tally import folder, system
from tests.parts import REPOSITORY
from tests.waiting import until

__all__ = ["folder", "system"]

pytestmark = pytest.mark.timeout(300)


class NextTally(Tally):
    """The same rule under a later version."""

    def __init__(self, version: int) -> None:
        self.version = version


def rebuilt(folder: Path, version: int, dropping: str = "") -> str:
    """Rebuild the tally of the system in this folder by the code of a later version; return what is live then."""
    with declared(REPOSITORY / "dapr.yaml", folder) as found:
        tally = named(found, "tally")
        with tally.log() as log, tally.read_models() as read_models:
            site = Site(NextTally(version), tally.registry, log, read_models, now)
            live = rebuild_at(site, UNWATCHED, accept=True).generation
            if dropping:
                drop(site, dropping)
            return live


async def test_the_app_of_the_first_version_answers_until_its_generation_is_dropped(system: System, folder: Path) -> None:
    votes = ballots(600, seed=5)
    parts = [votes[at : at + 150] for at in range(0, 600, 150)]
    await post_all(system["votes"].url, parts[0])
    async with Asking(system["tally"].url) as asking:
        await until(lambda: asking.generations == ["g1"], seconds=60, what=lambda: str(asking))
        for part, version in zip(parts[1:], (2, 2, 3), strict=True):
            await asyncio.to_thread(rebuilt, folder, version)
            await post_all(system["votes"].url, part)
        await assert_tally(system, votes)
        assert (asking.generations, asking.failures) == (["g1"], [])
        assert await asyncio.to_thread(rebuilt, folder, 3, dropping="g1") == "g5"
        await until(lambda: any("Deploy version 3." in each for each in asking.failures), seconds=60, what=lambda: str(asking))
