"""A store restored from a copy gets on with a log that knows more than it does: it adopts, or it counts anew."""

from collections.abc import Iterator, Sequence

import msgspec
import pytest

from sidestream.errors import EventConflict, StoreAway, UnreadableEvent, WrongExpectedVersion
from sidestream.event import Counted, NewEvent, decode_event, encode_event
from sidestream.ports import ServiceStore, StoredEvent
from tests.contract.stores import ADAPTERS, SHARED, event, facts, open_store, to

TIME = "2025-04-01T12:00:00+02:00"
TIME_MS = 1_743_501_600_000
DATA = b'{"big":9007199254740993,"one":1.0,"z":"\\u00e9","a":[]}'


@pytest.fixture(params=ADAPTERS)
def store(request: pytest.FixtureRequest) -> Iterator[ServiceStore]:
    made = open_store(request.param, request)
    yield made
    made.close()


def in_log(store: ServiceStore, new: NewEvent, number: int, version: int | None = None) -> bytes:
    """Return an event as the log has it: the sidecar added attributes, sorted the keys and took the extra zeroes."""
    written = msgspec.json.decode(encode_event(new, Counted(store.producer, number, version)))
    return msgspec.json.encode(dict(sorted((written | {"pubsubname": "log", "topic": new.topic, "traceid": ""}).items())))


def three_in_log(store: ServiceStore) -> list[bytes]:
    return [in_log(store, event("order-1", event_id=f"e{n}", data=DATA), n, n) for n in (1, 2, 3)]


def numbers(events: Sequence[StoredEvent]) -> list[tuple[str, int, int | None]]:
    return [(e.event_id, e.sequence, e.version) for e in events]


# ── adopting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_the_log_has_is_adopted_as_it_stands_there(store: ServiceStore) -> None:
    wires = three_in_log(store)
    assert store.adopt("orders", wires) == 3
    stored = store.follow(0)
    assert [e.wire for e in stored] == wires
    assert numbers(stored) == [("e1", 1, 1), ("e2", 2, 2), ("e3", 3, 3)]
    assert [e.source for e in stored] == ["/services/orders"] * 3
    assert store.read_stream("order-1") == store.read_topic("orders") == stored
    assert (store.stream_version("order-1"), store.count_topic("orders"), store.topics()) == (3, 3, ("orders",))


def test_what_is_adopted_is_published_already(store: ServiceStore) -> None:
    store.adopt("orders", three_in_log(store))
    assert (store.unpublished("orders"), store.backlog()) == ((), {"orders": 0})


def test_counts_and_versions_go_on_after_what_was_adopted(store: ServiceStore) -> None:
    store.append([to("order-1", event("order-1"))])
    store.mark_published("orders", 1)
    store.adopt("orders", [in_log(store, event("order-1", event_id="e2"), 2, 2), in_log(store, event(None, event_id="e3"), 3)])
    with pytest.raises(WrongExpectedVersion):
        store.append([to("order-1", event("order-1"), expected=1)])
    (later,) = store.append([to("order-1", event("order-1", event_id="e4"), expected=2)])
    assert numbers([later]) == [("e4", 4, 3)]
    assert store.unpublished("orders") == (later,)


def test_what_was_unpublished_in_the_copy_is_published_before_the_adopted(store: ServiceStore) -> None:
    store.append([facts(event("x", event_id="e1"), event("x", event_id="e2"))])
    store.mark_published("orders", 1)
    store.adopt("orders", [in_log(store, event("x", event_id="e3"), 3)])
    assert [e.event_id for e in store.unpublished("orders")] == ["e2", "e3"]


def test_adopting_again_is_no_change_and_marks_what_stands_in_the_log(store: ServiceStore) -> None:
    stored = store.append([to("order-1", event("order-1", event_id="e1", data=DATA), event("order-1", event_id="e2", data=DATA))])
    assert store.adopt("orders", three_in_log(store)) == 1
    assert store.adopt("orders", three_in_log(store)) == 0
    assert store.follow(0)[:2] == stored
    assert store.backlog() == {"orders": 0}


def test_versions_of_a_stream_over_two_topics_are_adopted_topic_by_topic(store: ServiceStore) -> None:
    second, first = event("order-1", topic="b", event_id="e2"), event("order-1", topic="a", event_id="e1")
    store.adopt("b", [in_log(store, second, 1, 2)])
    store.adopt("a", [in_log(store, first, 1, 1)])
    assert [e.event_id for e in store.read_stream("order-1")] == ["e1", "e2"]
    assert [e.event_id for e in store.read_stream_back("order-1")] == ["e2", "e1"]
    assert store.stream_version("order-1") == 2


