"""The asset catalogue: what is on disk now, and what it adds up to by type, tag and content.

An asset's own row follows its stream, which comes in order. Everything else is a sum over assets, so that the order across
assets is no matter: the row as it was is taken out of every sum, the row as it is now is put in. A sum that reaches zero
has no row. Sums of bytes can exceed 64 bits; they are text of 40 digits, so that text order is number order.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from events.assets import CATEGORY, AssetChanged, AssetDeleted, AssetDiscovered, AssetEvent, AssetMoved, AssetTagged, AssetUntagged
from sidestream.errors import UnreadableEvent
from sidestream.event import Envelope
from sidestream.projection import Key, Projection, Rows, Table

EVERYTHING: Final = "everything"
"""Key of the one row of the summary."""
_PREFIX: Final = CATEGORY.name + "-"
_SUM_DIGITS: Final = 40
_NUMBERS: Final = range(-(2**63), 2**63)


class Asset(msgspec.Struct, frozen=True):
    """A file on disk; `id` is its stream without `asset-`, `tags` a sorted JSON list."""

    id: str
    path: str
    size: int
    modified_ns: int
    media_type: str
    sha256: str
    tags: str = "[]"


class TaggedAsset(msgspec.Struct, frozen=True):
    """A tag of an asset, with what assets are filtered by."""

    tag: str
    id: str
    path: str
    size: int
    media_type: str
    sha256: str


class Content(msgspec.Struct, frozen=True):
    """How many assets have this content. Only somebody's lie gives one hash two sizes; then these are two contents."""

    sha256: str
    size: int
    copies: int


class Duplicate(msgspec.Struct, frozen=True):
    """A content that more than one asset has; `wasted` is the size of all copies but one."""

    sha256: str
    size: int
    copies: int
    wasted: str


class TypeTotal(msgspec.Struct, frozen=True):
    """The assets of a media type."""

    media_type: str
    assets: int
    bytes: str


class TagTotal(msgspec.Struct, frozen=True):
    """The assets that have a tag."""

    tag: str
    assets: int


class Summary(msgspec.Struct, frozen=True):
    """All assets; `duplicates` are contents that more than one asset has."""

    name: str
    assets: int
    bytes: str
    duplicates: int
    wasted: str


ASSETS: Final = Table(
    Asset,
    key=("id",),
    indexes=[
        ("path", "id"),
        ("size", "path", "id"),
        ("media_type", "path", "id"),
        ("media_type", "size", "path", "id"),
        ("sha256", "path", "id"),
    ],
)
TAGGED: Final = Table(
    TaggedAsset, key=("tag", "id"), indexes=[("tag", "path", "id"), ("tag", "size", "path", "id"), ("tag", "media_type", "path", "id")]
)
CONTENTS: Final = Table(Content, key=("sha256", "size"))
DUPLICATES: Final = Table(Duplicate, key=("sha256", "size"), indexes=[("wasted", "sha256", "size")])
TYPES: Final = Table(TypeTotal, key=("media_type",), indexes=[("bytes", "media_type")])
TAGS: Final = Table(TagTotal, key=("tag",))
SUMMARY: Final = Table(Summary, key=("name",))


class AssetCatalog(Projection):
    """What is on disk now: assets by path, tag, type, size and content, duplicates, and what they add up to."""

    name = "asset_catalog"
    version = 1
    topics = CATEGORY.topics
    handles = (AssetDiscovered, AssetChanged, AssetMoved, AssetDeleted, AssetTagged, AssetUntagged)
    tables = (ASSETS, TAGGED, CONTENTS, DUPLICATES, TYPES, TAGS, SUMMARY)

    def keys(self, event: AssetEvent, envelope: Envelope) -> Iterable[tuple[Table[Any], Key]]:
        """Name the asset and the sums that the event tells of; those of its row before are known only then."""
        yield ASSETS, (_id(envelope),)
        if isinstance(event, AssetTagged | AssetUntagged):
            yield TAGS, (event.tag,)
            return
        yield SUMMARY, (EVERYTHING,)
        yield CONTENTS, (event.sha256, event.size)
        if not isinstance(event, AssetDeleted):
            yield TYPES, (event.media_type,)

    def evolve(self, rows: Rows, event: AssetEvent, envelope: Envelope) -> None:
        """Replace the asset's row, here and in every sum."""
        asset_id = _id(envelope)
        before = rows.get(ASSETS, (asset_id,))
        after = _after(before, asset_id, event)
        if before is not None:
            _take_out(rows, before)
        if after is not None:
            _put_in(rows, after)


def tags_of(asset: Asset) -> list[str]:
    """Return the tags of an asset, sorted."""
    return msgspec.json.decode(asset.tags, type=list[str])


