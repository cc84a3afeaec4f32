"""A scanner over the memory store and real directories, and the truth to hold it against."""

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

from events import registry
from events.paths import path_text
from services.assets.exclusion import MemoryScanLock
from services.assets.inventory import Inventory, Scan
from services.assets.ledger import Ledger
from services.assets.recording import Recorder
from services.assets.scanning import CHUNK_EVENTS, Scanner
from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.event import decode_event
from sidestream.ports import EventStore

Truth = dict[str, tuple[int, int, str]]
"""Path → size, time of modification, hash."""


class Desk:
    """One process with an assets service, as far as scans go."""

    def __init__(self, store: EventStore | None = None, chunk_events: int = CHUNK_EVENTS) -> None:
        self.store = store or MemoryEventStore()
        self.lock = MemoryScanLock()
        self.ledger = Ledger(self.store, registry())
        self.scanner = Scanner(Recorder(self.store, registry(), lambda: None), self.ledger, self.lock, chunk_events=chunk_events)

    def scan(self, directory: Path, *exclude: str) -> Scan:
        """Scan to the end."""
        begun = self.scanner.start(os.path.realpath(os.fsencode(directory)), exclude)
        self.scanner.wait()
        return self.ledger.ask(lambda inventory: inventory.scans[begun.id])

    def events(self) -> list[tuple[str, str, Any]]:
        """Return stream, type and data of every event of assets, in the order of the store."""
        language = registry()
        envelopes = [decode_event(stored.wire) for stored in self.store.follow(0, 10**6)]
        return [(event.stream, event.type, language.read(event)) for event in envelopes if event.type.startswith("asset.")]

    def folded(self) -> Truth:
        """Fold all events by hand: what they say is on the disk."""
        files: dict[str, tuple[str, tuple[int, int, str]]] = {}
        for stream, kind, data in self.events():
            if kind == "asset.deleted":
                del files[stream]
            elif kind in {"asset.discovered", "asset.changed", "asset.moved"}:
                path = data.to_path if kind == "asset.moved" else data.path
                files[stream] = (path, (data.size, data.modified_ns, data.sha256))
        found = dict(files.values())
        assert len(found) == len(files), "two assets stand for one path"
        return found

    def known(self) -> Truth:
        """Return what the inventory says."""
        return self.ledger.ask(_files)


def _files(inventory: Inventory) -> Truth:
    return {path: (file.size, file.modified_ns, file.sha256) for path, file in inventory.files.items()}


def on_disk(directory: Path) -> Truth:
    """Return what os.walk, lstat and hashlib say."""
    found: Truth = {}
    for folder, _, names in os.walk(os.path.realpath(directory)):
        for path in (Path(folder, name) for name in names):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                found[path_text(os.fsencode(path))] = (status.st_size, status.st_mtime_ns, digest)
    return found
