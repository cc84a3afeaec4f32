"""A sidecar that refuses for ever: commands are stored, the relay says what is wrong at every door, and goes on when it is mended."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from sidestream.launcher.network import free_ports
from sidestream.launcher.parts import SIDECAR_CAN_PUBLISH
from sidestream.launcher.settings import LauncherSettings
from sidestream.launcher.system import System
from tests.asking import length, wires
from tests.integration.guarding import components_with
from tests.integration.sidestream_program import sidestream
from tests.parts import REPOSITORY
from tests.waiting import until

ORDER = {"customer": "ann", "currency": "EUR", "lines": [{"article": "tea", "quantity": 1, "unit_minor": 100}]}
CLOSED, OPEN = "votes=votes;orders=;tally=", "votes=votes;orders=orders;tally="
KEYS = ("appPort", "daprHTTPPort", "daprGRPCPort", "metricsPort")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Votes, orders and tally, on ports that the doctor can read; orders may not publish to its own topic."""
    file = components_with(tmp_path / "shop", publishingScopes=CLOSED)
    told = yaml.safe_load(file.read_text())
    ports = iter(free_ports(4 * len(told["apps"])))
    for app in told["apps"]:
        app |= {key: next(ports) for key in KEYS}
    file.write_text(yaml.safe_dump(told))
    return file


@pytest.fixture
async def system(file: Path) -> AsyncIterator[System]:
    async with System.start(file, folder=file.parent / "system", settings=LauncherSettings(broker="", tokens="on")) as running:
        yield running


async def said(system: System, path: str) -> str:
    async with httpx.AsyncClient(base_url=system["orders"].url, timeout=30) as door:
        return (await door.get(path)).text


async def says(system: System, path: str, *words: str, seconds: float = 60) -> None:
    """Wait until the answer at a path holds all these words."""
    found = ""

    async def all_of_them() -> bool:
        nonlocal found
        found = await said(system, path)
        return all(word in found for word in words)

    await until(all_of_them, seconds, lambda: f"{path}: expected {words}, found {found}; that")


async def findings(file: Path) -> list[tuple[str, str, bool]]:
    """Ask the doctor about relays: how bad, where, and whether it quotes the sidecar."""
    where = ("--only", "SD507", "-f", str(file), "--data", str(file.parent / "system"))
    ended = await sidestream("doctor", "--json", *where, code=None, PYTHONPATH=str(REPOSITORY), SIDESTREAM_TOKENS="on")
    found: list[dict[str, Any]] = json.loads(ended.out)["findings"]
    assert ended.code == int(bool(found))
    return [(each["severity"], each["place"], "PERMISSION_DENIED" in each["found"]) for each in found]


async def open_the_topic(system: System) -> None:
    """Correct the component where the sidecar reads it, and restart the sidecar."""
    page = system.folder.resources / "0" / "pubsub.yaml"
    page.write_text(page.read_text().replace(CLOSED, OPEN))
    await system["orders"].sidecar.kill()
    await system["orders"].sidecar.start()
    await system["orders"].sidecar.ready(SIDECAR_CAN_PUBLISH)


async def test_a_sidecar_that_refuses_for_ever_shows_everywhere_and_costs_nothing(system: System, file: Path) -> None:
    async with httpx.AsyncClient(base_url=system["orders"].url, timeout=30) as door:
        assert (await door.post("/orders", json=ORDER)).status_code == 201

    await says(system, "/relay", '"error_kind":"permission-denied"', '"leads":true', '"backlog":1')
    failing = 'sidestream_relay_failing{kind="permission-denied",store="orders",topic="orders"} 1.0'
    await says(system, "/metrics", failing, 'sidestream_relay_backlog{store="orders",topic="orders"} 1.0')
    await says(system, "/readyz", '"status":"ready"', "publishingScopes", seconds=120)

    async def is_found() -> bool:
        return await findings(file) == [("error", "relay of orders", True)]

    await until(is_found, 60)
    assert length(system, "orders") == 0

    await open_the_topic(system)
    await says(system, "/relay", '"stuck":""', '"last_error":""', '"backlog":0')
    assert len({json.loads(wire)["id"] for wire in wires(system, "orders")}) == 1
    assert "notes" not in await said(system, "/readyz")

    async def is_well() -> bool:
        return await findings(file) == []

    await until(is_well, 60)
