"""A store held against a log that was flushed, cut or written to by others; and the topic written anew."""

import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import pytest

from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.adapters.memory_log import MemoryLog
from sidestream.event import NewEvent, decode_event
from sidestream.identifiers import new_id
from sidestream.logs.as_relayed import as_relayed
from sidestream.logs.rewriting import rewrite_topic
from sidestream.logs.verifying import verify_topic
from sidestream.ports import Append, LogEntry
from sidestream.publishing.track import SPAN
from tests.unit.test_relay import event


@pytest.fixture
def store() -> MemoryEventStore:
    """Thirty published events of five streams."""
    made = MemoryEventStore()
    for number in range(30):
        stream = f"order-{number % 5}"
        made.append([Append(stream, (event(stream),))])
    made.mark_published("orders", 30)
    return made


def wires(store: MemoryEventStore) -> list[bytes]:
    return [stored.wire for stored in store.follow(0, 10_000)]


def strangers(count: int) -> list[bytes]:
    other = MemoryEventStore()
    facts = tuple(NewEvent(topic="orders", id=new_id(), source="/elsewhere", type="noted") for _ in range(count))
    return [stored.wire for stored in other.append([Append(None, facts)])]


def numbers(log: MemoryLog) -> list[int]:
    return [decode_event(entry.data).number for entry in log.read("orders", None, 10_000)]


def test_a_log_that_has_everything_is_whole_whatever_else_stands_there(store: MemoryEventStore) -> None:
    log = MemoryLog()
    log.record("orders", [*wires(store)[:10], b"no event", *strangers(3), *wires(store)[5:], wires(store)[2]])

    found = verify_topic(store, log, "orders")

    assert found.whole
    assert (found.stored, found.found, found.missing) == (30, 30, ())


def test_what_is_not_published_yet_is_not_missing(store: MemoryEventStore) -> None:
    log = MemoryLog()
    log.record("orders", wires(store))
    store.append([Append("order-0", (event("order-0"),))])

    assert verify_topic(store, log, "orders").whole


def test_a_lost_end_is_sent_again(store: MemoryEventStore) -> None:
    log = MemoryLog()
    log.record("orders", wires(store)[:24])

    found = verify_topic(store, log, "orders")

    assert not found.whole
    assert (found.missing, found.only_the_end, found.send_after) == (((25, 30),), True, 24)


def test_an_end_that_no_relay_has_on_its_way_at_once_is_none_to_be_sent_again() -> None:
    store, log = MemoryEventStore(), MemoryLog()
    facts = tuple(NewEvent(topic="orders", id=str(number), source="/elsewhere", type="noted") for number in range(SPAN + 1))
    first, *_ = store.append([Append(None, facts)])
    store.mark_published("orders", SPAN + 1)

    assert verify_topic(store, log, "orders").send_after is None
    log.record("orders", [first.wire])
    assert verify_topic(store, log, "orders").send_after == 1


def test_a_flush_that_others_published_after_is_told_by_its_ranges(store: MemoryEventStore) -> None:
    log = MemoryLog()
    log.record("orders", [*wires(store)[20:22], *strangers(2), *wires(store)[25:]])

    found = verify_topic(store, log, "orders")

    assert (found.found, found.missing, found.only_the_end, found.send_after) == (7, ((1, 20), (23, 25)), False, None)


def test_a_lost_end_is_sent_again_although_a_bulk_publish_has_mixed_it_with_other_streams(store: MemoryEventStore) -> None:
    log, ours = MemoryLog(), wires(store)
    log.record("orders", [*ours[:25], ours[26], ours[28]])

    found = verify_topic(store, log, "orders")

    assert (found.missing, found.send_after) == (((26, 26), (28, 28), (30, 30)), 25)


def test_an_event_that_stands_behind_a_later_one_of_its_stream_is_found(store: MemoryEventStore) -> None:
    log, ours = MemoryLog(), wires(store)
    log.record("orders", [*ours[1:], ours[0]])

    found = verify_topic(store, log, "orders")

    assert (found.whole, found.found, found.disordered) == (False, 30, 1)


def test_a_number_that_another_event_has_in_the_log_is_named(store: MemoryEventStore) -> None:
    log, ours = MemoryLog(), wires(store)
    name = decode_event(ours[9]).id
    log.record("orders", [*ours[:9], ours[9].replace(name.encode(), b"another-id"), *ours[10:]])

    (strange,) = verify_topic(store, log, "orders").strangers_number

    assert strange.endswith(" 10: another-id")


def test_an_older_epochs_events_are_missed_too(store: MemoryEventStore) -> None:
    log = MemoryLog()
    store.begin_epoch()
    log.record("orders", wires(store)[:29])

    found = verify_topic(store, log, "orders")

    assert (found.found, found.only_the_end) == (29, False), "its number is none of the present count"


def test_numbers_that_the_store_lacks_are_none_of_its_findings(store: MemoryEventStore) -> None:
    log, ours = MemoryLog(), wires(store)
    beyond = [ours[4].replace(b'"00000000000000000005"', number) for number in (b'"00000000000000000031"', b'"9223372036854775807"')]
    log.record("orders", [*beyond, *ours])

    assert verify_topic(store, log, "orders").whole


