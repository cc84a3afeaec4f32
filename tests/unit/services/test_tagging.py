"""Tags: given these events of an asset, when this is asked, then that is recorded."""

from collections.abc import Sequence

import pytest

from events import registry
from events.assets import AssetDeleted, AssetDiscovered, AssetEvent, AssetTagged, AssetUntagged
from services.assets.tagging import TRIES, Asset, Tagger, UnknownAsset, evolve, tag, untag
from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.errors import WrongExpectedVersion
from sidestream.identifiers import new_id, now
from sidestream.ports import Append, StoredEvent

DISCOVERED = AssetDiscovered("/a", 1, 0, "text/plain", "0" * 64, "s")
DELETED = AssetDeleted("/a", 1, "0" * 64, "s")


def given(*events: AssetEvent) -> Asset:
    asset = Asset()
    for event in events:
        asset = evolve(asset, event)
    return asset


def test_a_tag_is_given_once() -> None:
    assert list(tag(given(DISCOVERED), "red")) == [AssetTagged("red")]
    assert list(tag(given(DISCOVERED, AssetTagged("red")), "red")) == []


def test_a_tag_that_was_taken_away_can_be_given_again() -> None:
    assert list(tag(given(DISCOVERED, AssetTagged("red"), AssetUntagged("red")), "red")) == [AssetTagged("red")]


def test_only_a_tag_that_is_there_is_taken_away() -> None:
    assert list(untag(given(DISCOVERED, AssetTagged("red")), "red")) == [AssetUntagged("red")]
    assert list(untag(given(DISCOVERED, AssetTagged("blue")), "red")) == []


def test_a_deleted_asset_does_not_exist() -> None:
    assert not given(DISCOVERED, DELETED).exists
    assert not given().exists


# ── the append ───────────────────────────────────────────────────────────────────────────────────────────────────────


def append(store: MemoryEventStore, *events: AssetEvent) -> None:
    new = tuple(registry().new_event(event, id=new_id(), subject="asset-1", time=now()) for event in events)
    store.append([Append("asset-1", new)])


class StoreWithARival(MemoryEventStore):
    """Somebody else is faster, so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        append(self, DISCOVERED)

    def append(self, appends: Sequence[Append]) -> tuple[StoredEvent, ...]:
        if any(isinstance(each.expected, int) for each in appends) and self.times:
            self.times -= 1
            append(self, AssetTagged(f"rival {self.times}"))
        return super().append(appends)


def test_a_command_is_decided_anew_when_somebody_was_faster() -> None:
    store = StoreWithARival(times=TRIES - 1)
    outcome = Tagger(store, registry(), lambda: None).carry_out("1", tag, "red")

    assert outcome.changed
    assert outcome.newest.version == TRIES + 1


def test_a_command_gives_up_after_a_bounded_number_of_tries() -> None:
    with pytest.raises(WrongExpectedVersion):
        Tagger(StoreWithARival(times=TRIES), registry(), lambda: None).carry_out("1", tag, "red")


def test_the_same_command_by_a_rival_makes_ours_a_repeat() -> None:
    store = StoreWithARival(times=1)
    outcome = Tagger(store, registry(), lambda: None).carry_out("1", tag, "rival 0")

    assert not outcome.changed
    assert store.stream_version("asset-1") == 2


@pytest.mark.parametrize("events", [(), (DISCOVERED, DELETED)])
def test_an_asset_that_is_not_there_takes_no_tag(events: tuple[AssetEvent, ...]) -> None:
    store = MemoryEventStore()
    if events:
        append(store, *events)
    with pytest.raises(UnknownAsset):
        Tagger(store, registry(), lambda: None).carry_out("1", tag, "red")


def test_an_asset_with_more_events_than_a_page_is_read_whole() -> None:
    store = MemoryEventStore()
    append(store, DISCOVERED, *(event for _ in range(600) for event in (AssetTagged("red"), AssetUntagged("red"))))
    tagger = Tagger(store, registry(), lambda: None)

    assert not tagger.carry_out("1", untag, "red").changed
    assert tagger.carry_out("1", tag, "red").newest.version == 1202
