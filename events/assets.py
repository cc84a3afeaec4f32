"""Assets: what is known of a file, told by the scans that looked at it and the people who tagged it.

An asset is one file over its life: its stream `asset-<uuid>` goes on when the file is moved or changed, and ends when it
is deleted. A file that comes back at the path of a deleted one is a new asset. Paths are text as `events.paths` writes it.
"""

from typing import Final

import msgspec

from sidestream.registry import Category, EventType
from sidestream.stream import stream_name


class AssetDiscovered(msgspec.Struct, frozen=True):
    """A file was found that no asset stood for.

    Attributes:
        path: absolute path as text.
        size: bytes.
        modified_ns: when it was last modified, nanoseconds since 1970 UTC.
        media_type: guessed from its name, `text/x-python`.
        sha256: of its content, 64 hex digits.
        scan: the scan that found it, the id of its stream.
    """

    path: str
    size: int
    modified_ns: int
    media_type: str
    sha256: str
    scan: str


class AssetChanged(msgspec.Struct, frozen=True):
    """The file at the asset's path has another content or another time of modification.

    Attributes:
        path: absolute path as text, the same as before.
        size: bytes now.
        modified_ns: when it was last modified, nanoseconds since 1970 UTC.
        media_type: guessed from its name.
        sha256: of its content now, 64 hex digits; unchanged where only the time is another.
        scan: the scan that saw it.
    """

    path: str
    size: int
    modified_ns: int
    media_type: str
    sha256: str
    scan: str


class AssetMoved(msgspec.Struct, frozen=True):
    """The file is gone from its path, and a new file with the same content was found elsewhere.

    Attributes:
        from_path: absolute path before, as text.
        to_path: absolute path now, as text.
        size: bytes, as before.
        modified_ns: when it was last modified, nanoseconds since 1970 UTC; a copy may carry another than the original.
        media_type: guessed from its new name.
        sha256: of its content, as before.
        scan: the scan that saw it.
    """

    from_path: str
    to_path: str
    size: int
    modified_ns: int
    media_type: str
    sha256: str
    scan: str


class AssetDeleted(msgspec.Struct, frozen=True):
    """There is no file at the asset's path any more. The stream ends.

    Attributes:
        path: absolute path where it was, as text.
        size: bytes it had.
        sha256: of the content it had, 64 hex digits.
        scan: the scan that missed it.
    """

    path: str
    size: int
    sha256: str
    scan: str


class AssetTagged(msgspec.Struct, frozen=True):
    """Somebody gave the asset a tag that it did not have.

    Attributes:
        tag: the word, 1 to 64 characters.
    """

    tag: str


class AssetUntagged(msgspec.Struct, frozen=True):
    """Somebody took away a tag that the asset had.

    Attributes:
        tag: the word, 1 to 64 characters.
    """

    tag: str


AssetEvent = AssetDiscovered | AssetChanged | AssetMoved | AssetDeleted | AssetTagged | AssetUntagged

CATEGORY: Final = Category(
    name="asset",
    topic="assets",
    source="/services/assets",
    types=(
        EventType("asset.discovered", AssetDiscovered),
        EventType("asset.changed", AssetChanged),
        EventType("asset.moved", AssetMoved),
        EventType("asset.deleted", AssetDeleted),
        EventType("asset.tagged", AssetTagged),
        EventType("asset.untagged", AssetUntagged),
    ),
)


def asset_stream(asset: str) -> str:
    """Return the stream of an asset, `asset-<its id>`."""
    return stream_name(CATEGORY.name, asset)
