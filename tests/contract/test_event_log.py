"""The promises of the event log port, kept by every adapter: memory is the specification; brokers, inboxes, event stores do the same."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from sidestream.adapters.memory_log import MemoryLog
from sidestream.ports import ReadsAhead
from tests.brokers.chosen import with_a_log
from tests.brokers.written import open_written
from tests.contract.inboxes import ADAPTERS, WrittenInbox
from tests.contract.logs import DATA_AS_IT_CAME, EVENTS, Written, data, positions
from tests.contract.store_logs import STORES, WrittenStore


class InMemory:
    def __init__(self) -> None:
        self.log = MemoryLog()
        self.record = self.log.record
        self.trim = self.log.trim
        self.flush = self.log.flush


TRIMMED = ("memory", "redis", *with_a_log(), *(f"inbox in {adapter}" for adapter in ADAPTERS))


"""Logs that somebody may trim; an event store forgets nothing."""


@pytest.fixture(params=[*TRIMMED, *(f"store in {adapter}" for adapter in STORES)])
def written(request: pytest.FixtureRequest) -> Iterator[Written]:
    yield from _written(request)


@pytest.fixture(params=TRIMMED)
def trimmed(request: pytest.FixtureRequest) -> Iterator[Written]:
    yield from _written(request)


def _written(request: pytest.FixtureRequest) -> Iterator[Written]:
    if request.param.startswith("store in "):
        kept = WrittenStore(request.param.removeprefix("store in "), request)
        yield kept
        kept.log.close()
        return
    if request.param.startswith("inbox in "):
        inbox = WrittenInbox(request.param.removeprefix("inbox in "), request)
        yield inbox
        inbox.log.close()
        return
    if request.param == "memory":
        yield InMemory()
        return
    if request.param in with_a_log():
        on_broker = open_written(request.param, request.getfixturevalue("broker_server")(request.param).address)
        yield on_broker
        on_broker.close()
        return
    found: Written = request.getfixturevalue("in_redis")
    yield found


# ── promises ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_topic_nobody_has_written_to_is_an_empty_one(written: Written) -> None:
    assert list(written.log.read("votes", None, 10)) == []
    assert list(written.log.read_back("votes", None, 10)) == []
    extent = written.log.extent("votes")
    assert (extent.first, extent.last, extent.trimmed_to, extent.length) == (None, None, None, 0)


def test_events_are_read_in_recorded_order(written: Written) -> None:
    written.record("votes", EVENTS)
    assert data(written.log.read("votes", None, 1000)) == EVENTS


def test_no_more_than_the_limit_is_read(written: Written) -> None:
    written.record("votes", EVENTS)
    assert data(written.log.read("votes", None, 7)) == EVENTS[:7]
    assert data(written.log.read_back("votes", None, 7)) == EVENTS[:-8:-1]
    assert list(written.log.read("votes", None, 0)) == []


def test_reading_from_a_position_includes_it(written: Written) -> None:
    written.record("votes", EVENTS)
    third = positions(written)[2]
    assert data(written.log.read("votes", third, 3)) == EVENTS[2:5]


def test_reading_back_from_a_position_leaves_it_out(written: Written) -> None:
    written.record("votes", EVENTS)
    third = positions(written)[2]
    assert data(written.log.read_back("votes", third, 10)) == [EVENTS[1], EVENTS[0]]


def test_reading_on_page_by_page_meets_every_event_once(written: Written) -> None:
    written.record("votes", EVENTS)
    found = list(written.log.read("votes", None, 4))
    while page := written.log.read("votes", found[-1].position, 5)[1:]:
        found += page
    assert data(found) == EVENTS


def test_reading_back_page_by_page_meets_every_event_once(written: Written) -> None:
    written.record("votes", EVENTS)
    found = list(written.log.read_back("votes", None, 4))
    while page := written.log.read_back("votes", found[-1].position, 4):
        found += page
    assert data(found) == EVENTS[::-1]


def test_at_the_end_only_the_last_event_is_read_until_another_is_recorded(written: Written) -> None:
    written.record("votes", EVENTS[:3])
    last = positions(written)[-1]
    assert data(written.log.read("votes", last, 10)) == [EVENTS[2]]
    written.record("votes", EVENTS[3:4])
    assert data(written.log.read("votes", last, 10)) == EVENTS[2:4]


def test_topics_do_not_mix(written: Written) -> None:
    written.record("votes", EVENTS[:2])
    written.record("orders.0", EVENTS[2:5])
    assert data(written.log.read("votes", None, 10)) == EVENTS[:2]
    assert data(written.log.read("orders.0", None, 10)) == EVENTS[2:5]
    assert written.log.extent("orders.0").length == 3


def test_data_comes_as_it_went_in(written: Written) -> None:
    written.record("votes", DATA_AS_IT_CAME)
    assert data(written.log.read("votes", None, 100)) == DATA_AS_IT_CAME


def test_an_entry_says_when_it_was_recorded(written: Written) -> None:
    before = time.time_ns() // 1_000_000
    written.record("votes", EVENTS[:1])
    assert before <= written.log.read("votes", None, 1)[0].recorded_ms <= time.time_ns() // 1_000_000


def test_the_extent_names_both_ends(written: Written) -> None:
    written.record("votes", EVENTS)
    extent = written.log.extent("votes")
    assert (extent.first, extent.last) == (positions(written)[0], positions(written)[-1])
    assert (extent.length, extent.trimmed_to) == (25, None)


def test_positions_are_compared_as_numbers(written: Written) -> None:
    written.record("votes", EVENTS)
    found = positions(written)
    for left, right in pairwise(found):
        assert written.log.compare(left, right) < 0 < written.log.compare(right, left)
        assert written.log.compare(left, left) == 0


def test_after_a_trim_the_rest_is_read_and_the_extent_says_what_is_gone(trimmed: Written) -> None:
    trimmed.record("votes", EVENTS)
    found = positions(trimmed)
    trimmed.trim("votes", found[9])
    assert data(trimmed.log.read("votes", None, 100)) == EVENTS[10:]
    assert data(trimmed.log.read("votes", found[3], 100)) == EVENTS[10:]
    assert data(trimmed.log.read_back("votes", None, 100)) == EVENTS[:9:-1]
    extent = trimmed.log.extent("votes")
    assert (extent.first, extent.last, extent.length) == (found[10], found[-1], 15)
    assert extent.trimmed_to is not None
    assert trimmed.log.compare(found[9], extent.trimmed_to) <= 0 < trimmed.log.compare(found[10], extent.trimmed_to)


def test_a_log_trimmed_to_nothing_still_knows_how_far_it_had_come(trimmed: Written) -> None:
    trimmed.record("votes", EVENTS)
    last = positions(trimmed)[-1]
    trimmed.trim("votes", last)
    extent = trimmed.log.extent("votes")
    assert (extent.first, extent.last, extent.length, extent.trimmed_to) == (None, None, 0, last)
    assert list(trimmed.log.read("votes", last, 10)) == []


def test_a_flushed_topic_is_another_log_of_which_nothing_was_trimmed(written: Written) -> None:
    written.record("votes", EVENTS)
    written.flush("votes")
    assert written.log.extent("votes").trimmed_to is None
    written.record("votes", EVENTS[:1])
    assert data(written.log.read("votes", None, 10)) == EVENTS[:1]
    assert written.log.extent("votes").trimmed_to is None


def test_many_threads_read_at_once(written: Written) -> None:
    written.record("votes", EVENTS)
    with ThreadPoolExecutor(8) as threads:
        found = [threads.submit(lambda: data(written.log.read("votes", None, 100))) for _ in range(200)]
        assert all(each.result() == EVENTS for each in found)


def test_what_was_announced_is_read_as_it_stands_now(written: Written) -> None:
    if not isinstance(written.log, ReadsAhead):
        return  # it may do nothing, and most do not even have the verb
    written.record("t", EVENTS[:3])
    for _ in range(20):  # more than it keeps: the others are read as if nothing had been announced
        for limit in range(1, 6):
            written.log.announce("t", None, limit)
    written.record("t", EVENTS[3:5])
    for limit in range(1, 6):
        assert [entry.data for entry in written.log.read("t", None, limit)] == EVENTS[:limit]
        assert [entry.data for entry in written.log.read("t", None, limit)] == EVENTS[:limit]
