"""`sidestream publish` of a file through a real bridge: bad lines are named, and twice is once, also when the bridge is killed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidestream.launcher.parts import APP_IS_HEALTHY
from sidestream.launcher.system import System
from tests.asking import length
from tests.integration.importing import assert_log, assert_outcome, assert_read_model, write_file
from tests.integration.sidestream_program import sidestream
from tests.parts import REPOSITORY, running_system
from tests.waiting import until

EVENTS = 20_000

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    """The bridge and activity, each with a sidecar."""
    async with running_system(tmp_path / "system", REPOSITORY / "tests" / "apps" / "importing.yaml") as running:
        yield running


async def test_bad_lines_are_named_and_a_second_import_doubles_nothing(system: System, tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    written = write_file(file, EVENTS, bad_every=4_000)
    for _ in range(2):
        ended = await sidestream("publish", str(file), "--url", system["bridge"].url, "--json", code=1)
        assert_outcome(ended.out, written)
        assert await assert_log(system, written) == 0
        await assert_read_model(system, written)


async def test_a_bridge_killed_during_an_import_loses_and_doubles_nothing(system: System, tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    written = write_file(file, EVENTS, bad_every=4_000)

    async def kill_when(entries: int) -> None:
        await until(lambda: length(system, "external") >= entries, seconds=60, what=lambda: f"{entries} entries on external")
        await system["bridge"].app.kill()
        assert length(system, "external") < EVENTS, "the import had ended before the bridge was killed"
        await system["bridge"].app.start()
        await system["bridge"].app.ready(APP_IS_HEALTHY)

    publishing = asyncio.create_task(sidestream("publish", str(file), "--url", system["bridge"].url, "--json", code=1))
    for entries in (3_000, 9_000):
        await kill_when(entries)
    assert_outcome((await publishing).out, written)
    await assert_log(system, written)
    await assert_read_model(system, written)
