"""The way every test waits: a machine that stands still for a while makes no test fail whose condition holds."""

import threading

import pytest

from tests.waiting import until


async def test_a_condition_that_holds_after_a_pause_beyond_the_deadline_holds() -> None:
    asked: list[bool] = []

    def holds_when_the_machine_goes_on() -> bool:
        asked.append(bool(asked))
        if not asked[-1]:
            threading.Event().wait(0.2)  # the machine stands still, longer than the deadline
        return asked[-1]

    await until(holds_when_the_machine_goes_on, 0.05)
    assert asked == [False, True]


async def test_a_condition_that_never_holds_fails_by_its_name() -> None:
    with pytest.raises(AssertionError, match="the answer did not hold within 0.05 s"):
        await until(lambda: False, 0.05, lambda: "the answer")