def test_the_second_event_under_a_number_changes_nothing_as_it_changes_no_row(store: MemoryEventStore) -> None:
    log, ours = MemoryLog(), wires(store)
    name = decode_event(ours[9]).id
    another = ours[9].replace(name.encode(), b"another-id")

    log.record("orders", [*ours, another])
    assert verify_topic(store, log, "orders").whole

    log.rewrite("orders", [*ours[:9], another, *ours[9:]])
    found = verify_topic(store, log, "orders")
    assert (len(found.strangers_number), found.missing) == (1, ((10, 10),)), "who comes first has the number"


def test_what_is_published_while_the_log_is_read_is_not_missing(store: MemoryEventStore) -> None:
    class Busy(MemoryLog):
        """A log in whose last page's shadow the relay publishes on."""

        def read(self, topic: str, start: str | None, limit: int) -> Sequence[LogEntry]:
            page = super().read(topic, start, limit)
            stored = store.append([Append("order-0", (event("order-0"),))])
            self.record(topic, [each.wire for each in stored])
            store.mark_published(topic, stored[-1].sequence)
            return page

    log = Busy()
    log.record("orders", wires(store))

    found = verify_topic(store, log, "orders")

    assert (found.whole, found.stored) == (True, 30)


def test_memory_grows_by_a_few_bytes_an_event() -> None:
    few, more = peak_bytes(2_000), peak_bytes(6_000)

    assert (more - few) / 4_000 < 16


def peak_bytes(count: int) -> int:
    """Return the most memory that verifying so many events takes beside the store and the log."""
    store, log = MemoryEventStore(), MemoryLog()
    facts = tuple(NewEvent(topic="orders", id=new_id(), source="/elsewhere", type="noted") for _ in range(count))
    log.record("orders", [stored.wire for stored in store.append([Append(None, facts)])])
    store.mark_published("orders", count)
    tracemalloc.start()
    try:
        assert verify_topic(store, log, "orders").whole
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_topic_written_anew_has_all_of_the_store_in_order_and_what_others_wrote(store: MemoryEventStore) -> None:
    log, theirs = MemoryLog(), strangers(4)
    log.record("orders", [*wires(store)[20:22], *theirs[:2], *wires(store)[25:], *theirs[2:]])

    rewrite_topic(store, log, "orders")

    assert verify_topic(store, log, "orders").whole
    entries = [entry.data for entry in log.read("orders", None, 100)]
    assert entries == [*map(as_relayed, wires(store)), *theirs]


def test_what_is_written_anew_is_not_published_once_more(store: MemoryEventStore) -> None:
    log = MemoryLog()
    store.append([Append("order-0", (event("order-0"),))])

    rewrite_topic(store, log, "orders")

    assert store.backlog() == {"orders": 0}
    assert numbers(log) == [*range(1, 32)]


class Interrupted:
    """A log that is written anew while the service appends."""

    def __init__(self, log: MemoryLog, append: Callable[[], object]) -> None:
        self._log = log
        self._append = append

    def rewrite(
        self, topic: str, wires: Iterable[bytes], keep: Callable[[bytes], bool], may_write: Callable[[], None] = lambda: None
    ) -> None:
        list(wires)
        self._append()
        self._log.rewrite(topic, wires, keep, may_write)
        self._append()

    def close(self) -> None:
        pass


def test_what_is_appended_meanwhile_is_still_to_be_published(store: MemoryEventStore) -> None:
    log = MemoryLog()

    rewrite_topic(store, Interrupted(log, lambda: store.append([Append("order-0", (event("order-0"),))])), "orders")

    assert numbers(log) == [*range(1, 31)]
    assert [found.sequence for found in store.unpublished("orders", 10)] == [31, 32]


def test_what_a_new_epoch_appends_meanwhile_is_still_to_be_published(store: MemoryEventStore) -> None:
    store.begin_epoch()
    log = MemoryLog()

    rewrite_topic(store, Interrupted(log, lambda: store.append([Append("order-0", (event("order-0"),))])), "orders")

    assert [found.sequence for found in store.unpublished("orders", 10)] == [1, 2]


def test_a_topic_that_knows_that_something_is_gone_says_so(store: MemoryEventStore) -> None:
    log = MemoryLog()
    log.record("orders", wires(store))
    log.trim("orders", "30")

    found = verify_topic(store, log, "orders")

    assert (found.gone_upto, found.send_after) == ("30", 0)


def test_streams_stand_in_order_after_it(store: MemoryEventStore) -> None:
    log = MemoryLog()
    log.record("orders", reversed_in_streams(store))
    assert not verify_topic(store, log, "orders").whole

    rewrite_topic(store, log, "orders")

    versions = defaultdict(list)
    for entry in log.read("orders", None, 100):
        found = decode_event(entry.data)
        versions[found.stream].append(found.streamversion)
    assert all(each == [1, 2, 3, 4, 5, 6] for each in versions.values())


def reversed_in_streams(store: MemoryEventStore) -> list[bytes]:
    return wires(store)[::-1]
