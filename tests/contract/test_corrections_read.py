"""What is read of a generation when it meets a decision: on every read model adapter only what the decision is about."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sidestream.applying.applied import PARKED_STREAMS
from sidestream.applying.dead_letters import drain
from sidestream.ports import Generation, Reader
from tests.contract.correcting import Desk
from tests.contract.test_corrections_given_up import given_up_and_late


class Watched:
    """A generation that counts the parked streams which somebody reads who looks into it."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self.streams_read = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generation, name)

    @contextmanager
    def snapshot(self) -> Iterator[Any]:
        with self._generation.snapshot() as reader:
            yield WatchedReader(reader, self)


class WatchedReader:
    def __init__(self, reader: Reader, watched: Watched) -> None:
        self._reader = reader
        self._watched = watched

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def read(self, table: Any, keys: Any) -> Any:
        return self._noted(table, self._reader.read(table, keys))

    def select(self, table: Any, query: Any) -> Any:
        return self._noted(table, self._reader.select(table, query))

    def _noted(self, table: Any, found: Any) -> Any:
        self._watched.streams_read += len(found) if table is PARKED_STREAMS else 0
        return found


def test_of_all_that_is_parked_only_what_a_decision_is_about_is_read(desk: Desk) -> None:
    given_up_and_late(desk)
    desk.bank.record(*(desk.bank.wire(f"account-x{at}", 1, 2) for at in range(50)))
    desk.bank.record(desk.bank.wire("account-b", 1, 1), desk.bank.wire("account-b", 3, 3))
    desk.bank.projector.catch_up()
    desk.give_up("account-b@2")
    watched: Any = Watched(desk.bank.generation)

    done = drain(desk.rule, watched, lambda: "later", desk.in_force.since(0))

    assert (done.tried, done.freed) == (2, 1), "the one that came too late, and the one that waited"
    assert watched.streams_read <= 5
    assert desk.bank.accounts() == {"account-a": (12, "1 2 4 5"), "account-b": (4, "1 3")}
