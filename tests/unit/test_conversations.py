"""The tree of causes: who hangs below whom, with causes that are missing, doubled, or go in a circle."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sidestream.event import Envelope
from sidestream.logs.conversations import Told, belongs, conversation_of, depth_first, tree_of
from sidestream.logs.finding import Found
from sidestream.ports import LogEntry


def event(name: str, cause: str | None = None, *, source: str = "/s", at: int = 0, correlation: str | None = "k") -> Found:
    envelope = Envelope(id=name, source=source, type="t", causationid=cause, correlationid=correlation)
    return Found("topic", LogEntry(str(at), b"", at), envelope)


def shape(roots: Sequence[Told]) -> list[tuple[str, int]]:
    return [(each.event.id, each.depth) for each in depth_first(roots)]


def test_an_event_hangs_below_its_cause_and_sisters_stand_in_recorded_order() -> None:
    roots = tree_of([event("placed"), event("reserved", "placed"), event("paid", "reserved"), event("mailed", "placed")])
    assert shape(roots) == [("placed", 0), ("reserved", 1), ("paid", 2), ("mailed", 1)]


def test_an_event_recorded_before_its_cause_hangs_below_it_all_the_same() -> None:
    assert shape(tree_of([event("later", "first"), event("first")])) == [("first", 0), ("later", 1)]


def test_an_event_whose_cause_is_not_among_them_is_a_root() -> None:
    assert shape(tree_of([event("a", "a command"), event("b", "gone")])) == [("a", 0), ("b", 0)]


def test_an_event_that_was_recorded_twice_is_one_with_two_positions() -> None:
    (root,) = tree_of([event("a", at=1), event("b", "a", at=2), event("a", at=3)])
    assert (root.positions, root.recorded_ms) == (["1", "3"], 1)
    assert [each.event.id for each in root.consequences] == ["b"]


def test_the_same_id_of_two_sources_is_two_events() -> None:
    assert shape(tree_of([event("a", source="/one"), event("a", source="/two"), event("b", "a")])) == [("a", 0), ("b", 1), ("a", 0)]


def test_a_circle_is_cut_at_the_event_that_was_recorded_first() -> None:
    assert shape(tree_of([event("c", "b"), event("a", "c"), event("b", "a")])) == [("c", 0), ("a", 1), ("b", 2)]
    assert shape(tree_of([event("x", "y"), event("y", "z"), event("z", "y")])) == [("y", 0), ("x", 1), ("z", 1)]


def test_an_event_that_names_itself_is_a_root() -> None:
    assert shape(tree_of([event("a", "a")])) == [("a", 0)]


def test_a_chain_may_be_very_long() -> None:
    chain = [event("0"), *(event(str(at), str(at - 1)) for at in range(1, 20_000))]
    assert [each.depth for each in depth_first(tree_of(chain))] == list(range(20_000))


IDS = st.sampled_from("abcdefgh")


@given(st.lists(st.tuples(IDS, st.none() | IDS), max_size=20))
def test_whatever_the_causes_every_event_stands_in_the_tree_once(given_: list[tuple[str, str | None]]) -> None:
    shown = shape(tree_of([event(name, cause) for name, cause in given_]))
    assert sorted(name for name, _ in shown) == sorted({name for name, _ in given_})
    assert all(depth <= before + 1 for (_, before), (_, depth) in pairwise(shown))


def test_entries_that_are_no_events_belong_to_no_conversation() -> None:
    nothing = Found("topic", LogEntry("1", b"", 1), None, "no event")
    assert not belongs(nothing, "k")
    assert tree_of([nothing]) == ()


def test_a_conversation_is_named_by_its_correlation_or_by_the_event_that_began_it() -> None:
    assert belongs(event("a"), "k")
    assert belongs(event("began it", correlation=None), "began it")
    assert not belongs(event("a", correlation="other"), "k")
    assert (
        conversation_of(Envelope(id="i", source="s", type="t", correlationid="k")),
        conversation_of(Envelope(id="i", source="s", type="t")),
    ) == ("k", "i")
