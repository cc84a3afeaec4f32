"""Reading several topics of a log in recorded order, forwards and backwards, with bounds and filters."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.adapters.memory_log import MemoryLog
from sidestream.logs.finding import PAGE, Standing, Stretch, Wanted, as_found, entries_from, matching, newest_first, recorded_order
from sidestream.logs.following import Follower
from sidestream.ports import LogEntry

TOPICS = ("a", "b", "c")


def wire(number: int, **attributes: Any) -> bytes:
    return json.dumps({"specversion": "1.0", "id": str(number), "source": "/s", "type": "t", **attributes}).encode()


class Clock:
    """The log's clock, set by the test."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


def a_log(*recorded: tuple[str, int]) -> MemoryLog:
    """One entry for each (topic, time), in the order given."""
    clock = Clock()
    log = MemoryLog(clock)
    for number, (topic, milliseconds) in enumerate(recorded):
        clock.now = milliseconds
        log.record(topic, [wire(number)])
    return log


def places(standings: Iterator[Standing]) -> list[tuple[str, str]]:
    return [(topic, entry.position) for topic, entry in standings]


def test_topics_are_merged_by_the_time_they_were_recorded() -> None:
    log = a_log(("a", 10), ("b", 20), ("a", 30), ("c", 30), ("b", 40))
    assert places(recorded_order(log, TOPICS)) == [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1"), ("b", "2")]


def test_a_topic_keeps_its_order_where_the_clock_of_its_log_goes_back() -> None:
    log = a_log(("a", 30), ("a", 10), ("a", 20))
    assert places(recorded_order(log, ["a"])) == [("a", "1"), ("a", "2"), ("a", "3")]


@pytest.mark.parametrize("length", [0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE - 1, 2 * PAGE, 3 * PAGE])
def test_every_entry_comes_once_whatever_a_page_holds(length: int) -> None:
    log = MemoryLog(Clock())
    log.record("a", [wire(number) for number in range(length)])
    expected = [str(at + 1) for at in range(length)]
    assert [entry.position for entry in entries_from(log, "a", None)] == expected
    assert [entry.position for _, entry in newest_first(log, ["a"])] == expected[::-1]


RECORDED = st.lists(st.tuples(st.sampled_from(TOPICS), st.integers(0, 20)), max_size=30)
BOUND = st.none() | st.integers(-1, 21)


@given(RECORDED, BOUND, BOUND)
def test_backwards_is_forwards_turned_round(recorded: list[tuple[str, int]], since: int | None, until: int | None) -> None:
    log = a_log(*sorted(recorded, key=lambda each: each[1]))
    stretch = Stretch(since_ms=since, until_ms=until)
    forwards = places(recorded_order(log, TOPICS, stretch))
    assert places(newest_first(log, TOPICS, stretch)) == forwards[::-1]
    expected = sum((since is None or at >= since) and (until is None or at <= until) for _, at in recorded)
    assert len(forwards) == expected


BOTH_WAYS = [recorded_order, lambda *given: reversed(list(newest_first(*given)))]


@pytest.mark.parametrize("read", BOTH_WAYS)
def test_positions_bound_their_own_topic_only(read: Callable[..., Iterator[Standing]]) -> None:
    log = a_log(*((topic, at) for at in range(5) for topic in ("a", "b")))
    assert places(read(log, ["a"], Stretch(since={"a": "2"}, until={"a": "4"}))) == [("a", "2"), ("a", "3"), ("a", "4")]
    assert places(read(log, ["a"], Stretch(after={"a": "2"}))) == [("a", "3"), ("a", "4"), ("a", "5")]
    assert places(read(log, ["a"], Stretch(until={"a": None}))) == []
    others = [place for place in places(read(log, ["a", "b"], Stretch(since={"a": "5"}))) if place[0] == "b"]
    assert len(others) == 5


class SeekingLog(MemoryLog):
    """A log that knows where a time begins, and remembers from where it was read."""

    read_from: str | None = "never"

    def position_at(self, topic: str, recorded_ms: int) -> str:
        return str(max(recorded_ms, 1))

    def read(self, topic: str, start: str | None, limit: int) -> Sequence[LogEntry]:
        self.read_from = start
        return super().read(topic, start, limit)


@pytest.mark.parametrize(
    ("stretch", "begin", "expected"),
    [
        (Stretch(since_ms=3), "3", ["3", "4"]),
        (Stretch(since_ms=-5), "1", ["1", "2", "3", "4"]),
        (Stretch(since_ms=9), "9", []),
        (Stretch(since_ms=2, after={"a": "3"}), "3", ["4"]),
        (Stretch(since_ms=4, since={"a": "2"}), "2", ["4"]),
        (Stretch(), None, ["1", "2", "3", "4"]),
    ],
)
def test_a_log_that_knows_where_a_time_begins_is_read_from_there(stretch: Stretch, begin: str | None, expected: list[str]) -> None:
    clock = Clock()
    log = SeekingLog(clock)
    for clock.now in range(1, 5):
        log.record("a", [wire(clock.now)])
    assert log.read_from == "never"
    standing = recorded_order(log, ["a"], stretch)
    first = next(standing, None)
    assert log.read_from == begin
    assert [entry.position for _, entry in ([first] if first else []) + list(standing)] == expected


def test_behind_a_position_that_was_trimmed_comes_what_is_left() -> None:
    log = a_log(*(("a", at) for at in range(6)))
    log.trim("a", "4")
    assert places(recorded_order(log, ["a"], Stretch(after={"a": "2"}))) == [("a", "5"), ("a", "6")]


def standings(*wires: bytes) -> list[Standing]:
    return [("a", LogEntry(str(at + 1), each, at)) for at, each in enumerate(wires)]


def found(wires: Sequence[bytes], **wanted: Any) -> list[str]:
    return [each.entry.position for each in matching(standings(*wires), Wanted(**wanted))]


def test_filters_are_all_to_hold() -> None:
    wires = [
        wire(1, type="x", subject="s-1", correlationid="k"),
        wire(2, type="y", subject="s-1"),
        wire(3, type="z", subject="s-2", source="/other"),
    ]
    assert found(wires, types=frozenset({"x", "z"})) == ["1", "3"]
    assert found(wires, stream="s-1") == ["1", "2"]
    assert found(wires, stream="s-1", types=frozenset({"y"})) == ["2"]
    assert found(wires, source="/other") == ["3"]
    assert found(wires, correlation="k") == ["1"]
    assert found(wires) == ["1", "2", "3"]


def test_an_entry_that_is_no_event_is_found_where_nothing_is_asked_of_it() -> None:
    wires = [b"no event", wire(1)]
    assert found(wires) == ["1", "2"]
    assert found(wires, types=frozenset({"t"})) == ["2"]
    assert "expected a CloudEvent" in as_found(standings(*wires)[0]).problem


# ── following ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_follower_gives_what_comes_after_it_was_made_each_once() -> None:
    log = a_log(("a", 1), ("b", 2))
    follower = Follower(log, TOPICS)
    assert places(follower.fresh()) == []
    log.record("a", [wire(7)])
    log.record("c", [wire(8)])
    assert sorted(places(follower.fresh())) == [("a", "2"), ("c", "1")]
    assert places(follower.fresh()) == []


def test_a_follower_that_was_broken_off_goes_on_behind_what_it_gave() -> None:
    log = a_log(*(("a", at) for at in range(4)))
    follower = Follower(log, ["a"], Stretch(since={"a": "2"}))
    assert next(follower.fresh())[1].position == "2"
    assert places(follower.fresh()) == [("a", "3"), ("a", "4")]


def test_a_topic_that_lost_its_end_is_given_from_its_beginning() -> None:
    log = a_log(*(("a", at) for at in range(4)))
    follower = Follower(log, ["a"])
    log.flush("a")
    assert places(follower.fresh()) == []
    log.record("a", [wire(9)])
    assert places(follower.fresh()) == [("a", "1")]
