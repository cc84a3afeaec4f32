"""The specification itself: it must say yes to a good rule, and say what is wrong with a bad one."""

from typing import Any

import pytest

from sidestream.errors import ConfigurationError
from sidestream.event import Envelope
from sidestream.projection import Key, Projection, Rows, Table
from sidestream.testing import ProjectionSpecification, happened, stranger
from tests.unit.testing.site import NAMES, REGISTRY, VIEWS, LastSeen, Name, Remembering, Renamed, Seen, Site, Views


class Raises(Site):
    name = "raises"

    def evolve(self, rows: Rows, event: Any, envelope: Envelope) -> None:
        if envelope.id == "bad":
            raise ValueError("no such page")
        super().evolve(rows, event, envelope)


def site(projection: Projection | None = None) -> ProjectionSpecification:
    return ProjectionSpecification(projection or Site(), REGISTRY)


def seen(page: str, subject: str, **attributes: str) -> Any:
    return happened(Seen(page), subject=subject, **attributes)


def renamed(subject: str, *names: str) -> list[Any]:
    return [happened(Renamed(name), subject=subject) for name in names]


def test_the_rows_are_exactly_those_expected() -> None:
    site().given(seen("/", "view-1")).when(*renamed("user-1", "ann", "bea")).then(Views("/", 1), Name("user-1", "bea", 2))


def test_an_event_delivered_twice_is_counted_once() -> None:
    site().given(seen("/", "view-1")).when(seen("/", "view-2")).delivered(times=3).then(Views("/", 2))


@pytest.mark.parametrize("seed", range(25))
def test_shuffling_keeps_the_order_within_a_subject(seed: int) -> None:
    history = [*renamed("user-1", "a", "b", "c"), *renamed("user-2", "x", "y"), seen("/", "view-1"), seen("/", "view-2")]
    expected = Name("user-1", "c", 3), Name("user-2", "y", 2), Views("/", 2)
    site().given(*history[:2]).when(*history[2:]).delivered(times=2).shuffled(seed).then(*expected)


def test_shuffling_really_shuffles() -> None:
    history = [seen(str(page), f"view-{page}") for page in range(8)]
    with pytest.raises(AssertionError, match=r"last_seen, shuffled with seed 3, log: (?s:.*)expected 8, found"):
        site(LastSeen()).when(*history).shuffled(3).then(Views("last", 8))


def test_one_table_can_be_looked_at_alone() -> None:
    site().when(seen("/", "view-1"), *renamed("user-1", "ann")).then_in(VIEWS, Views("/", 1))


def test_rows_can_be_fetched_and_compared_with_a_value_worked_out_elsewhere() -> None:
    assert site().when(seen("/b", "view-1"), seen("/a", "view-2")).rows(VIEWS) == [Views("/a", 1), Views("/b", 1)]


def test_a_difference_names_table_key_column_and_the_log() -> None:
    with pytest.raises(AssertionError) as failed:
        site().when(seen("/", "view-1"), seen("/new", "view-2")).then(Views("/", 2), Views("/old", 1))
    assert str(failed.value).splitlines() == [
        "site, log: e-001 e-002:",
        "  views '/': views: expected 2, found 1",
        "  views '/new': expected no such row, found Views(page='/new', views=1)",
        "  views '/old': expected Views(page='/old', views=1), found no such row",
    ]


def test_a_rule_that_remembers_beside_its_rows_is_found_out_by_the_rebuild() -> None:
    with pytest.raises(AssertionError, match="a rebuild .* differs from live"):
        site(Remembering()).when(seen("/", "view-1")).then(Views("all", 1))


def test_an_event_that_the_rule_refuses_is_parked_and_named() -> None:
    specification = site(Raises()).when(seen("/", "view-1", id="good"), seen("/", "view-2", id="bad"))
    specification.then_parked("bad")
    with pytest.raises(AssertionError, match="bad .rule-failed.: ValueError: no such page"):
        specification.then(Views("/", 1))
    with pytest.raises(AssertionError, match="expected parked"):
        specification.then_parked("good")


def test_a_strangers_event_is_counted_by_source_and_id() -> None:
    wire = b'{"specversion":"1.0","id":"1","source":"elsewhere","type":"page.seen","data":{"page":"/"}}'
    site().when(stranger("views", wire), stranger("views", wire)).delivered(times=2).then(Views("/", 1))


def test_an_entry_that_cannot_be_read_is_parked_without_an_id() -> None:
    site().when(stranger("views", b"no event")).shuffled().then_parked("")


def test_a_row_of_no_table_is_a_mistake_in_the_specification() -> None:
    with pytest.raises(ConfigurationError, match="expected rows of Name, Views, found Seen"):
        site().when(seen("/", "view-1")).then(Seen("/"))


def test_a_specification_is_a_value_and_may_be_gone_on_with_twice() -> None:
    begun = site().given(seen("/", "view-1"))
    begun.when(seen("/", "view-2")).then(Views("/", 2))
    begun.then(Views("/", 1))


def test_attributes_reach_the_rule() -> None:
    class Correlated(Site):
        name = "correlated"

        def keys(self, event: Any, envelope: Envelope) -> list[tuple[Table[Any], Key]]:
            return []

        def evolve(self, rows: Rows, event: Any, envelope: Envelope) -> None:
            rows.put(NAMES, Name(envelope.correlationid or "", envelope.time or "", 0))

    event = happened(Seen("/"), subject="view-1", time="2026-02-03T04:05:06Z", correlationid="c-1")
    site(Correlated()).when(event).then(Name("c-1", "2026-02-03T04:05:06Z", 0))
