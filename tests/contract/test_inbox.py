"""The inbox log, on every adapter: each event once, positions in commit order, all of a delivery or nothing."""

import itertools

import pytest

from sidestream.adapters.memory_inbox import MemoryInbox
from sidestream.applying.applied import CHECKPOINTS
from sidestream.applying.dead_letters import parked_events
from sidestream.logs.inbox import Inbox, arrived
from tests.contract.arriving import TOPIC, Reader, deliver, kept, stranger, wire

# ── each event once ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_delivery_is_kept_as_it_came(inbox: Inbox) -> None:
    event = b'{ "data" : {"n":9007199254740993,"f":1.0,"z":"\\u0000"},"type":"t","id":"\\u0000","source":"/s", "traceid":""}'
    assert deliver(inbox, event) == 1
    assert kept(inbox) == [event]


def test_an_event_delivered_again_is_kept_once(inbox: Inbox) -> None:
    assert deliver(inbox, wire(1), wire(2), stranger("a")) == 3
    assert deliver(inbox, wire(2), wire(3), stranger("a")) == 1
    assert kept(inbox) == [wire(1), wire(2), stranger("a"), wire(3)]


def test_an_event_twice_in_one_delivery_is_kept_once(inbox: Inbox) -> None:
    assert deliver(inbox, stranger("a"), wire(1), stranger("a"), wire(1)) == 2
    assert kept(inbox) == [stranger("a"), wire(1)]


def test_the_same_id_of_two_sources_is_two_events(inbox: Inbox) -> None:
    assert deliver(inbox, stranger("a", "/x"), stranger("a", "/y")) == 2


def test_the_same_event_on_two_topics_is_kept_on_both(inbox: Inbox) -> None:
    assert deliver(inbox, stranger("a")) == 1
    assert inbox.append("other", arrived([stranger("a")])) == 1


def test_what_is_no_event_is_kept_too_and_once(inbox: Inbox) -> None:
    garbage = [b"", b"no json", b"\xff\xfe", b'{"id":"1"}', b"[" * 5000]
    assert deliver(inbox, *garbage, b"no json") == len(garbage)
    assert deliver(inbox, *garbage) == 0
    assert kept(inbox) == garbage


def test_nothing_delivered_is_nothing_kept(inbox: Inbox) -> None:
    assert deliver(inbox) == 0
    assert inbox.extent(TOPIC).last is None


def test_a_delivery_of_thousands_is_kept_whole(inbox: Inbox) -> None:
    wires = [wire(number) for number in range(1, 3001)]
    assert deliver(inbox, *wires) == 3000
    assert deliver(inbox, *wires, wire(3001)) == 1
    assert len(kept(inbox)) == 3001


def test_what_was_trimmed_is_not_remembered_and_its_positions_are_not_given_again(inbox: Inbox) -> None:
    deliver(inbox, wire(1), wire(2))
    inbox.trim(TOPIC, "1")
    assert deliver(inbox, wire(1), wire(2)) == 1
    assert [entry.position for entry in inbox.read(TOPIC, None, 10)] == ["2", "3"]
    inbox.trim(TOPIC, "4711")
    assert inbox.extent(TOPIC).trimmed_to == "3"
    assert deliver(inbox, wire(4)) == 1
    assert [entry.position for entry in inbox.read(TOPIC, None, 10)] == ["4"]


# ── in order ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_delivery_is_sorted_by_the_count_of_each_producer(inbox: Inbox) -> None:
    deliver(inbox, wire(3), stranger("x"), wire(2, producer="b.1"), wire(1), b"garbage", wire(2), wire(1, producer="b.1"))
    assert kept(inbox) == [wire(1), stranger("x"), wire(1, producer="b.1"), wire(2), b"garbage", wire(3), wire(2, producer="b.1")]


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))))
def test_versions_that_come_in_any_order_are_applied_in_theirs(order: tuple[int, ...]) -> None:
    inbox = MemoryInbox()
    reader = Reader(inbox)
    for number in order:  # a delivery each: nothing can be sorted
        deliver(inbox, wire(number, version=number))
        reader.projector.catch_up()
    assert reader.hits() == {"/": "web.1-1 web.1-2 web.1-3"}
    assert parked_events(reader.generation) == []


def test_the_projector_follows_it_and_what_is_no_event_is_a_dead_letter(inbox: Inbox) -> None:
    reader = Reader(inbox)
    deliver(inbox, wire(2, version=2), b"garbage", wire(1, version=1))
    assert reader.hits() == {"/": "web.1-1 web.1-2"}
    deliver(inbox, wire(1, version=1), b"garbage", wire(3, version=3), wire(1, page="/a", producer="b.1"))
    assert reader.hits() == {"/": "web.1-1 web.1-2 web.1-3", "/a": "b.1-1"}
    assert [(parked.reason, parked.wire) for parked in parked_events(reader.generation)] == [("unreadable-entry", b"garbage")]


def test_in_an_inbox_that_began_late_the_first_version_it_has_is_the_beginning(late_inbox: Inbox) -> None:
    reader = Reader(late_inbox)
    deliver(late_inbox, wire(8, version=5), wire(9, version=6))
    deliver(late_inbox, wire(11, version=8))
    assert reader.hits() == {"/": "web.1-8 web.1-9"}
    (waiting,) = parked_events(reader.generation)
    assert (waiting.reason, waiting.streamversion) == ("waiting", 8)
    with reader.generation.snapshot() as rows:
        assert rows.read(CHECKPOINTS, [(TOPIC,)])[TOPIC,].began_after == "0"
    assert late_inbox.extent(TOPIC).trimmed_to is None


def test_in_an_inbox_that_began_at_the_beginning_it_waits(inbox: Inbox) -> None:
    reader = Reader(inbox)
    deliver(inbox, wire(8, version=5))
    assert reader.hits() == {}
    assert [parked.reason for parked in parked_events(reader.generation)] == ["waiting"]
