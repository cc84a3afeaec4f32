"""Tags: given these events of an asset, when this is asked, then that is recorded."""

import pytest

from events.assets import AssetChanged, AssetDeleted, AssetDiscovered, AssetEvent, AssetTagged, AssetUntagged
from services.assets.tagging import ASSET, Asset, Tag, TagCommand, Untag
from sidestream.testing import AggregateSpecification

DISCOVERED = AssetDiscovered("/a", 1, 0, "text/plain", "0" * 64, "s")
CHANGED = AssetChanged("/a", 2, 1, "text/plain", "1" * 64, "s")
DELETED = AssetDeleted("/a", 1, "0" * 64, "s")


def asset(*events: AssetEvent) -> AggregateSpecification[Asset, TagCommand, AssetEvent]:
    return AggregateSpecification(ASSET).given(*events)


def test_a_tag_is_given_once() -> None:
    asset(DISCOVERED).when(Tag("red")).then(AssetTagged("red"))
    asset(DISCOVERED, AssetTagged("red")).when(Tag("red")).then()


def test_a_tag_that_was_taken_away_can_be_given_again() -> None:
    asset(DISCOVERED, AssetTagged("red"), AssetUntagged("red")).when(Tag("red")).then(AssetTagged("red"))


def test_only_a_tag_that_is_there_is_taken_away() -> None:
    asset(DISCOVERED, AssetTagged("red")).when(Untag("red")).then(AssetUntagged("red"))
    asset(DISCOVERED, AssetTagged("blue")).when(Untag("red")).then()


def test_tags_stay_when_the_file_changes() -> None:
    asset(DISCOVERED, AssetTagged("red"), CHANGED).then_state(Asset(exists=True, tags=frozenset({"red"})))


@pytest.mark.parametrize("history", [(), (DISCOVERED, DELETED), (DISCOVERED, AssetTagged("red"), DELETED)])
@pytest.mark.parametrize("command", [Tag("red"), Untag("red")])
def test_an_asset_that_is_not_there_takes_no_tag(history: tuple[AssetEvent, ...], command: TagCommand) -> None:
    asset(*history).when(command).then_refused("no-such-asset")
