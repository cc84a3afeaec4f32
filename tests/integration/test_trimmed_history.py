"""The status of a projection whose log was trimmed beyond what it has applied, beside no app that could say it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidestream.launcher.broker import Broker
from tests.integration.test_dead_letter_verbs import look
from tests.integration.test_projection_verbs import System


@pytest.fixture
def system(tmp_path: Path, broker: Broker) -> Iterator[System]:
    """Five votes, all applied."""
    system = System(tmp_path / "system", broker)
    system.vote(5)
    system.json("projections", "rebuild", "tally")
    yield system
    system.client.close()


def test_the_status_says_that_events_are_gone_that_nobody_has_applied(system: System) -> None:
    system.vote(9)
    system.client.xtrim("votes", maxlen=2, approximate=False)
    code, printed = look(system, "tally")
    assert code == 1
    assert "tally: topic votes: expected events after" in printed
    assert "found the log trimmed up to" in printed


def test_a_log_trimmed_up_to_what_is_applied_is_no_problem(system: System) -> None:
    system.client.xtrim("votes", maxlen=1, approximate=False)
    code, printed = look(system, "tally")
    assert (code, "trimmed" in printed) == (0, False)
