"""`sidestream log verify --repair` whose lease is lost on the way: it stops before the next write, and says what to do."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.adapters.memory_log import MemoryLog
from sidestream.backbone import connect
from sidestream.cli.log import relays_away, repaired
from sidestream.cli.stores import Kept
from sidestream.errors import LeaseLost
from sidestream.logs.verifying import verify_topic
from sidestream.ports import Append
from sidestream.publishing.leading import PAUSE, RELAY
from sidestream.settings import Settings
from tests.unit.test_relay import event
from tests.waiting import until


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept("orders", "orders", connect(Settings(data=tmp_path)))


@pytest.fixture
def store() -> MemoryEventStore:
    """Thirty published events."""
    made = MemoryEventStore()
    for number in range(30):
        made.append([Append(f"order-{number}", (event(f"order-{number}"),))])
    made.mark_published("orders", 30)
    return made


@contextlib.contextmanager
def lost() -> Iterator[None]:
    with pytest.raises(LeaseLost, match="lost"):
        yield


def no_more() -> None:
    raise LeaseLost("the lease was lost")


@pytest.mark.parametrize("standing", [slice(0, 24), slice(5, 30)], ids=["the-end-is-missing", "the-beginning-is-missing"])
def test_nothing_is_written_by_whoever_has_lost_the_lease(store: MemoryEventStore, standing: slice) -> None:
    log = MemoryLog()
    log.record("orders", [each.wire for each in store.follow(0)][standing])
    before, checked = log.read("orders", None, 100), verify_topic(store, log, "orders")

    with lost():
        repaired(store, log, checked, no_more)

    assert log.read("orders", None, 100) == before
    assert store.backlog() == {"orders": 0}
    assert verify_topic(store, log, "orders") == checked, "the next look shows the state"


def test_one_that_was_written_anew_when_the_lease_was_lost_is_not_marked(store: MemoryEventStore) -> None:
    log, asked = MemoryLog(), list[int]()
    store.append([Append("order-0", (event("order-0"),))])

    def may_write() -> None:
        asked.append(len(asked))
        if len(asked) > 1:
            no_more()

    with lost():
        repaired(store, log, verify_topic(store, log, "orders"), may_write)

    assert len(log.read("orders", None, 100)) == 31
    assert store.backlog() == {"orders": 1}, "whoever leads now sends it once more, and nobody counts it twice"


class WatchedStore(MemoryEventStore):
    """Remembers who holds a lease."""

    def __init__(self) -> None:
        super().__init__()
        self._holders: dict[str, str] = {}

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        taken = super().lease(name, holder, seconds)
        if taken:
            self._holders[name] = holder
        return taken

    def steal(self, name: str) -> bool:
        """Take a lease for somebody else."""
        self.end_lease(name, self._holders[name])
        return self.lease(name, "somebody else", 60)


@pytest.mark.parametrize("name", [PAUSE, RELAY])
async def test_while_relays_stand_back_writing_is_allowed_until_a_lease_is_lost(kept: Kept, name: str) -> None:
    store = WatchedStore()

    def is_refused() -> bool:
        try:
            may_write()
        except LeaseLost as problem:
            told.append(str(problem))
        return bool(told)

    told = list[str]()
    with relays_away(kept, store) as may_write:
        may_write()
        await until(lambda: store.steal(name))
        await until(is_refused)
    assert "orders: expected its relay to stand back until the end" in told[0]
    assert "`sidestream log verify orders`" in told[0]
