"""What has happened to the files: decided by comparing what is known with what was found. Pure; no disk, no clock.

    survey       known files, listed files           → which files must be read, which are gone
    Comparison   files read, in the order of paths   → events: changed, moved, discovered, and deleted at the end

A file whose size and time of modification are as known is taken for unchanged, unless it was modified so shortly before it
was last read that the clock of the file system may have stood still in between. A move is a file that is gone and a new
file with its hash and size; with several candidates the one with the same name, else the first by path, is taken.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from events.assets import AssetChanged, AssetDeleted, AssetDiscovered, AssetEvent, AssetMoved, asset_stream
from services.assets.inventory import KnownFile

CLOCK_GRAIN_NS: Final = 2_000_000_000
"""Coarsest time of modification in use: FAT counts in two seconds."""


class Listed(msgspec.Struct, frozen=True, gc=False):
    """A file as the directory lists it: bytes, and nanoseconds since 1970 UTC."""

    size: int
    modified_ns: int


class ReadFile(msgspec.Struct, frozen=True, gc=False):
    """A file that was read from end to end."""

    path: str
    size: int
    modified_ns: int
    sha256: str
    media_type: str


class Survey(msgspec.Struct, frozen=True):
    """The outcome of comparing the lists.

    Attributes:
        known: the known files that the scan looks at, by path.
        to_read: paths of new files and of files that may have changed, sorted.
        gone: known files that are not there any more, sorted by path.
        unchanged: how many files are as they were.
    """

    known: Mapping[str, KnownFile]
    to_read: tuple[str, ...]
    gone: tuple[KnownFile, ...]
    unchanged: int


class Decision(msgspec.Struct, frozen=True):
    """One event for one asset's stream."""

    stream: str
    event: AssetEvent


def survey(known: Mapping[str, KnownFile], listed: Mapping[str, Listed], is_missed: Callable[[str], bool]) -> Survey:
    """Compare what is known with what the directories list.

    Args:
        known: known files below the scanned directory, by path.
        listed: files that are there now, by path.
        is_missed: whether a known path that is not listed is gone; False where the scan could not or did not look.
    """
    to_read = sorted(path for path, file in listed.items() if not _is_as_known(known.get(path), file))
    gone = sorted(path for path in known if path not in listed and is_missed(path))
    return Survey(known, tuple(to_read), tuple(known[path] for path in gone), len(listed) - len(to_read))


def _is_as_known(known: KnownFile | None, listed: Listed) -> bool:
    if known is None or (known.size, known.modified_ns) != (listed.size, listed.modified_ns):
        return False
    return known.modified_ns < known.seen_ns - CLOCK_GRAIN_NS


class Comparison:
    """Says what happened, file by file. Files are given in the order of their paths; what could not be read is left out.

    Args:
        found: the survey before.
        scan: the scan's id.
        new_id: gives ids for new assets.
    """

    def __init__(self, found: Survey, scan: str, new_id: Callable[[], str]) -> None:
        self._known = found.known
        self._scan = scan
        self._new_id = new_id
        self._gone: defaultdict[tuple[str, int], list[KnownFile]] = defaultdict(list)
        for file in found.gone:
            self._gone[file.sha256, file.size].append(file)

    def decide(self, file: ReadFile) -> Decision | None:
        """Return what happened to this file, None where nothing did."""
        known = self._known.get(file.path)
        if known is not None:
            return _changed(known, file, self._scan)
        if (before := self._take(file)) is not None:
            return Decision(before.stream, _moved(before, file, self._scan))
        return Decision(asset_stream(self._new_id()), _discovered(file, self._scan))

    def deletions(self) -> list[Decision]:
        """Return, after the last file, what was deleted, sorted by path."""
        rest = sorted((file for files in self._gone.values() for file in files), key=lambda file: file.path)
        return [Decision(file.stream, AssetDeleted(file.path, file.size, file.sha256, self._scan)) for file in rest]

    def _take(self, new: ReadFile) -> KnownFile | None:
        """Return the file that is gone and now stands at the new path, and forget it."""
        candidates = self._gone.get((new.sha256, new.size))
        if not candidates:
            return None
        name = _name(new.path)
        chosen = next((file for file in candidates if _name(file.path) == name), candidates[0])
        candidates.remove(chosen)
        return chosen


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _changed(known: KnownFile, file: ReadFile, scan: str) -> Decision | None:
    if (known.size, known.modified_ns, known.sha256) == (file.size, file.modified_ns, file.sha256):
        return None
    return Decision(known.stream, AssetChanged(file.path, file.size, file.modified_ns, file.media_type, file.sha256, scan))


def _moved(before: KnownFile, file: ReadFile, scan: str) -> AssetMoved:
    return AssetMoved(before.path, file.path, file.size, file.modified_ns, file.media_type, file.sha256, scan)


def _discovered(file: ReadFile, scan: str) -> AssetDiscovered:
    return AssetDiscovered(file.path, file.size, file.modified_ns, file.media_type, file.sha256, scan)
