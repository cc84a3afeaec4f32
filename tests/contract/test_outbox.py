"""What a relay needs of an event store: what is not published yet, marks that hold, and one holder of a lease."""

from collections.abc import Iterator

import pytest

from sidestream.errors import ConfigurationError
from sidestream.ports import ServiceStore
from tests.contract.stores import ADAPTERS, SHARED, event, facts, open_store
from tests.waiting import until


@pytest.fixture(params=ADAPTERS)
def store(request: pytest.FixtureRequest) -> Iterator[ServiceStore]:
    made = open_store(request.param, request)
    yield made
    made.close()


# ── marks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_not_marked_is_unpublished(store: ServiceStore) -> None:
    stored = store.append([facts(*(event("x") for _ in range(5)), event("y", topic="votes"))])
    store.mark_published("orders", 2)
    assert store.unpublished("orders") == stored[2:5]
    assert store.unpublished("orders", limit=1, after=3) == stored[3:4]
    assert store.unpublished("orders", after=1) == stored[2:5]
    assert store.unpublished("votes") == stored[5:]
    assert store.backlog() == {"orders": 3, "votes": 1}
    assert store.unpublished("nobody") == ()


def test_a_mark_never_goes_back_nor_beyond_the_last_event(store: ServiceStore) -> None:
    store.append([facts(event("x"), event("x"), event("x"))])
    for mark in (2, 1, 0):
        store.mark_published("orders", mark)
    assert store.backlog() == {"orders": 1}
    store.mark_published("orders", 99)
    store.mark_published("nobody", 1)
    (later,) = store.append([facts(event("x"))])
    assert store.unpublished("orders") == (later,)


def test_every_topic_has_a_backlog_though_it_may_be_none(store: ServiceStore) -> None:
    store.append([facts(event("x"), event("y", topic="votes"))])
    store.mark_published("orders", 1)
    assert store.backlog() == {"orders": 0, "votes": 1}


@pytest.mark.parametrize(("after", "left"), [(3, (4, 5)), (0, (1, 2, 3, 4, 5)), (-7, (1, 2, 3, 4, 5)), (4, (5,)), (99, (5,))])
def test_what_is_gone_from_the_log_is_published_again(store: ServiceStore, after: int, left: tuple[int, ...]) -> None:
    store.append([facts(*(event("x") for _ in range(5)), event("y", topic="votes"))])
    store.mark_published("orders", 4)
    store.mark_published("votes", 1)
    store.publish_again("orders", after)
    assert tuple(e.sequence for e in store.unpublished("orders")) == left
    assert store.backlog() == {"orders": len(left), "votes": 0}


def test_publishing_again_where_nothing_is_stored_is_no_change(store: ServiceStore) -> None:
    store.publish_again("nobody", 0)
    assert (store.topics(), store.backlog()) == ((), {})


# ── leases ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_lease_has_one_holder_who_may_renew_it(store: ServiceStore) -> None:
    assert store.lease("relay", "a", 60)
    assert not store.lease("relay", "b", 60)
    assert store.lease("relay", "a", 60)
    assert store.lease("other", "b", 60)


async def test_a_lease_that_has_run_out_is_taken_over(store: ServiceStore) -> None:
    assert store.lease("relay", "a", 0.05)
    await until(lambda: store.lease("relay", "b", 60))
    assert not store.lease("relay", "a", 60)


def test_a_lease_is_given_up_by_its_holder_only(store: ServiceStore) -> None:
    store.lease("relay", "a", 60)
    store.end_lease("relay", "b")
    assert not store.lease("relay", "b", 60)
    store.end_lease("relay", "a")
    store.end_lease("nobody", "a")
    assert store.lease("relay", "b", 60)


def test_a_lease_of_no_time_is_free_for_anybody_at_once(store: ServiceStore) -> None:
    assert store.lease("relay", "a", 0)
    assert store.lease("relay", "b", 60)
    assert not store.lease("relay", "a", 0)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_a_lease_takes_time(store: ServiceStore, seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="expected a number of seconds"):
        store.lease("relay", "a", seconds)
    assert store.lease("relay", "b", 60)


@pytest.mark.parametrize("adapter", SHARED)
def test_a_lease_and_a_mark_hold_for_every_process(adapter: str, request: pytest.FixtureRequest) -> None:
    first, second = open_store(adapter, request), open_store(adapter, request)
    first.append([facts(event("x"), event("x"))])
    second.mark_published("orders", 1)
    assert (first.lease("relay", "a", 60), second.lease("relay", "b", 60)) == (True, False)
    assert [e.sequence for e in first.unpublished("orders")] == [2]
    first.close()
    second.close()