def test_the_command_of_an_adopted_event_is_the_same_success(store: ServiceStore) -> None:
    new = event("order-1", event_id="e1", data=DATA)
    store.adopt("orders", [in_log(store, new, 1, 1)])
    (repeated,) = store.append([to("order-1", new, expected=0)])
    assert (repeated.repeated, repeated.sequence, repeated.version) == (True, 1, 1)
    with pytest.raises(EventConflict):
        store.append([to("order-1", event("order-1", event_id="e1", data=b'{"other":1}'))])


def test_an_adopted_event_was_recorded_when_it_says_so(store: ServiceStore) -> None:
    in_time, without = event("order-1", event_id="e1", time=TIME), event("order-1", event_id="e2")
    future = event("order-1", event_id="e3", time="2999-01-01T00:00:00Z")
    store.adopt("orders", [in_log(store, new, n, n) for n, new in enumerate((in_time, without, future), start=1)])
    first, second, third = store.follow(0)
    assert first.recorded_ms == TIME_MS < second.recorded_ms <= third.recorded_ms
    assert store.read_stream("order-1", until_ms=TIME_MS) == (first,)
    (later,) = store.append([facts(event("x"))])
    assert third.recorded_ms <= later.recorded_ms


# ── what is not adopted ──────────────────────────────────────────────────────────────────────────────────────────────


def test_another_event_under_a_number_is_a_conflict_and_nothing_is_adopted(store: ServiceStore) -> None:
    store.append([facts(event("x", event_id="mine"))])
    wires = [in_log(store, event("x", event_id=name), n) for n, name in enumerate(("theirs", "next"), start=1)]
    with pytest.raises(EventConflict, match="theirs"):
        store.adopt("orders", wires)
    assert numbers(store.follow(0)) == [("mine", 1, None)]


def test_other_content_under_number_and_id_is_a_conflict(store: ServiceStore) -> None:
    store.append([facts(event("x", event_id="e1", data=b"1"))])
    with pytest.raises(EventConflict):
        store.adopt("orders", [in_log(store, event("x", event_id="e1", data=b"2"), 1)])


def test_a_version_that_is_taken_is_a_conflict(store: ServiceStore) -> None:
    store.append([to("order-1", event("order-1", topic="other"))])
    with pytest.raises(EventConflict):
        store.adopt("orders", [in_log(store, event("order-1"), 1, 1)])
    with pytest.raises(EventConflict):
        store.adopt("orders", [in_log(store, event("order-2"), 1, 5), in_log(store, event("order-2"), 2, 5)])
    assert (store.topics(), store.stream_version("order-2")) == (("other",), 0)


def test_an_id_that_is_taken_is_a_conflict(store: ServiceStore) -> None:
    store.append([facts(event("x", topic="other", event_id="e1"))])
    with pytest.raises(EventConflict):
        store.adopt("orders", [in_log(store, event("x", event_id="e1"), 1)])
    with pytest.raises(EventConflict):
        store.adopt("orders", [in_log(store, event("x", event_id="e2"), 1), in_log(store, event("x", event_id="e2"), 2)])
    assert (store.topics(), store.backlog()) == (("other",), {"other": 1})


def test_a_hole_in_the_numbers_is_refused_with_all_before_it(store: ServiceStore) -> None:
    first, _, third = three_in_log(store)
    with pytest.raises(UnreadableEvent, match="orders: expected number 2 of .*, found 3"):
        store.adopt("orders", [first, third])
    assert (store.follow(0), store.topics(), store.append([facts(event("x"))])[0].sequence) == ((), (), 1)


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"no event",
        b'{"id":"1","source":"/s","type":"t"}',
        b'{"id":"1","source":"/s","type":"t","producer":"other.1","sequence":"1"}',
        b'{"id":"1","source":"/s","type":"t","producer":"MINE","sequence":"0"}',
        b'{"id":"1","source":"/s","type":"t","producer":"MINE","sequence":"1","streamversion":1}',
    ],
    ids=["nothing", "garbage", "nobody's", "somebody else's", "number 0", "version without stream"],
)
def test_what_is_no_event_of_this_producer_is_refused(store: ServiceStore, wire: bytes) -> None:
    with pytest.raises(UnreadableEvent):
        store.adopt("orders", [wire.replace(b"MINE", store.producer.encode())])
    assert (store.follow(0), store.topics()) == ((), ())


def test_nothing_to_adopt_is_no_change(store: ServiceStore) -> None:
    assert (store.adopt("orders", []), store.topics()) == (0, ())


