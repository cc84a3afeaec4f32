"""Tags: the aggregate of one asset decides, and the append with the expected version keeps two writers apart."""

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from events.assets import AssetDeleted, AssetEvent, AssetTagged, AssetUntagged, asset_stream
from sidestream.errors import WrongExpectedVersion
from sidestream.event import decode_event
from sidestream.identifiers import new_id, now
from sidestream.ports import Append, EventStore, StoredEvent
from sidestream.registry import Registry

TRIES: Final = 8
"""How often a command is decided anew because somebody else wrote first."""
_PAGE: Final = 1000


class Asset(msgspec.Struct, frozen=True):
    """What the events of one asset amount to, as far as tags are concerned."""

    exists: bool = False
    tags: frozenset[str] = frozenset()


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


def tag(asset: Asset, word: str) -> Iterable[AssetEvent]:
    """Decide to give a tag; giving it again changes nothing."""
    return () if word in asset.tags else (AssetTagged(word),)


def untag(asset: Asset, word: str) -> Iterable[AssetEvent]:
    """Decide to take a tag away; one that is not there is no error."""
    return (AssetUntagged(word),) if word in asset.tags else ()


class UnknownAsset(Exception):
    """There is no such asset, or it was deleted."""


class Tagged(msgspec.Struct, frozen=True):
    """The outcome of a command: whether something was recorded, and the newest event of the asset."""

    changed: bool
    newest: StoredEvent


class Tagger:
    """Carries out commands on one asset at a time."""

    def __init__(self, store: EventStore, registry: Registry, ring: Callable[[], None]) -> None:
        self._store = store
        self._registry = registry
        self._ring = ring

    def carry_out(self, asset_id: str, decide: Callable[[Asset, str], Iterable[AssetEvent]], word: str) -> Tagged:
        """Load, decide, append; all again where somebody else was faster.

        Raises:
            UnknownAsset: there is none of this id, or it was deleted.
            WrongExpectedVersion: somebody else was faster every time.
        """
        stream = asset_stream(asset_id)
        for attempt in range(1, TRIES + 1):
            asset, newest = self._load(stream)
            if not asset.exists or newest is None:
                raise UnknownAsset(asset_id)
            events = tuple(decide(asset, word))
            if not events:
                return Tagged(changed=False, newest=newest)
            try:
                return Tagged(changed=True, newest=self._append(stream, events, newest.version or 0))
            except WrongExpectedVersion:
                if attempt == TRIES:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _load(self, stream: str) -> tuple[Asset, StoredEvent | None]:
        asset, newest = Asset(), None
        while events := self._store.read_stream(stream, after=newest.version or 0 if newest else 0, limit=_PAGE):
            for stored in events:
                asset = evolve(asset, self._registry.read(decode_event(stored.wire)))
            newest = events[-1]
        return asset, newest

    def _append(self, stream: str, events: Iterable[AssetEvent], version: int) -> StoredEvent:
        new = tuple(self._registry.new_event(event, id=new_id(), subject=stream, time=now()) for event in events)
        stored = self._store.append([Append(stream, new, expected=version)])
        self._ring()
        return stored[-1]
