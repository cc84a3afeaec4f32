"""What the events of this service say so far: the files that are known, and the scans. Pure: a fold, no I/O.

It is worked out from the service's own event store and never a second source of truth.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from events.assets import CATEGORY as ASSETS
from events.assets import AssetChanged, AssetDeleted, AssetDiscovered, AssetEvent, AssetMoved
from events.scans import CATEGORY as SCANS
from events.scans import ScanCompleted, ScanEvent, ScanFailed, ScanProgress, ScanStarted
from sidestream.applying.consistency import Place
from sidestream.event import Envelope

ScanState = Literal["running", "completed", "failed"]
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00Z")


class KnownFile(msgspec.Struct, frozen=True, gc=False):
    """A file as its events describe it.

    Attributes:
        stream: the asset's stream.
        path: absolute path as text.
        size: bytes.
        modified_ns: nanoseconds since 1970 UTC.
        sha256: 64 hex digits.
        seen_ns: when it was last looked at for an event, nanoseconds since 1970 UTC.
    """

    stream: str
    path: str
    size: int
    modified_ns: int
    sha256: str
    seen_ns: int = 0


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """One scan as its events describe it.

    Attributes:
        id: its id.
        path: absolute path of the directory as text.
        exclude: patterns of names that were left out.
        state: running, completed or failed.
        started_at, ended_at: RFC 3339.
        progress: how far it came.
        result: the counts of a completed scan.
        reason: why it failed.
        consistency: the newest of its events on each topic.
        begun_by: the id of its first event.
    """

    id: str
    path: str
    exclude: tuple[str, ...]
    state: ScanState = "running"
    started_at: str
    ended_at: str | None = None
    progress: ScanProgress | None = None
    result: ScanCompleted | None = None
    reason: str | None = None
    consistency: tuple[Place, ...] = ()
    begun_by: str = ""


class Inventory:
    """Known files by path and by stream, and scans by id, as of the events it was given in order."""

    def __init__(self) -> None:
        self.files: dict[str, KnownFile] = {}
        self.scans: dict[str, Scan] = {}
        self._by_stream: dict[str, KnownFile] = {}

    def apply(self, event: AssetEvent | ScanEvent, envelope: Envelope) -> None:
        """Take account of one event."""
        if isinstance(event, ScanStarted | ScanProgress | ScanCompleted | ScanFailed):
            self._apply_to_scan(event, envelope)
        elif isinstance(event, AssetDiscovered | AssetChanged | AssetMoved):
            self._keep(_known_file(event, envelope))
            self._note(event.scan, envelope)
        elif isinstance(event, AssetDeleted):
            self._forget(envelope.stream)
            self._note(event.scan, envelope)

    def below(self, directory: str) -> Mapping[str, KnownFile]:
        """Return the known files below a directory, by path."""
        prefix = directory if directory.endswith("/") else f"{directory}/"
        return {path: file for path, file in self.files.items() if path.startswith(prefix)}

    def running(self) -> list[Scan]:
        """Return the scans that have not ended."""
        return [scan for scan in self.scans.values() if scan.state == "running"]

    def _keep(self, file: KnownFile) -> None:
        self._forget(file.stream)
        self.files[file.path] = self._by_stream[file.stream] = file

    def _forget(self, stream: str) -> None:
        before = self._by_stream.pop(stream, None)
        if before is not None and self.files.get(before.path) is before:
            del self.files[before.path]

    def _apply_to_scan(self, event: ScanEvent, envelope: Envelope) -> None:
        scan = envelope.stream.removeprefix(f"{SCANS.name}-")
        if isinstance(event, ScanStarted):
            self.scans[scan] = Scan(id=scan, path=event.path, exclude=event.exclude, started_at=envelope.time or "", begun_by=envelope.id)
        elif scan in self.scans:
            self.scans[scan] = msgspec.structs.replace(self.scans[scan], **_change(event, envelope.time))
        self._note(scan, envelope)

    def _note(self, scan: str, envelope: Envelope) -> None:
        """Remember the newest event that this scan recorded on each topic."""
        found = self.scans.get(scan)
        if found is None or envelope.producer is None:
            return
        topic = SCANS.topic if envelope.type.startswith(f"{SCANS.name}.") else ASSETS.topic
        others = tuple(place for place in found.consistency if place.topic != topic)
        place = Place(topic, envelope.producer, envelope.number)
        self.scans[scan] = msgspec.structs.replace(found, consistency=(*others, place))


def _known_file(event: AssetDiscovered | AssetChanged | AssetMoved, envelope: Envelope) -> KnownFile:
    return KnownFile(
        stream=envelope.stream,
        path=event.to_path if isinstance(event, AssetMoved) else event.path,
        size=event.size,
        modified_ns=event.modified_ns,
        sha256=event.sha256,
        seen_ns=nanoseconds(envelope.time),
    )


def _change(event: ScanProgress | ScanCompleted | ScanFailed, time: str | None) -> dict[str, Any]:
    if isinstance(event, ScanProgress):
        return {"progress": event}
    if isinstance(event, ScanCompleted):
        return {"state": "completed", "result": event, "ended_at": time}
    return {"state": "failed", "reason": event.reason, "ended_at": time}


def nanoseconds(time: str | None) -> int:
    """Return an RFC 3339 time as nanoseconds since 1970 UTC; 0 where there is none."""
    if not time:
        return 0
    since = datetime.fromisoformat(time) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000
