"""The order of streams in a log, told with few streams in memory: what was forgotten is asked of the store, and nothing is guessed."""

from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.event import decode_event
from sidestream.logs.published_numbers import PublishedNumbers
from sidestream.logs.stream_order import StreamOrder
from sidestream.ports import Append, StoredEvent
from tests.unit.test_relay import event

STREAMS = 6


def filled(streams: Sequence[int], epoch_at: int) -> MemoryEventStore:
    """Return a store with one published event for each of these, in two epochs."""
    store = MemoryEventStore()
    for at, number in enumerate(streams):
        if at == epoch_at:
            store.mark_published("orders", at)
            store.begin_epoch()
        store.append([Append(f"order-{number}", (event(f"order-{number}"),))])
    store.mark_published("orders", len(streams))
    return store


def counted(store: MemoryEventStore, log: Sequence[StoredEvent], remembered: int) -> int:
    """Return how many events stand behind a later one of their stream."""
    published = PublishedNumbers(store, "orders")
    order = StreamOrder(published.newest_met, remembered)
    for each in log:
        if published.meet(decode_event(each.wire)):
            order.note(decode_event(each.wire))
    return order.disordered


def counted_with_all_in_memory(log: Sequence[StoredEvent]) -> int:
    """Return the same as anybody would count it who has room."""
    newest, met, disordered = dict[str, int](), set[int](), 0
    for each in log:
        if each.position not in met:
            met.add(each.position)
            disordered += (each.version or 0) < newest.get(each.stream or "", 0)
            newest[each.stream or ""] = max(newest.get(each.stream or "", 0), each.version or 0)
    return disordered


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.integers(0, STREAMS - 1), min_size=1, max_size=30),
    st.integers(0, 30),
    st.lists(st.integers(0, 29), max_size=60),
    st.integers(1, 4),
)
def test_whatever_stands_where_and_however_often_it_is_counted_as_with_all_in_memory(
    streams: list[int], epoch_at: int, places: list[int], remembered: int
) -> None:
    store = filled(streams, epoch_at)
    events = store.follow(0)
    log = [events[place % len(events)] for place in places]

    assert counted(store, log, remembered) == counted_with_all_in_memory(log)


def test_an_event_behind_one_that_was_long_forgotten_is_found() -> None:
    store = filled([0, 0, *range(1, 50)], 0)
    first, *others = store.follow(0)

    assert counted(store, [*others, first], 3) == 1


def test_nothing_is_asked_where_the_log_is_in_order() -> None:
    store = filled([number % 20 for number in range(200)], 0)
    asked: list[str] = []

    def newest_met(stream: str, after: int) -> int:
        asked.append(stream)
        return after

    order = StreamOrder(newest_met, 3)
    for each in store.follow(0):
        order.note(decode_event(each.wire))

    assert (asked, order.disordered) == ([], 0)


def test_no_more_streams_are_in_memory_than_it_was_told_twice() -> None:
    store = filled(range(100), 0)
    order = StreamOrder(lambda _, after: after, 7)
    for each in store.follow(0):
        order.note(decode_event(each.wire))
        assert len(order._young) + len(order._old) <= 14
