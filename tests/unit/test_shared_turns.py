"""Taking turns: who waits is stored together, each stands or falls by itself, and nobody is forgotten."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from sidestream.adapters.shared_turns import SharedTurns, Ticket
from sidestream.errors import StoreAway, WrongExpectedVersion
from tests.waiting import until


class Kept:
    """Keeps the turns it was given; the first one waits for the gate."""

    def __init__(self) -> None:
        self.turns: list[int] = []
        self.gate = threading.Event()
        self.problem: BaseException | None = None

    def __call__(self, tickets: Sequence[Ticket]) -> None:
        self.turns.append(len(tickets))
        self.gate.wait()
        problem, self.problem = self.problem, None
        if problem is not None:
            raise problem


async def test_those_who_wait_share_the_next_turn() -> None:
    kept = Kept()
    turns = SharedTurns(kept)
    with ThreadPoolExecutor(20) as pool:
        calls = [pool.submit(turns.take, ((), None)) for _ in range(20)]
        await until(lambda: len(turns._queue) == 19)
        kept.gate.set()
        assert [call.result() for call in calls] == [()] * 20
    assert kept.turns == [1, 19]


async def test_a_turn_that_fails_fails_for_all_of_it_and_the_next_one_is_led() -> None:
    kept = Kept()
    kept.problem = StoreAway("the database is away")
    turns = SharedTurns(kept)
    with ThreadPoolExecutor(5) as pool:
        calls = [pool.submit(turns.take, ((), None)) for _ in range(5)]
        await until(lambda: len(turns._queue) == 4)
        kept.gate.set()
        failures = [call.exception() for call in calls]
    assert sorted(type(failure).__name__ for failure in failures) == ["NoneType"] * 4 + ["StoreAway"]
    assert turns.take(((), None)) == ()


def test_one_that_is_refused_is_refused_alone() -> None:
    def store(tickets: Sequence[Ticket]) -> None:
        tickets[0].failure = WrongExpectedVersion("order-1", 1, 2)

    with pytest.raises(WrongExpectedVersion):
        SharedTurns(store).take(((), None))


async def test_a_leader_that_is_interrupted_hands_on_the_lead() -> None:
    kept = Kept()
    kept.problem = KeyboardInterrupt()
    turns = SharedTurns(kept)
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(turns.take, ((), None))
        await until(lambda: kept.turns == [1])
        others = [pool.submit(turns.take, ((), None)) for _ in range(4)]
        await until(lambda: len(turns._queue) == 4)
        kept.gate.set()
        assert [other.result() for other in others] == [()] * 4
        assert isinstance(first.exception(), KeyboardInterrupt)
    assert kept.turns == [1, 4]
