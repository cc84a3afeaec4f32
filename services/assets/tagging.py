"""Tags: the aggregate of one asset decides. Scans write to the same stream; what they found is what tags are given to. Pure."""

from collections.abc import Iterable
from typing import Final

import msgspec

from events.assets import CATEGORY, AssetDeleted, AssetEvent, AssetTagged, AssetUntagged
from sidestream.aggregate import Aggregate
from sidestream.errors import UnknownAggregate


class Asset(msgspec.Struct, frozen=True):
    """What the events of one asset amount to, as far as tags are concerned."""

    exists: bool = False
    tags: frozenset[str] = frozenset()


class Tag(msgspec.Struct, frozen=True):
    """Give a tag; again is the same."""

    word: str


class Untag(msgspec.Struct, frozen=True):
    """Take a tag away; one that is not there is no error."""

    word: str


TagCommand = Tag | Untag


def evolve(asset: Asset, event: AssetEvent) -> Asset:
    """Return the asset after one more event."""
    match event:
        case AssetTagged(tag):
            return Asset(asset.exists, asset.tags | {tag})
        case AssetUntagged(tag):
            return Asset(asset.exists, asset.tags - {tag})
        case AssetDeleted():
            return Asset(exists=False, tags=asset.tags)
        case _:
            return Asset(exists=True, tags=asset.tags)


def decide(command: TagCommand, asset: Asset) -> Iterable[AssetEvent]:
    """Return what the command records; nothing where it is so already.

    Raises:
        UnknownAggregate: there is no such asset, or it was deleted.
    """
    if not asset.exists:
        raise UnknownAggregate(
            "no-such-asset", "There is no such asset, or it was deleted. The catalogue, `GET /assets`, lists what there is."
        )
    match command:
        case Tag(word):
            return () if word in asset.tags else (AssetTagged(word),)
        case Untag(word):
            return (AssetUntagged(word),) if word in asset.tags else ()


ASSET: Final = Aggregate[Asset, TagCommand, AssetEvent](category=CATEGORY.name, initial=Asset(), decide=decide, evolve=evolve)
