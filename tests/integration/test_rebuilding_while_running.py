"""The real program rebuilds the tally of a running system, while votes come in and queries are asked all the time."""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from sidestream.launcher.system import System
from tests.integration.sidestream_program import sidestream
from tests.integration.test_whole_line import assert_tally, ballots, post_all
from tests.integration.votes_and_tally import folder, system
from tests.parts import REPOSITORY
from tests.waiting import until

__all__ = ["folder", "system"]

pytestmark = pytest.mark.timeout(300)


class Asking:
    """Asks the tally all the time; knows which generations answered, and what did not answer."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.generations: list[str] = []
        self.failures: list[str] = []

    async def __aenter__(self) -> "Asking":
        self._task = asyncio.create_task(self._ask())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def __str__(self) -> str:
        return f"generations {self.generations}, failures {self.failures[:3]}, asking {not self._task.done()}"

    async def _ask(self) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=10) as door:
            while True:
                answer = await door.get("/polls")
                if answer.status_code != 200:
                    self.failures.append(answer.text)
                elif (generation := answer.headers["Sidestream-Generation"]) not in self.generations[-1:]:
                    self.generations.append(generation)


async def projections(folder: Path, *words: str) -> Any:
    ended = await sidestream("projections", *words, "--json", "--data", str(folder), "-f", str(REPOSITORY / "dapr.yaml"))
    return json.loads(ended.out)


async def test_queries_never_stop_and_the_tally_is_exact_before_and_after(system: System, folder: Path) -> None:
    early, late = ballots(4000, seed=11), ballots(8000, seed=11)[4000:]
    await post_all(system["votes"].url, early)
    async with Asking(system["tally"].url) as asking, asyncio.TaskGroup() as group:
        await until(lambda: asking.generations == ["g1"], seconds=30, what=lambda: str(asking))
        group.create_task(post_all(system["votes"].url, late))
        rebuilt = (await projections(folder, "rebuild", "tally"))["rebuilt"]
        assert (rebuilt["generation"], rebuilt["before"], rebuilt["live"]) == ("g2", "g1", True)
        assert rebuilt["comparison"]["differing"] == 0
        assert rebuilt["comparison"]["rows"] >= 4000
        await until(lambda: asking.generations[-1:] == ["g2"], seconds=30, what=lambda: str(asking))
        await projections(folder, "rollback", "tally")
        await until(lambda: asking.generations[-1:] == ["g1"], seconds=30, what=lambda: str(asking))
    assert asking.failures == []
    assert asking.generations == ["g1", "g2", "g1"]
    await assert_tally(system, [*early, *late])
    await projections(folder, "switch", "tally", "g2")
    await assert_tally(system, [*early, *late])
    assert (await projections(folder, "verify", "tally"))["comparison"]["same"] is True
