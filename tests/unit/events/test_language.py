"""The language as a whole: names, topics, streams."""

from hypothesis import given
from hypothesis import strategies as st

from events import assets, bridge, orders, registry, scans, shipments, votes


def test_every_category_has_its_topic() -> None:
    assert registry().topics == ("votes", "assets", "scans", "orders", "shipments", "external")


def test_a_category_is_named_as_the_first_word_of_its_types() -> None:
    for category in (votes.CATEGORY, assets.CATEGORY, scans.CATEGORY, orders.CATEGORY, shipments.CATEGORY):
        assert {event_type.name.partition(".")[0] for event_type in category.types} == {category.name}


def test_the_bridge_declares_nothing_of_what_it_carries() -> None:
    assert bridge.CATEGORY.types == ()


def test_only_votes_may_overtake_each_other() -> None:
    unordered = {event_type.name for category in registry().categories for event_type in category.types if not event_type.ordered}

    assert unordered == {"vote.cast"}


def test_a_vote_is_its_own_stream_whatever_stands_in_its_names() -> None:
    assert votes.vote_stream("ab", "c") != votes.vote_stream("a", "bc")
    assert votes.vote_stream('a","b', "c") != votes.vote_stream("a", 'b","c')
    assert votes.vote_stream("a", "b") == votes.vote_stream("a", "b")


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(names, names, names, names)
def test_two_votes_share_a_stream_only_if_poll_and_voter_are_the_same(poll: str, voter: str, other_poll: str, other_voter: str) -> None:
    same = votes.vote_stream(poll, voter) == votes.vote_stream(other_poll, other_voter)

    assert same == ((poll, voter) == (other_poll, other_voter))
