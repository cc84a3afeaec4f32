"""Every event store keeps the newest snapshot of a stream, and loses nothing with it."""

from collections.abc import Iterator

import pytest

from sidestream.ports import ServiceStore, Snapshot
from tests.contract.stores import ADAPTERS, SHARED, open_store


@pytest.fixture(params=ADAPTERS)
def store(request: pytest.FixtureRequest) -> Iterator[ServiceStore]:
    made = open_store(request.param, request)
    yield made
    made.close()


def at(version: int, shape: str = "order.1", stream: str = "order-1") -> Snapshot:
    return Snapshot(stream, version, shape, b"state \x00\xff of %d" % version)


def test_a_snapshot_is_returned_as_it_was_kept(store: ServiceStore) -> None:
    store.keep_snapshot(at(3))
    store.keep_snapshot(at(7, stream="order-2"))
    assert (store.snapshot("order-1", "order.1"), store.snapshot("order-2", "order.1")) == (at(3), at(7, stream="order-2"))
    assert store.snapshot("none", "order.1") is None


def test_a_newer_snapshot_takes_the_place_of_an_older_one_only(store: ServiceStore) -> None:
    for version in (3, 5, 4):
        store.keep_snapshot(at(version))
    assert store.snapshot("order-1", "order.1") == at(5)


def test_a_snapshot_of_another_shape_is_as_good_as_none_and_gives_way(store: ServiceStore) -> None:
    store.keep_snapshot(at(5))
    assert store.snapshot("order-1", "order.2") is None
    store.keep_snapshot(at(2, "order.2"))
    assert (store.snapshot("order-1", "order.1"), store.snapshot("order-1", "order.2")) == (None, at(2, "order.2"))


def test_all_snapshots_are_dropped_at_once(store: ServiceStore) -> None:
    for n in range(3):
        store.keep_snapshot(at(1, stream=f"order-{n}"))
    assert (store.drop_snapshots(), store.drop_snapshots(), store.snapshot("order-1", "order.1")) == (3, 0, None)


@pytest.mark.parametrize("adapter", SHARED)
def test_a_snapshot_is_there_for_every_process(adapter: str, request: pytest.FixtureRequest) -> None:
    first, second = open_store(adapter, request), open_store(adapter, request)
    first.keep_snapshot(at(3))
    assert second.snapshot("order-1", "order.1") == at(3)
    first.close()
    second.close()
