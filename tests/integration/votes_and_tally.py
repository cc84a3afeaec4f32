"""A system of the votes and the tally, its broker beside it: the fixtures of those who rebuild the tally or take something from it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidestream.launcher.system import System
from tests.integration.test_whole_line import APPS
from tests.parts import running_system


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    return tmp_path / "system"


@pytest.fixture
async def system(folder: Path) -> AsyncIterator[System]:
    """Votes and tally, each with a sidecar, and a broker of their own."""
    async with running_system(folder, APPS / "voting.yaml") as running:
        yield running
