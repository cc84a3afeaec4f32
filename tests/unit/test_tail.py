"""A store restored from a copy beside a log that goes on after it: what it lacks is adopted, and no number is given twice."""

import pytest

from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.adapters.memory_log import MemoryLog
from sidestream.errors import EventConflict, UnreadableEvent
from sidestream.event import decode_event
from sidestream.ports import Append, StoredEvent
from sidestream.writing.tail import adopt_tail, count_anew, last_count
from tests.unit.test_relay import event


def append(store: MemoryEventStore, stream: str, count: int = 1) -> None:
    for _ in range(count):
        store.append([Append(stream, (event(stream),))])


def wires(store: MemoryEventStore) -> list[bytes]:
    return [stored.wire for stored in store.follow(0, 10_000)]


def restored_to(store: MemoryEventStore, count: int) -> MemoryEventStore:
    """Return the store as a copy of it was when it had so many events."""
    copy = MemoryEventStore()
    copy._producer = store.producer
    copy.adopt("orders", wires(store)[:count])
    return copy


def without_place(stored: StoredEvent) -> tuple[object, ...]:
    return stored.topic, stored.sequence, stored.event_id, stored.stream, stored.version, stored.wire


@pytest.fixture
def store() -> MemoryEventStore:
    """Twelve events of three streams."""
    made = MemoryEventStore()
    for number in range(12):
        append(made, f"order-{number % 3}")
    return made


def test_what_the_log_has_and_the_store_lacks_is_adopted_to_the_byte(store: MemoryEventStore) -> None:
    log, copy = MemoryLog(), restored_to(store, 7)
    log.record("orders", wires(store))

    assert adopt_tail(copy, log, ["orders"]) == 5

    assert [without_place(each) for each in copy.follow(0)] == [without_place(each) for each in store.follow(0)]
    assert copy.backlog() == {"orders": 0}


def test_after_that_numbers_and_versions_go_on_behind_it(store: MemoryEventStore) -> None:
    log, copy = MemoryLog(), restored_to(store, 7)
    log.record("orders", wires(store))
    adopt_tail(copy, log, ["orders"])

    (next_one,) = copy.append([Append("order-0", (event("order-0"),), expected=4)])

    assert (next_one.sequence, next_one.version) == (13, 5)


def test_repeats_strangers_and_disorder_in_the_log_do_not_matter(store: MemoryEventStore) -> None:
    log, copy = MemoryLog(), restored_to(store, 7)
    strangers = MemoryEventStore()
    append(strangers, "order-9", 20)
    ours = wires(store)
    log.record("orders", [*ours[:9], ours[10], ours[9], b"no event", *wires(strangers), ours[11], ours[3], ours[11]])

    assert adopt_tail(copy, log, ["orders"]) == 5
    assert wires(copy) == ours


def test_a_store_that_lacks_nothing_stays_as_it_is(store: MemoryEventStore) -> None:
    log = MemoryLog()
    log.record("orders", wires(store)[:8])

    assert adopt_tail(store, log, ["orders", "never used"]) == 0
    assert last_count(store, "orders") == 12


def test_a_hole_in_what_it_lacks_is_an_error_and_nothing_is_adopted(store: MemoryEventStore) -> None:
    log, copy = MemoryLog(), restored_to(store, 7)
    log.record("orders", [*wires(store)[:8], *wires(store)[9:]])

    with pytest.raises(UnreadableEvent):
        adopt_tail(copy, log, ["orders"])
    assert last_count(copy, "orders") == 7


def test_a_store_that_was_used_after_it_was_restored_is_told_apart(store: MemoryEventStore) -> None:
    log, copy = MemoryLog(), restored_to(store, 7)
    log.record("orders", wires(store))
    append(copy, "order-1")

    with pytest.raises((EventConflict, UnreadableEvent)):
        adopt_tail(copy, log, ["orders"])


def test_an_older_epochs_events_are_no_reason_to_adopt(store: MemoryEventStore) -> None:
    log = MemoryLog()
    log.record("orders", wires(store))
    store.mark_published("orders", 12)
    store.begin_epoch()

    assert last_count(store, "orders") == 0
    assert adopt_tail(store, log, ["orders"]) == 0
    append(store, "order-0")
    assert decode_event(wires(store)[-1]).number == 1


def test_counting_anew_sends_nothing_twice_that_stands_in_the_log(store: MemoryEventStore) -> None:
    log, copy = MemoryLog(), restored_to(store, 7)
    copy.publish_again("orders", 2)  # a copy that was taken before the confirmations were noted
    log.record("orders", wires(store))
    append(copy, "order-1")

    assert count_anew(copy, log) == copy.producer
    assert [decode_event(event.wire).number for event in copy.unpublished("orders")] == [1]
    assert adopt_tail(copy, log, ["orders"]) == 0


def test_counting_anew_sends_again_what_is_not_in_the_log_or_is_another_event_there(store: MemoryEventStore) -> None:
    log, copy = MemoryLog(), restored_to(store, 7)
    copy.publish_again("orders", 2)
    log.record("orders", [*wires(store)[:4], *wires(store)[5:]])

    count_anew(copy, log)
    assert [decode_event(event.wire).id for event in copy.unpublished("orders")] == [decode_event(wire).id for wire in wires(store)[4:7]]


def test_counting_anew_of_a_store_that_has_published_nothing_keeps_all_of_it(store: MemoryEventStore) -> None:
    count_anew(store, MemoryLog())
    assert [event.sequence for event in store.unpublished("orders")] == list(range(1, 13))
