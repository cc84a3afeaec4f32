"""The specification of an aggregate fails where it should: a test that cannot fail proves nothing."""

from collections.abc import Sequence
from itertools import count

import msgspec
import pytest

from sidestream.aggregate import Aggregate
from sidestream.errors import CommandRefused
from sidestream.testing import AggregateSpecification


class Counter(msgspec.Struct, frozen=True):
    value: int = 0


class Added(msgspec.Struct, frozen=True):
    by: int


def decide(command: int, state: Counter) -> Sequence[Added]:
    if state.value + command > 10:
        raise CommandRefused("too-much", f"expected at most 10, found {state.value + command}")
    return [Added(command)] if command else []


def evolve(state: Counter, event: Added) -> Counter:
    return Counter(state.value + event.by)


COUNTER = Aggregate[Counter, int, Added]("counter", Counter(), decide, evolve)
SPECIFICATION = AggregateSpecification(COUNTER)


def test_what_is_right_passes() -> None:
    SPECIFICATION.given(Added(3)).when(4).then(Added(4))
    SPECIFICATION.given(Added(3)).when(0).then()
    SPECIFICATION.given(Added(7), Added(3)).when(1).then_refused("too-much")
    SPECIFICATION.given(Added(3)).when(4).then_state(Counter(7))
    SPECIFICATION.given(Added(9)).when(4).then_state(Counter(9))
    SPECIFICATION.given(Added(3)).then_state(Counter(3))


def test_other_events_fail() -> None:
    with pytest.raises(AssertionError, match=r"after \[Added\(by=3\)\], asked 4: expected \[Added\(by=5\)\], found \[Added\(by=4\)\]"):
        SPECIFICATION.given(Added(3)).when(4).then(Added(5))
    with pytest.raises(AssertionError, match="found it refused as too-much"):
        SPECIFICATION.when(11).then(Added(11))
    with pytest.raises(AssertionError, match=r"expected \[\]"):
        SPECIFICATION.when(1).then()


def test_another_refusal_or_none_fails() -> None:
    with pytest.raises(AssertionError, match="expected it refused as other, found it refused as too-much"):
        SPECIFICATION.when(11).then_refused("other")
    with pytest.raises(AssertionError, match=r"expected it refused as too-much, found \[Added"):
        SPECIFICATION.when(1).then_refused("too-much")


def test_another_state_fails() -> None:
    with pytest.raises(AssertionError, match=r"expected Counter\(value=2\), found Counter\(value=1\)"):
        SPECIFICATION.when(1).then_state(Counter(2))


def test_a_specification_that_asks_nothing_fails() -> None:
    with pytest.raises(AssertionError, match=r"Say \.when"):
        SPECIFICATION.given(Added(1)).then()


def test_a_rule_that_is_not_pure_is_found() -> None:
    numbers = count(1)
    impure = Aggregate[Counter, int, Added]("counter", Counter(), lambda command, state: [Added(next(numbers))], evolve)
    with pytest.raises(AssertionError, match="It must be pure"):
        AggregateSpecification(impure).when(1).then(Added(1))
