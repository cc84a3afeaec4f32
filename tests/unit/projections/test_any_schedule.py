"""Every projection under random schedules of faults: the read model is the fold of what happened."""

import hypothesis.strategies as st
import pytest

import events
from events.assets import AssetChanged, AssetDeleted, AssetDiscovered, AssetMoved, AssetTagged, AssetUntagged, asset_stream
from events.votes import VoteCast, vote_stream
from projections.activity.projection import Activity
from projections.asset_catalog.projection import AssetCatalog
from projections.tally.projection import Tally
from sidestream.projection import Projection
from sidestream.testing import Happened, happened, stranger, survives_any_schedule

SCHEDULES = 40

VOTES = st.builds(
    lambda poll, option, voter: happened(VoteCast(poll, option, voter), subject=vote_stream(poll, voter)),
    *(st.sampled_from(names) for names in (("tea", "day"), ("yes", "no"), ("ann", "bob", "cid"))),
)
STRANGERS = st.builds(
    lambda topic, number: stranger(topic, b'{"specversion":"1.0","id":"%d","source":"/curl","type":"thing.happened"}' % number),
    st.sampled_from(["external", "votes"]),
    st.integers(1, 5),
)
GARBAGE = st.builds(stranger, st.sampled_from(["external", "votes", "assets"]), st.sampled_from([b"", b"no event"]))
CHANGES = (
    AssetChanged("a", 7, 2, "text/plain", "bb", "scan-2"),
    AssetMoved("a", "b", 7, 2, "text/plain", "bb", "scan-2"),
    AssetTagged("red"),
    AssetUntagged("red"),
    AssetDeleted("a", 7, "bb", "scan-3"),
)


def life_of(asset: str) -> st.SearchStrategy[list[Happened]]:
    """An asset is discovered, and then anything may become of it."""
    changes = st.lists(st.sampled_from(CHANGES), max_size=4)
    discovered = AssetDiscovered(f"{asset}.txt", 5, 1, "text/plain", "aa", "scan-1")
    return changes.map(lambda some: [happened(each, subject=asset_stream(asset)) for each in (discovered, *some)])


LIVES = st.tuples(life_of("1"), life_of("2"), life_of("3")).map(lambda lives: [event for life in lives for event in life])
HISTORIES = {
    "tally": (Tally(), st.lists(st.one_of(VOTES, GARBAGE), max_size=12)),
    "asset_catalog": (AssetCatalog(), LIVES),
    "activity": (Activity(), st.lists(st.one_of(VOTES, STRANGERS, GARBAGE), max_size=12)),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_it_survives_any_schedule(name: str) -> None:
    projection, histories = HISTORIES[name]
    assert isinstance(projection, Projection)
    survives_any_schedule(projection, events.registry(), histories, count=SCHEDULES)