# ── one asset ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _id(envelope: Envelope) -> str:
    subject = envelope.subject or ""
    if not subject.startswith(_PREFIX) or subject == _PREFIX:
        raise UnreadableEvent(f"{envelope.type}: expected a subject asset-<id>, found {subject!a:.80}. Publish it again for its asset.")
    return subject.removeprefix(_PREFIX)


def _after(before: Asset | None, asset_id: str, event: AssetEvent) -> Asset | None:
    """Return the asset as the event leaves it; None: it is not on disk. Tags of an asset that is not there are forgotten."""
    match event:
        case AssetDiscovered() | AssetChanged():
            return _checked(Asset(asset_id, event.path, event.size, event.modified_ns, event.media_type, event.sha256, _tags(before)))
        case AssetMoved():
            return _checked(Asset(asset_id, event.to_path, event.size, event.modified_ns, event.media_type, event.sha256, _tags(before)))
        case AssetDeleted():
            return None
        case AssetTagged():
            return _with_tags(before, add=[event.tag])
        case AssetUntagged():
            return _with_tags(before, remove=[event.tag])


def _checked(asset: Asset) -> Asset:
    if not 0 <= asset.size < _NUMBERS.stop or asset.modified_ns not in _NUMBERS:
        raise UnreadableEvent(f"asset {asset.id}: expected a size from 0 and numbers of 64 bits, found {asset.size}, {asset.modified_ns}")
    return asset


def _tags(before: Asset | None) -> str:
    return before.tags if before else "[]"


def _with_tags(asset: Asset | None, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> Asset | None:
    if asset is None:
        return None
    tags = sorted({*tags_of(asset), *add} - {*remove})
    return msgspec.structs.replace(asset, tags=msgspec.json.encode(tags).decode())


# ── sums ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def sum_text(number: int) -> str:
    """Return a sum as it is kept."""
    return f"{number:0{_SUM_DIGITS}}"


def _take_out(rows: Rows, asset: Asset) -> None:
    rows.delete(ASSETS, (asset.id,))
    for tag in tags_of(asset):
        rows.delete(TAGGED, (tag, asset.id))
    _count(rows, asset, -1)


def _put_in(rows: Rows, asset: Asset) -> None:
    rows.put(ASSETS, asset)
    for tag in tags_of(asset):
        rows.put(TAGGED, TaggedAsset(tag, asset.id, asset.path, asset.size, asset.media_type, asset.sha256))
    _count(rows, asset, 1)


def _count(rows: Rows, asset: Asset, by: int) -> None:
    """Add the asset to every sum, or with -1 take it out."""
    for tag in tags_of(asset):
        _count_tag(rows, tag, by)
    _count_type(rows, asset, by)
    duplicates, wasted = _count_content(rows, asset, by)
    found = rows.get(SUMMARY, (EVERYTHING,)) or Summary(EVERYTHING, 0, "0", 0, "0")
    summary = Summary(
        EVERYTHING,
        found.assets + by,
        sum_text(int(found.bytes) + by * asset.size),
        found.duplicates + duplicates,
        sum_text(int(found.wasted) + wasted),
    )
    _keep(rows, SUMMARY, summary, summary.assets)


def _count_tag(rows: Rows, tag: str, by: int) -> None:
    found = rows.get(TAGS, (tag,))
    total = TagTotal(tag, (found.assets if found else 0) + by)
    _keep(rows, TAGS, total, total.assets)


def _count_type(rows: Rows, asset: Asset, by: int) -> None:
    found = rows.get(TYPES, (asset.media_type,)) or TypeTotal(asset.media_type, 0, "0")
    total = TypeTotal(asset.media_type, found.assets + by, sum_text(int(found.bytes) + by * asset.size))
    _keep(rows, TYPES, total, total.assets)


def _count_content(rows: Rows, asset: Asset, by: int) -> tuple[int, int]:
    """Count a copy; return by how much the number of duplicates and the wasted bytes change."""
    found = rows.get(CONTENTS, (asset.sha256, asset.size)) or Content(asset.sha256, asset.size, 0)
    copies = found.copies + by
    wasted = asset.size * max(copies - 1, 0)
    _keep(rows, CONTENTS, Content(asset.sha256, asset.size, copies), copies)
    _keep(rows, DUPLICATES, Duplicate(asset.sha256, asset.size, copies, sum_text(wasted)), copies > 1)
    return (copies > 1) - (found.copies > 1), wasted - asset.size * max(found.copies - 1, 0)


def _keep(rows: Rows, table: Table[Any], row: msgspec.Struct, count: int) -> None:
    """Write the row of a sum, or remove it when nothing is left to count."""
    if count:
        rows.put(table, row)
    else:
        rows.delete(table, table.key_of(row))
