"""Intervals behave like a set of numbers, whatever the order they are added in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.applying.intervals import Intervals
from sidestream.errors import ReadModelError


@given(st.lists(st.integers(1, 60)))
def test_intervals_hold_exactly_what_was_added(numbers: list[int]) -> None:
    intervals = Intervals()
    for number in numbers:
        intervals.add(number)
    assert [number for number in range(70) if number in intervals] == sorted(set(numbers))
    assert intervals.highest == max(numbers, default=0)
    assert len(intervals) == len(set(numbers))
    assert str(Intervals.parse(str(intervals))) == str(intervals)


@given(st.sets(st.integers(1, 40)), st.sets(st.integers(1, 40)))
def test_what_another_set_lacks_is_found(one: set[int], other: set[int]) -> None:
    left, right = Intervals(), Intervals()
    for numbers, intervals in ((one, left), (other, right)):
        for number in numbers:
            intervals.add(number)
    missing = left.without(right)
    assert [number for number in range(50) if number in missing] == sorted(one - other)
    assert len(missing) == len(one - other)


@given(st.sets(st.integers(1, 60)))
def test_neighbours_are_one_interval(numbers: set[int]) -> None:
    intervals = Intervals()
    for number in numbers:
        intervals.add(number)
    begins = [number for number in numbers if number - 1 not in numbers]
    assert len(str(intervals).split(",")) == max(len(begins), 1)


def test_a_gapless_count_is_one_interval() -> None:
    intervals = Intervals()
    for number in range(1, 10_001):
        intervals.add(number)
    assert str(intervals) == "1-10000"


@pytest.mark.parametrize("text", ["1", "a-b", "1-2-3", "1-,2-3", "-5"])
def test_what_is_no_list_of_intervals_is_refused(text: str) -> None:
    with pytest.raises(ReadModelError, match="intervals: expected"):
        Intervals.parse(text)
