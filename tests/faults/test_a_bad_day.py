"""Bad days on SQLite: every fault once, in an order of the seed, under load; after each the read models are exact.

One fresh seed, short, in a run of all tests; `make test-faults` lives through twenty long ones. `SIDESTREAM_FAULT_SEEDS=42,`
lives the same day again.
"""

from pathlib import Path

import pytest

from tests.faults.causing import FAULTS
from tests.faults.day import a_day
from tests.faults.deceiving import DECEITS
from tests.faults.rebuilding import REBUILDS


@pytest.mark.timeout(900)
async def test_a_bad_day_loses_doubles_and_misplaces_nothing(seed: int, tmp_path: Path) -> None:
    async with a_day(seed, tmp_path / "system") as day:
        await day.live([*FAULTS, *DECEITS, *REBUILDS])
