"""Appends events of scans and assets to the store, and tells the relay that there is something to publish."""

from collections.abc import Callable, Sequence

from events.assets import AssetDiscovered
from events.scans import ScanEvent, ScanStarted, scan_stream
from services.assets.comparing import Decision
from sidestream.identifiers import new_id, now
from sidestream.ports import ANY, NO_STREAM, Append, EventStore, StoredEvent
from sidestream.registry import Registry


class Recorder:
    """Writes down what was decided."""

    def __init__(self, store: EventStore, registry: Registry, ring: Callable[[], None]) -> None:
        self._store = store
        self._registry = registry
        self._ring = ring

    def begin_scan(self, scan: str, event: ScanStarted) -> StoredEvent:
        """Record that a scan began; return the event as it is stored."""
        return self._append_to_scan(scan, event, cause=None)

    def add_to_scan(self, scan: str, event: ScanEvent, cause: str) -> None:
        """Record an event of a scan; `cause` is the id of the event that began it."""
        self._append_to_scan(scan, event, cause)

    def _append_to_scan(self, scan: str, event: ScanEvent, cause: str | None) -> StoredEvent:
        stream = scan_stream(scan)
        new = self._registry.new_event(event, id=new_id(), subject=stream, time=now(), correlationid=scan, causationid=cause)
        expected = NO_STREAM if cause is None else ANY
        (stored,) = self._store.append([Append(stream, (new,), expected)])
        self._ring()
        return stored

    def add_to_assets(self, decisions: Sequence[Decision], time: str, scan: str, cause: str) -> None:
        """Record events of many assets, all or none, as seen at `time`."""
        if decisions:
            self._store.append([self._append_of(decision, time, scan, cause) for decision in decisions])
            self._ring()

    def _append_of(self, decision: Decision, time: str, scan: str, cause: str) -> Append:
        event, stream = decision.event, decision.stream
        new = self._registry.new_event(event, id=new_id(), subject=stream, time=time, correlationid=scan, causationid=cause)
        return Append(stream, (new,), NO_STREAM if isinstance(event, AssetDiscovered) else ANY)
