"""Runs a scan from its first event to its last: list, compare, read, record, in a thread of its own.

Events are recorded in chunks, so that a scan that is interrupted has lost nothing and the next one goes on from there.
Deletions come last: a scan that did not see everything deletes nothing.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from time import monotonic
from typing import Final

import msgspec
import structlog

from events.assets import AssetChanged, AssetDeleted, AssetDiscovered, AssetMoved
from events.paths import path_text
from events.scans import ScanCompleted, ScanFailed, ScanProgress, ScanStarted
from services.assets.comparing import Comparison, Decision, Listed, ReadFile, Survey, survey
from services.assets.exclusion import ScanLock
from services.assets.hashing import FileReader
from services.assets.inventory import Inventory, Scan
from services.assets.ledger import Ledger
from services.assets.recording import Recorder
from services.assets.walking import Excluded, missed_below, walk
from sidestream.identifiers import new_id, now

CHUNK_EVENTS: Final = 500
CHUNK_BYTES: Final = 256 * 1024 * 1024
"""A chunk ends after so many files or bytes, so that progress is seen among large files too."""
PROGRESS_SECONDS: Final = 1.0
READERS: Final = 4
_SLICE: Final = 32
_COUNTED: Final[dict[type, str]] = {AssetDiscovered: "discovered", AssetChanged: "changed", AssetMoved: "moved", AssetDeleted: "deleted"}
_INTERRUPTED: Final = "The service ended while the scan ran. Scan again: it goes on from what was recorded."
_STOPPED: Final = "The service was stopped. Scan again: it goes on from what was recorded."

log_line = structlog.get_logger()


class ScanRunning(Exception):
    """Another scan is running."""


class _Stopped(Exception):
    """The service stops, and the scan with it."""


class Scanner:
    """Runs one scan at a time."""

    def __init__(self, recorder: Recorder, ledger: Ledger, lock: ScanLock, *, chunk_events: int = CHUNK_EVENTS) -> None:
        self._recorder = recorder
        self._ledger = ledger
        self._lock = lock
        self._chunk_events = chunk_events
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def close_interrupted(self) -> None:
        """Record the end of scans whose process has died; while another process scans, that is its business."""
        if self._lock.acquire():
            try:
                self._close_open_scans()
            finally:
                self._lock.release()

    def start(self, directory: bytes, exclude: Sequence[str]) -> Scan:
        """Begin a scan and return it as recorded.

        Raises:
            ScanRunning: there is one already.
        """
        if not self._lock.acquire():
            raise ScanRunning
        try:
            self._close_open_scans()
            scan = new_id()
            event = ScanStarted(path_text(directory), tuple(exclude))
            cause = self._recorder.begin_scan(scan, event).event_id
            started = self._ledger.ask(lambda inventory: inventory.scans[scan])
            run = _Run(_Task(scan, cause, directory, event, self._chunk_events), self._recorder, self._ledger, self._stopping)
            self._thread = threading.Thread(target=self._run, args=(run,), name=f"scan {scan}", daemon=True)
            self._thread.start()
        except BaseException:
            self._lock.release()
            raise
        return started

    def wait(self) -> None:
        """Wait until the scan that this process runs has ended."""
        if self._thread is not None:
            self._thread.join()

    def stop(self) -> None:
        """Let the running scan record that it was stopped, and wait for that."""
        self._stopping.set()
        self.wait()

    def _run(self, run: "_Run") -> None:
        try:
            run.to_the_end()
        finally:
            self._lock.release()

    def _close_open_scans(self) -> None:
        for scan in self._ledger.ask(Inventory.running):
            self._recorder.add_to_scan(scan.id, ScanFailed(_INTERRUPTED), scan.begun_by)


class _Task(msgspec.Struct, frozen=True):
    """What a scan is about: its id, the id of its first event, the real directory, and what was asked for, events in a chunk."""

    scan: str
    cause: str
    directory: bytes
    asked: ScanStarted
    chunk_events: int


class _Run:
    """One scan on its way."""

    def __init__(self, task: _Task, recorder: Recorder, ledger: Ledger, stopping: threading.Event) -> None:
        self._task = task
        self._recorder = recorder
        self._ledger = ledger
        self._stopping = stopping
        self._reader = FileReader()
        self._counts: Counter[str] = Counter()
        self._said_at = monotonic()
        self._hashed = self._hashed_bytes = 0

    def to_the_end(self) -> None:
        """Scan, and record how it ended."""
        try:
            self._scan_all()
        except _Stopped:
            self._fail(_STOPPED)
        except OSError as error:
            self._fail(f"{self._task.asked.path}: {error.strerror or error}. Make the directory readable and scan again.")
        except Exception as error:  # whatever it is, whoever asked for the scan must learn of it
            log_line.exception("scan failed", scan=self._task.scan, path=self._task.asked.path)
            self._fail(f"{type(error).__name__}: {error}")

    def _fail(self, reason: str) -> None:
        """Record the failure; where even that fails, the next start or scan closes it."""
        try:
            self._recorder.add_to_scan(self._task.scan, ScanFailed(reason), self._task.cause)
        except Exception:
            log_line.exception("scan left open", scan=self._task.scan, reason=reason)

    def _scan_all(self) -> None:
        found, listed = self._look()
        comparison = Comparison(found, self._task.scan, new_id)
        with ThreadPoolExecutor(READERS, "read files") as pool:
            for chunk in _chunks(found.to_read, listed, self._task.chunk_events):
                self._record_chunk(comparison, chunk, pool)
                self._say(ScanProgress("hashing", len(listed), len(found.to_read), self._hashed, self._hashed_bytes))
        deletions = comparison.deletions()
        for begin in range(0, len(deletions), self._task.chunk_events):
            self._record(deletions[begin : begin + self._task.chunk_events], now())
        self._recorder.add_to_scan(self._task.scan, self._counted(), self._task.cause)

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _look(self) -> tuple[Survey, Mapping[str, Listed]]:
        excluded = Excluded(self._task.asked.exclude)
        known = self._ledger.ask(lambda inventory: inventory.below(self._task.asked.path))
        walked = walk(self._task.directory, excluded, lambda files: self._say(ScanProgress("walking", files)))
        found = survey(known, walked.files, missed_below(self._task.asked.path, excluded, walked.unseen))
        self._counts["unchanged"] = found.unchanged
        self._counts["skipped"] = len(walked.unseen)
        return found, walked.files

    def _say(self, progress: ScanProgress) -> None:
        """Record how far it is, at most once a second; stop here when the service stops."""
        if self._stopping.is_set():
            raise _Stopped
        if monotonic() - self._said_at >= PROGRESS_SECONDS:
            self._recorder.add_to_scan(self._task.scan, progress, self._task.cause)
            self._said_at = monotonic()

    # ── reading and recording ────────────────────────────────────────────────────────────────────────────────────────

    def _record_chunk(self, comparison: Comparison, chunk: Sequence[str], pool: ThreadPoolExecutor) -> None:
        """Read files and record what happened to them, as seen when the reading began."""
        time = now()
        slices = [chunk[begin : begin + _SLICE] for begin in range(0, len(chunk), _SLICE)]
        decisions = []
        for file in chain.from_iterable(pool.map(self._read_slice, slices)):
            self._hashed += 1
            if file is None:
                self._counts["skipped"] += 1
                continue
            self._hashed_bytes += file.size
            decision = comparison.decide(file)
            if decision is None:
                self._counts["unchanged"] += 1
            else:
                decisions.append(decision)
        self._record(decisions, time)

    def _read_slice(self, paths: Sequence[str]) -> list[ReadFile | None]:
        return [None if self._stopping.is_set() else self._reader.read(path) for path in paths]

    def _record(self, decisions: Sequence[Decision], time: str) -> None:
        self._recorder.add_to_assets(decisions, time, self._task.scan, self._task.cause)
        self._counts.update(_COUNTED[type(decision.event)] for decision in decisions)

    def _counted(self) -> ScanCompleted:
        return ScanCompleted(**{name: self._counts[name] for name in ScanCompleted.__struct_fields__})


def _chunks(paths: Sequence[str], listed: Mapping[str, Listed], most: int) -> Iterator[Sequence[str]]:
    """Cut paths into chunks of at most so many files, and of so many bytes or one file more."""
    chunk: list[str] = []
    weight = 0
    for path in paths:
        chunk.append(path)
        weight += listed[path].size
        if len(chunk) >= most or weight >= CHUNK_BYTES:
            yield chunk
            chunk, weight = [], 0
    if chunk:
        yield chunk
