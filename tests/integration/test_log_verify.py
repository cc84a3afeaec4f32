"""The broker is flushed while everything runs: the tool says what is missing, repairs it, and no read model goes back."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from sidestream.event import decode_event
from sidestream.launcher.system import System
from tests.asking import all_pages
from tests.integration.sidestream_program import sidestream
from tests.parts import REPOSITORY, running_system
from tests.waiting import until

RUN_FILE = REPOSITORY / "tests" / "apps" / "catalogue.yaml"

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Forty small files."""
    root = tmp_path / "root"
    write(root, range(40))
    return root


@pytest.fixture
async def system(tmp_path: Path, root: Path) -> AsyncIterator[System]:
    """The assets service and the catalogue, each with a sidecar."""
    async with running_system(tmp_path / "system", RUN_FILE, environment={"SIDESTREAM_ASSET_ROOTS": str(root)}) as running:
        yield running


def write(root: Path, numbers: range) -> None:
    root.mkdir(exist_ok=True)
    for number in numbers:
        (root / f"{number:03d}.txt").write_text(f"content {number}")


def on_disk(root: Path) -> dict[str, str]:
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in root.iterdir()}


async def scan(system: System, root: Path) -> None:
    async with httpx.AsyncClient(base_url=system["assets"].url) as door:
        (await door.post("/scans", json={"path": str(root)})).raise_for_status()


async def catalogue(system: System) -> dict[str, str]:
    rows = await all_pages(system["asset-catalog"].url, "/assets", "assets")
    return {row["path"]: row["sha256"] for row in rows}


async def until_catalogued(system: System, root: Path) -> None:
    async def catalogued() -> bool:
        return await catalogue(system) == on_disk(root)

    await until(catalogued, 30)


async def verify(system: System, *options: str, code: int | None = 0) -> dict[str, Any]:
    ended = await sidestream(
        "log", "verify", "assets", *options, "--json", "--data", str(system.folder.path), "-f", str(RUN_FILE), code=code
    )
    found: dict[str, Any] = json.loads(ended.out)
    return {line["topic"]["topic"]: line["topic"] for line in found["stores"]}


async def until_whole(system: System) -> dict[str, Any]:
    """Wait until the relay has sent again what it was told to; a topic written anew is whole at once."""
    found: dict[str, Any] = {}

    async def whole() -> bool:
        found.update(await verify(system, code=None))
        return all(topic["found"] == topic["stored"] and not topic["disordered"] for topic in found.values())

    await until(whole, 30)
    return found


def server(system: System) -> "redis.Redis":
    return redis.Redis(port=system.broker.port)


def numbers(client: Any) -> set[int]:
    """Return the store's numbers that stand in the log."""
    return {decode_event(fields[b"data"]).number for _, fields in client.xrange("assets")}


async def test_after_a_flush_the_topic_is_written_anew_in_order_and_the_read_model_stays(system: System, root: Path) -> None:
    await scan(system, root)
    await until_catalogued(system, root)
    before = await verify(system)
    server(system).flushall()
    write(root, range(40, 50))
    (root / "000.txt").write_text("its stream goes on in the log without its beginning")
    await scan(system, root)
    await until_catalogued(system, root)

    missing = await verify(system, code=1)
    assert missing["assets"]["missing"] == [[1, 40]]
    assert not missing["assets"]["only_the_end"]
    await verify(system, "--repair")
    repaired = await until_whole(system)

    assert repaired["assets"]["found"] == 51
    assert before["scans"]["stored"] < repaired["scans"]["found"]
    assert await catalogue(system) == on_disk(root)
    (root / "001.txt").unlink()
    await scan(system, root)
    await until_catalogued(system, root)


async def test_a_rebuild_from_what_was_written_anew_equals_the_live_model(system: System, root: Path) -> None:
    await scan(system, root)
    await until_catalogued(system, root)
    server(system).flushall()
    (root / "001.txt").write_text("changed")
    await scan(system, root)
    await until_catalogued(system, root)
    await verify(system, "--repair")

    where = ("--data", str(system.folder.path), "-f", str(RUN_FILE))
    rebuilt = json.loads((await sidestream("projections", "rebuild", "asset_catalog", "--json", *where)).out)["rebuilt"]

    assert rebuilt["comparison"]["differing"] == 0
    assert await catalogue(system) == on_disk(root)


async def test_a_lost_end_is_sent_again_by_the_running_relay(system: System, root: Path) -> None:
    await scan(system, root)
    await until_catalogued(system, root)
    client: Any = server(system)
    for position, _ in client.xrevrange("assets", count=15):
        client.xdel("assets", position)

    missing = await verify(system, code=1)
    assert (missing["assets"]["found"], missing["assets"]["only_the_end"]) == (25, True)
    await verify(system, "--repair")

    await until(lambda: len(numbers(client)) == 40)
    assert (await until_whole(system))["assets"]["found"] == 40


async def test_events_that_are_appended_while_the_topic_is_written_anew_follow_behind(system: System, root: Path) -> None:
    await scan(system, root)
    await until_catalogued(system, root)
    server(system).flushall()
    write(root, range(40, 60))

    await asyncio.gather(scan(system, root), verify(system, "--repair"))
    await until_catalogued(system, root)
    await verify(system, "--repair")

    assert (await until_whole(system))["assets"]["found"] == 60


async def test_a_store_that_is_not_there_is_said(tmp_path: Path) -> None:
    ended = await sidestream("log", "verify", "tally", "-f", str(RUN_FILE), "--data", str(tmp_path), code=2)
    assert "expected an event store of dapr.yaml, which has assets; found 'tally'" in " ".join(ended.err.split())
