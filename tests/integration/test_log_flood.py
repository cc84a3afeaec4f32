"""A sidecar whose broker is away says so as fast as it can; the log says it a few times, and how often it was."""

import re
from pathlib import Path

from tests.asking import since_start
from tests.parts import REPOSITORY, running_system
from tests.waiting import until

COUNTED = re.compile(r"\(([\d,]+) times more within a second: .*connection refused")


async def test_a_broker_that_is_away_fills_no_log(tmp_path: Path) -> None:
    async with running_system(tmp_path / "system", REPOSITORY / "tests" / "apps" / "voting.yaml") as system:
        log = system.folder.logs / "tally.log"
        await system.broker.kill()
        await until(lambda: held_back(log) > 1_000, 60)
        await system.broker.start()
        await system.broker.ready()
        assert (await since_start(system["tally"].url))["parked"] == 0
    assert held_back(log) > 1_000


def held_back(log: Path) -> int:
    return sum(int(count.replace(",", "")) for count in COUNTED.findall(log.read_text()))
