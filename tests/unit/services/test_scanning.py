"""Scans of real directories: after any of them, what the events say is what os.walk and hashlib say."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from events.scans import ScanCompleted, ScanStarted
from services.assets.inventory import Scan
from services.assets.scanning import ScanRunning
from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.errors import StoreAway
from sidestream.ports import Answer, Append, StoredEvent
from tests.unit.services.scanning_desk import Desk, Truth, on_disk


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """A small directory."""
    directory = tmp_path / "tree"
    (directory / "deep" / "er").mkdir(parents=True)
    (directory / "one.py").write_text("print()\n")
    (directory / "deep" / "two.txt").write_text("two")
    (directory / "deep" / "er" / "three.bin").write_bytes(b"\0" * 1000)
    yield directory
    for folder, _, _ in os.walk(directory):
        Path(folder).chmod(0o755)


def counts(completed: ScanCompleted | None) -> dict[str, int]:
    assert completed is not None
    return {name: number for name, number in msgspec.structs.asdict(completed).items() if number}


def test_a_first_scan_discovers_everything(tree: Path) -> None:
    desk = Desk()
    scan = desk.scan(tree)

    assert scan.state == "completed"
    assert counts(scan.result) == {"discovered": 3}
    assert desk.folded() == desk.known() == on_disk(tree)


def test_a_second_scan_records_nothing(tree: Path) -> None:
    desk = Desk()
    desk.scan(tree)
    before = desk.events()
    scan = desk.scan(tree)

    assert counts(scan.result) == {"unchanged": 3}
    assert desk.events() == before


def test_changed_moved_and_deleted_files_are_told_apart(tree: Path) -> None:
    desk = Desk()
    desk.scan(tree)
    (tree / "one.py").write_text("print(1)\n")
    (tree / "deep" / "two.txt").rename(tree / "moved.txt")
    (tree / "deep" / "er" / "three.bin").unlink()
    (tree / "four").write_text("4")
    scan = desk.scan(tree)

    assert counts(scan.result) == {"discovered": 1, "changed": 1, "moved": 1, "deleted": 1}
    assert desk.folded() == on_disk(tree)


def test_a_file_that_comes_back_is_a_new_asset(tree: Path) -> None:
    desk = Desk()
    desk.scan(tree)
    content = (tree / "one.py").read_text()
    (tree / "one.py").unlink()
    desk.scan(tree)
    (tree / "one.py").write_text(content)
    desk.scan(tree)

    streams = [stream for stream, kind, data in desk.events() if kind == "asset.discovered" and data.path.endswith("/one.py")]
    assert len(set(streams)) == 2


def test_a_name_that_is_not_unicode_is_percent_encoded(tree: Path) -> None:
    Path(os.fsdecode(os.fsencode(tree) + b"/caf\xe9 100%")).write_text("x")
    desk = Desk()
    desk.scan(tree)

    assert any(path.endswith("/caf%E9 100%25") for path in desk.folded())
    assert desk.folded() == on_disk(tree)


def test_symbolic_links_are_not_followed(tree: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("s")
    (tree / "link").symlink_to(outside)
    (tree / "link2").symlink_to(outside / "secret")
    (tree / "loop").symlink_to(tree)
    os.mkfifo(tree / "pipe")
    desk = Desk()
    scan = desk.scan(tree)

    assert counts(scan.result) == {"discovered": 3}
    assert desk.folded() == on_disk(tree)


def test_excluded_names_are_left_out_and_never_taken_for_deleted(tree: Path) -> None:
    desk = Desk()
    desk.scan(tree)
    before = desk.folded()
    scan = desk.scan(tree, "deep", "*.py")

    assert counts(scan.result) == {}
    assert desk.folded() == before


def test_a_scan_of_a_part_leaves_the_rest_alone(tree: Path) -> None:
    (tree / "deeper").mkdir()
    (tree / "deeper" / "not below deep").write_text("x")
    desk = Desk()
    desk.scan(tree)
    scan = desk.scan(tree / "deep")

    assert counts(scan.result) == {"unchanged": 2}
    assert desk.folded() == on_disk(tree)


def test_what_cannot_be_read_is_skipped_and_never_taken_for_deleted(tree: Path) -> None:
    desk = Desk()
    desk.scan(tree)
    before = desk.folded()
    (tree / "deep").chmod(0)
    scan = as_nobody(tree, lambda: desk.scan(tree))

    assert scan.state == "completed"
    assert counts(scan.result) == {"unchanged": 1, "skipped": 1}
    assert desk.folded() == before


def as_nobody(tree: Path, act: Callable[[], Scan]) -> Scan:
    """Run as somebody whom permissions hold; the superuser passes them all."""
    if os.geteuid() != 0:
        return act()
    for folder in (tree, *tree.parents):
        if folder.stat().st_uid == 0 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        return act()
    finally:
        os.seteuid(0)


def test_a_directory_that_vanishes_before_the_scan_fails_it_and_deletes_nothing(tree: Path) -> None:
    desk = Desk()
    desk.scan(tree)
    before = desk.folded()
    tree.rename(tree.with_name("elsewhere"))
    scan = desk.scan(tree)

    assert scan.state == "failed"
    assert "No such file" in (scan.reason or "")
    assert desk.folded() == before


def test_one_scan_runs_at_a_time(tree: Path) -> None:
    desk = Desk()
    assert desk.lock.acquire()
    with pytest.raises(ScanRunning):
        desk.scanner.start(os.fsencode(tree), ())
    desk.lock.release()

    assert desk.scan(tree).state == "completed"


def test_a_scan_whose_process_died_is_closed_at_the_next_start(tree: Path) -> None:
    store = MemoryEventStore()
    dead = Desk(store)
    recorder = dead.scanner._recorder
    recorder.begin_scan("dead", ScanStarted("/srv", ()))
    alive = Desk(store)
    alive.scanner.close_interrupted()
    found = alive.ledger.ask(lambda inventory: inventory.scans["dead"])

    assert found.state == "failed"
    assert "Scan again" in (found.reason or "")
    assert alive.scan(tree).state == "completed"


def test_a_scan_that_is_running_elsewhere_is_not_closed() -> None:
    desk = Desk()
    desk.scanner._recorder.begin_scan("running", ScanStarted("/srv", ()))
    assert desk.lock.acquire()
    desk.scanner.close_interrupted()

    assert desk.ledger.ask(lambda inventory: inventory.scans["running"]).state == "running"


class StoreThatFails(MemoryEventStore):
    """Goes away after so many appends, once."""

    def __init__(self, appends: int) -> None:
        super().__init__()
        self._left = appends

    def append(self, appends: Sequence[Append], answer: Answer | None = None) -> tuple[StoredEvent, ...]:
        self._left -= 1
        if self._left == 0:
            raise StoreAway("disk full")
        return super().append(appends, answer)


def test_a_scan_that_cannot_record_fails_and_the_next_one_goes_on_from_there(tree: Path) -> None:
    desk = Desk(StoreThatFails(appends=3), chunk_events=1)
    failed = desk.scan(tree)
    assert failed.state == "failed"
    assert "disk full" in (failed.reason or "")
    assert len(desk.folded()) == 1

    assert counts(desk.scan(tree).result) == {"discovered": 2, "unchanged": 1}
    assert desk.folded() == on_disk(tree)


def test_a_service_that_stops_closes_its_scan_and_deletes_nothing(tree: Path) -> None:
    desk = Desk()
    desk.scan(tree)
    before = desk.folded()
    (tree / "one.py").unlink()
    desk.scanner.stop()
    scan = desk.scan(tree)

    assert scan.state == "failed"
    assert desk.folded() == before


def test_a_scan_tells_its_newest_events_on_both_topics(tree: Path) -> None:
    scan = Desk().scan(tree)

    assert {token.topic: token.sequence for token in scan.consistency} == {"assets": 3, "scans": 2}


def test_a_tree_of_a_thousand_files_is_recorded_in_chunks(tmp_path: Path) -> None:
    for number in range(1100):
        (tmp_path / f"{number:04}").write_text(str(number))
    desk = Desk()

    assert counts(desk.scan(tmp_path).result) == {"discovered": 1100}
    assert desk.folded() == on_disk(tmp_path)


# ── any sequence of edits and scans ──────────────────────────────────────────────────────────────────────────────────

names = st.sampled_from([b"a", b"b.py", b"c%", b"\xff", b"d/e", b"d/f", b"d/g/h", b"\xc3\xa9/\xe9"])
contents = st.sampled_from([b"", b"x", b"y", b"zz" * 1000])


class Scans(RuleBasedStateMachine):
    """Somebody edits a tree, and scans it now and then. Nothing waits for the clock of the file system."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.root = Path(os.path.realpath(self._folder.name))
        self.desk = Desk()
        self.truth: Truth = {}

    @rule(name=names, content=contents)
    def write(self, name: bytes, content: bytes) -> None:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    @rule(name=names)
    def delete(self, name: bytes) -> None:
        self.path(name).unlink(missing_ok=True)

    @rule(name=names, other=names)
    def move(self, name: bytes, other: bytes) -> None:
        before, after = self.path(name), self.path(other)
        if before.exists():
            after.parent.mkdir(parents=True, exist_ok=True)
            before.replace(after)

    @rule()
    def scan(self) -> None:
        assert self.desk.scan(self.root).state == "completed"
        self.truth = on_disk(self.root)

    def path(self, name: bytes) -> Path:
        return self.root / os.fsdecode(name)

    @invariant()
    def the_events_say_what_the_last_scan_saw(self) -> None:
        assert self.desk.folded() == self.desk.known() == self.truth

    def teardown(self) -> None:
        self._folder.cleanup()


def test_after_any_edits_and_scans_the_events_say_what_is_on_disk() -> None:
    run_state_machine_as_test(
        Scans, settings=settings(max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    )
