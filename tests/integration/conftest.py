"""Real parts as fixtures: nothing here touches a broker or a sidecar that a test did not start."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidestream.launcher.broker import Broker
from sidestream.launcher.system import System
from tests.parts import running_broker, running_sidecar


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    """An embedded broker of the test's own."""
    async with running_broker(tmp_path / "broker") as broker:
        yield broker


@pytest.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[System]:
    """A broker and a daprd for the app `tested`, whose process is the test."""
    async with running_sidecar(tmp_path / "sidecar") as system:
        yield system
