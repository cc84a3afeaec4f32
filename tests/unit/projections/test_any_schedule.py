"""Every projection under random schedules of faults: the read model is the fold of what happened."""

import hypothesis.strategies as st
import pytest

import events
from events.assets import AssetChanged, AssetDeleted, AssetDiscovered, AssetMoved, AssetTagged, AssetUntagged, asset_stream
from events.orders import LineAdded, LineRemoved, OrderCancelled, OrderLine, OrderPaid, OrderPlaced, OrderShipped, order_stream
from events.shipments import ShipmentRefused, shipment_stream
from events.votes import VoteCast, vote_stream
from projections.activity.projection import Activity
from projections.asset_catalog.projection import AssetCatalog
from projections.order_book.projection import OrderBook
from projections.tally.projection import Tally
from services.shipping.due import Shipping
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
TEA, POT = OrderLine(1, "tea", 3, 450), OrderLine(2, "pot", 1, 2500)
PAYMENTS = [OrderPaid(1350, "EUR", "p", f"2026-11-2{day}T00:00:00Z") for day in range(2)]
STEPS = (LineAdded(POT), LineRemoved(1), *PAYMENTS, OrderShipped("post", "1"), OrderCancelled("no"))


def life_of_order(number: int) -> st.SearchStrategy[list[Happened]]:
    """An order is placed, and then anything may become of it: a rule that has no place for it parks it."""
    order = f"019aa1b2-0000-7000-8000-00000000000{number}"
    placed = OrderPlaced("ada", "EUR", (TEA,))
    refused = happened(ShipmentRefused(order, "c", "d"), subject=shipment_stream(order))
    steps = st.lists(st.sampled_from(STEPS), max_size=4)
    lives = steps.map(lambda some: [happened(each, subject=order_stream(order)) for each in (placed, *some)])
    return st.tuples(lives, st.booleans()).map(lambda found: [*found[0], refused] if found[1] else found[0])


ORDERS = st.tuples(life_of_order(1), life_of_order(2)).map(lambda lives: [event for life in lives for event in life])
HISTORIES = {
    "order_book": (OrderBook(), ORDERS),
    "shipping": (Shipping(), ORDERS),
    "tally": (Tally(), st.lists(st.one_of(VOTES, GARBAGE), max_size=12)),
    "asset_catalog": (AssetCatalog(), LIVES),
    "activity": (Activity(), st.lists(st.one_of(VOTES, STRANGERS, GARBAGE), max_size=12)),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_it_survives_any_schedule(name: str) -> None:
    projection, histories = HISTORIES[name]
    assert isinstance(projection, Projection)
    survives_any_schedule(projection, events.registry(), histories, count=SCHEDULES)
