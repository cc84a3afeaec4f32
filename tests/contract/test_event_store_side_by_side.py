"""Every event store keeps its promises to many writers and followers at once."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sidestream.errors import AppendRefused, WrongExpectedVersion
from sidestream.event import decode_event
from sidestream.ports import ServiceStore
from tests.contract.stores import ADAPTERS, event, facts, open_store, to


@pytest.fixture(params=ADAPTERS)
def store(request: pytest.FixtureRequest) -> Iterator[ServiceStore]:
    made = open_store(request.param, request)
    yield made
    made.close()


def side_by_side(count: int, work: Callable[[int], object]) -> None:
    begin = threading.Barrier(count)

    def together(number: int) -> None:
        begin.wait()
        work(number)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(together, range(count)))


def test_writers_that_believe_anything_leave_a_gapless_stream(store: ServiceStore) -> None:
    side_by_side(20, lambda _: [store.append([to("order-1", event("order-1"))]) for _ in range(10)])
    stored = store.read_stream("order-1")
    assert [e.version for e in stored] == [e.sequence for e in stored] == [e.position for e in stored] == list(range(1, 201))


def test_writers_with_the_same_belief_have_one_winner(store: ServiceStore) -> None:
    outcomes: Counter[str] = Counter()

    def write(_: int) -> None:
        for version in range(10):
            try:
                store.append([to("order-1", event("order-1"), expected=version)])
                outcomes["won"] += 1
            except AppendRefused:
                outcomes["lost"] += 1
            while store.stream_version("order-1") <= version:
                pass

    side_by_side(8, write)
    assert (outcomes["won"], outcomes["lost"], store.stream_version("order-1")) == (10, 70, 10)


def test_the_same_event_from_many_writers_is_stored_once(store: ServiceStore) -> None:
    repeated = event("order-1")
    places = []
    side_by_side(20, lambda _: places.append(store.append([to("order-1", repeated)])))
    assert (len({p[0].position for p in places}), len(store.follow(0))) == (1, 1)


def test_a_refused_append_does_not_take_those_beside_it_along(store: ServiceStore) -> None:
    refused: Counter[type] = Counter()

    def write(number: int) -> None:
        for _ in range(20):
            try:
                store.append([facts(event("x")), to("order-1", event("order-1"), expected=0 if number % 2 else 7)])
            except WrongExpectedVersion as error:
                refused[type(error)] += 1

    side_by_side(10, write)
    assert (refused[WrongExpectedVersion], len(store.follow(0))) == (199, 2)
    assert [e.sequence for e in store.follow(0)] == [1, 2]


def test_a_follower_beside_writers_skips_nothing(store: ServiceStore) -> None:
    seen: list[int] = []
    done = threading.Event()

    def follow() -> None:
        while not done.is_set() or store.follow(seen[-1] if seen else 0):
            seen.extend(e.position for e in store.follow(seen[-1] if seen else 0, limit=50))

    follower = threading.Thread(target=follow)
    follower.start()
    side_by_side(8, lambda n: [store.append([facts(event(f"x-{n}"), event(f"x-{n}"))]) for _ in range(25)])
    done.set()
    follower.join()
    assert seen == list(range(1, 401))


def test_two_hundred_writers_on_one_stream_leave_no_gap(store: ServiceStore) -> None:
    side_by_side(200, lambda _: store.append([to("order-1", event("order-1"))]))
    stored = store.read_stream("order-1")
    assert [e.version for e in stored] == [e.sequence for e in stored] == list(range(1, 201))
    assert [decode_event(e.wire).streamversion for e in stored] == list(range(1, 201))