# ── counting anew ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_epoch_has_the_same_identifier_and_the_next_number(store: ServiceStore) -> None:
    identifier = store.producer.removesuffix(".1")
    assert (store.begin_epoch(), store.producer) == (f"{identifier}.2", f"{identifier}.2")
    assert (store.begin_epoch(), store.producer) == (f"{identifier}.3", f"{identifier}.3")


def test_unpublished_events_are_given_new_numbers_and_stay_what_they_are(store: ServiceStore) -> None:
    before = store.append([to("order-1", *(event("order-1", event_id=f"e{n}", data=DATA) for n in range(1, 6)))])
    store.mark_published("orders", 2)
    store.begin_epoch()
    after = store.follow(0)
    assert after[:2] == before[:2]
    assert numbers(after) == [("e1", 1, 1), ("e2", 2, 2), ("e3", 1, 3), ("e4", 2, 4), ("e5", 3, 5)]
    assert store.unpublished("orders") == after[2:]
    assert [(e.position, e.recorded_ms) for e in after] == [(e.position, e.recorded_ms) for e in before]
    for old, new in zip(before[2:], after[2:], strict=True):
        counted = {"producer": store.producer, "sequence": f"{new.sequence:020}"}
        assert decode_event(new.wire) == msgspec.structs.replace(decode_event(old.wire), **counted)
        assert DATA in new.wire


def test_a_new_epoch_goes_on_from_what_it_renumbered(store: ServiceStore) -> None:
    store.append([facts(*(event("x") for _ in range(3)), event("y", topic="votes"))])
    store.mark_published("orders", 2)
    store.mark_published("votes", 1)
    store.begin_epoch()
    assert store.backlog() == {"orders": 1, "votes": 0}
    assert [e.sequence for e in store.append([facts(event("x"), event("y", topic="votes"))])] == [2, 1]
    assert {topic: [e.sequence for e in store.unpublished(topic)] for topic in store.topics()} == {"orders": [1, 2], "votes": [1]}
    store.mark_published("orders", 2)
    assert store.backlog() == {"orders": 0, "votes": 1}


def test_topics_and_streams_are_read_through_all_epochs(store: ServiceStore) -> None:
    for _ in range(3):
        stored = store.append([to("order-1", *(event("order-1") for _ in range(3)))])
        store.mark_published("orders", stored[0].sequence)
        store.begin_epoch()
    every = store.follow(0)
    assert store.read_topic("orders") == store.read_stream("order-1") == every
    assert store.read_topic_back("orders") == every[::-1]
    for at in (0, 3, 8):
        assert store.read_topic("orders", every[at].position, limit=4) == every[at : at + 4]
        assert store.read_topic_back("orders", every[at].position, limit=4) == every[:at][::-1][:4]
    assert (store.count_topic("orders"), store.stream_version("order-1")) == (9, 9)


def test_a_repeat_of_what_was_counted_before_the_epoch_is_known(store: ServiceStore) -> None:
    mine = [event("order-1"), event("order-1")]
    store.append([to("order-1", *mine)])
    store.mark_published("orders", 1)
    store.begin_epoch()
    assert [(e.repeated, e.sequence) for e in store.append([to("order-1", *mine)])] == [(True, 1), (True, 1)]


def test_the_old_epoch_is_not_adopted_into_the_new_one(store: ServiceStore) -> None:
    old = three_in_log(store)
    store.begin_epoch()
    with pytest.raises(UnreadableEvent, match=r"expected producer .*\.2, found .*\.1"):
        store.adopt("orders", old)


@pytest.mark.parametrize("adapter", SHARED)
def test_a_process_that_missed_a_new_epoch_counts_nothing_until_it_is_started_again(adapter: str, request: pytest.FixtureRequest) -> None:
    operator, service = open_store(adapter, request), open_store(adapter, request)
    service.append([facts(event("x"), event("x"))])
    operator.begin_epoch()
    for work in (
        lambda: service.append([facts(event("x"))]),
        lambda: service.unpublished("orders"),
        lambda: service.mark_published("orders", 2),
        lambda: service.publish_again("orders", 0),
        lambda: service.adopt("orders", three_in_log(service)),
        service.begin_epoch,
    ):
        with pytest.raises(StoreAway, match="epoch|counts as"):
            work()
    service.close()
    again = open_store(adapter, request)
    assert (again.producer, [e.sequence for e in again.unpublished("orders")]) == (operator.producer, [1, 2])
    assert again.append([facts(event("x"))])[0].sequence == 3
    again.close()
    operator.close()
