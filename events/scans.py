"""Scans: a walk over a directory as a workflow, with a stream of its own: started, progress, then completed or failed."""

from typing import Final, Literal

import msgspec

from sidestream.registry import Category, EventType
from sidestream.stream import stream_name

Phase = Literal["walking", "hashing"]


class ScanStarted(msgspec.Struct, frozen=True):
    """A scan was accepted and began.

    Attributes:
        path: absolute path of the directory as text, symbolic links resolved.
        exclude: names, or patterns with `*`, `?` and `[]`, of files and directories that are left out.
    """

    path: str
    exclude: tuple[str, ...] = ()


class ScanProgress(msgspec.Struct, frozen=True):
    """How far a scan has come.

    Attributes:
        phase: `walking` (the tree is listed) or `hashing` (new and changed files are read).
        found: files listed so far.
        to_hash: files that must be read; 0 while walking.
        hashed: files read so far.
        hashed_bytes: bytes read so far.
    """

    phase: Phase
    found: int
    to_hash: int = 0
    hashed: int = 0
    hashed_bytes: int = 0


class ScanCompleted(msgspec.Struct, frozen=True):
    """A scan saw all it could see. All numbers count files but `skipped`.

    Attributes:
        discovered: new files.
        changed: files with another content or time of modification.
        moved: files found elsewhere with the same content.
        deleted: files that are gone.
        unchanged: files as they were.
        skipped: files and directories that could not be read; what is known of them stays as it is.
    """

    discovered: int
    changed: int
    moved: int
    deleted: int
    unchanged: int
    skipped: int


class ScanFailed(msgspec.Struct, frozen=True):
    """A scan ended before it was complete. What it had recorded until then stands; the next scan goes on from there.

    Attributes:
        reason: what stopped it, and what to do.
    """

    reason: str


ScanEvent = ScanStarted | ScanProgress | ScanCompleted | ScanFailed

CATEGORY: Final = Category(
    name="scan",
    topic="scans",
    source="/services/assets",
    types=(
        EventType("scan.started", ScanStarted),
        EventType("scan.progress", ScanProgress),
        EventType("scan.completed", ScanCompleted),
        EventType("scan.failed", ScanFailed),
    ),
)


def scan_stream(scan: str) -> str:
    """Return the stream of a scan, `scan-<its id>`."""
    return stream_name(CATEGORY.name, scan)
