"""Files of the tally are removed under the real program: it says so, refuses or goes on, and two verbs lead out."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from sidestream.launcher.parts import APP_IS_HEALTHY
from sidestream.launcher.system import System
from tests.integration.sidestream_program import Ended, sidestream
from tests.integration.test_whole_line import assert_tally, ballots, post_all
from tests.integration.votes_and_tally import folder, system
from tests.parts import REPOSITORY
from tests.waiting import until

__all__ = ["folder", "system"]

pytestmark = pytest.mark.timeout(300)


async def projections(folder: Path, *words: str, code: int = 0) -> Ended:
    return await sidestream("projections", *words, "--data", str(folder), "-f", str(REPOSITORY / "dapr.yaml"), code=code)


async def unreadable(folder: Path) -> dict[str, str]:
    lines: list[dict[str, Any]] = json.loads((await projections(folder, "status", "tally", "--json", code=1)).out)
    return {line["generation"]: line["problem"] for line in lines if line["unreadable"]}


def files(folder: Path, name: str) -> list[Path]:
    return list((folder / "data" / "read-models" / "tally").glob(f"{name}.sqlite*"))


def remove(folder: Path, name: str) -> None:
    assert files(folder, name)
    for path in files(folder, name):
        path.unlink()


async def asked(system: System, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=system["tally"].url, timeout=30) as door:
        return await door.get(path)


async def is_asked_with(system: System, path: str, status: int) -> bool:
    return (await asked(system, path)).status_code == status


async def test_a_generation_removed_under_the_running_app_stops_nothing_but_itself_and_two_verbs_lead_out(
    system: System, folder: Path
) -> None:
    votes = ballots(200, seed=3)
    await post_all(system["votes"].url, votes)
    await assert_tally(system, votes)
    await projections(folder, "rebuild", "tally")

    remove(folder, "g2")
    await until(lambda: is_asked_with(system, "/readyz", 503), seconds=60)
    refused = await asked(system, "/polls")
    assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
    assert "expected the file of generation g2, found none. Run: sidestream projections rebuild tally" in refused.json()["detail"]
    assert "sidestream projections rebuild tally" in (await unreadable(folder))["g2"]
    assert "unreadable" in (await projections(folder, "status", "tally", code=1)).out
    assert "found none" in (await projections(folder, "list", "tally")).out
    assert files(folder, "g2") == []

    await system["tally"].app.kill()
    await system["tally"].app.start()
    await system["tally"].app.ready(APP_IS_HEALTHY)
    assert (await asked(system, "/readyz")).status_code == 503
    assert (await asked(system, "/polls")).status_code == 503
    assert files(folder, "g2") == []

    said = (await projections(folder, "rebuild", "tally")).out
    assert "the live one cannot be read: nothing to compare" in said
    assert "tally: g3 is live now" in said
    assert "sidestream projections drop tally g2" in said
    await until(lambda: is_asked_with(system, "/readyz", 200), seconds=60)
    await assert_tally(system, votes)

    await system["tally"].app.kill()
    await system["tally"].app.start()
    await system["tally"].app.ready(APP_IS_HEALTHY)
    await assert_tally(system, votes)
    assert list(await unreadable(folder)) == ["g2"]
    await projections(folder, "drop", "tally", "g2")
    await projections(folder, "status", "tally")
    lines = (system.folder.logs / "tally.log").read_text().splitlines()
    told = [line for line in lines if "generation unreadable" in line]
    assert len(told) == 4, told  # running, started again, not live any more, started once more
    assert "sidestream projections drop tally g2" in told[-1]
    assert not any("Traceback" in line for line in lines)
