"""What only a store in a file can show: several processes on it, one killed in the middle, a full disk, somebody else's file."""

import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.adapters.sqlite_events import SqliteEventStore
from sidestream.errors import ConfigurationError, StoreAway, WrongExpectedVersion
from sidestream.event import NewEvent, decode_event
from sidestream.identifiers import new_id
from sidestream.ports import Answer, Append, ServiceStore, Snapshot
from tests.waiting import until

REPOSITORY = Path(__file__).parents[2]
WRITER = """
import resource, sys
from sidestream.adapters.sqlite_events import SqliteEventStore
from sidestream.errors import SidestreamError
from sidestream.event import NewEvent
from sidestream.ports import Append

path, name, count, size, limit = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
store = SqliteEventStore(path)
for n in range(count):
    stream = f"order-{n % 3}"
    events = [
        NewEvent(topic="orders", id=f"{name}-{n}-{at}", source="/test", type="order.placed", subject=stream, data=b'"' + b"x" * 300 + b'"')
        for at in range(size)
    ]
    try:
        stored = store.append([Append(stream, tuple(events))])
    except SidestreamError as error:
        print(type(error).__name__, error, flush=True)
        sys.exit(3)
    print(stored[-1].position, flush=True)
"""


def writer(path: Path, name: str, count: int, size: int, limit: int = 0) -> "subprocess.Popen[str]":
    arguments = [sys.executable, "-c", WRITER, str(path), name, str(count), str(size), str(limit)]
    return subprocess.Popen(arguments, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def fact(data: bytes = b"{}") -> Append:
    return Append(None, (NewEvent(topic="orders", id=new_id(), source="/test", type="order.placed", subject="x", data=data),))


def assert_whole(path: Path, size: int) -> int:
    """Check that every count and version is gapless and every append is there completely or not at all; return the last position."""
    store = SqliteEventStore(path)
    stored = store.follow(0, 1_000_000)
    assert [e.position for e in stored] == [e.sequence for e in stored] == list(range(1, len(stored) + 1))
    assert [decode_event(e.wire).number for e in stored] == [e.sequence for e in stored]
    for stream in {e.stream for e in stored if e.stream}:
        assert [e.version for e in stored if e.stream == stream] == list(range(1, store.stream_version(stream) + 1))
    appends: dict[str, int] = {}
    for e in stored:
        name = e.event_id.rpartition("-")[0]
        appends[name] = appends.get(name, 0) + 1
    assert set(appends.values()) <= {size}
    store.close()
    return len(stored)


def test_a_store_that_is_opened_again_goes_on_counting(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    first = SqliteEventStore(path)
    (one,) = first.append([fact()])
    first.mark_published("orders", 1)
    first.close()
    second = SqliteEventStore(path)
    (two,) = second.append([fact()])
    assert (second.producer, two.sequence, second.unpublished("orders")) == (first.producer, 2, (two,))
    assert second.follow(0) == (one, two)
    second.close()


def test_processes_on_one_file_share_one_count(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    writers = [writer(path, f"w{n}", 60, 3) for n in range(3)]
    outputs = [process.communicate(timeout=60) for process in writers]
    assert [process.returncode for process in writers] == [0, 0, 0], outputs
    assert assert_whole(path, 3) == 540


def test_a_writer_killed_in_the_middle_leaves_all_it_was_told_and_nothing_in_half(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    told = 0
    for name in ("a", "b", "c"):
        process = writer(path, name, 10_000, 200)
        assert process.stdout is not None
        for _ in range(15):
            told = int(process.stdout.readline())
        process.kill()
        rest = process.communicate()[0].split("\n")[:-1]
        told = int(rest[-1]) if rest else told
        assert assert_whole(path, 200) >= told


def test_a_full_disk_is_the_store_away_and_keeps_what_was_told(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    process = writer(path, "w", 10_000, 50, limit=600_000)
    output = process.communicate(timeout=60)[0].split("\n")
    assert process.returncode == 3
    assert output[-2].startswith(f"StoreAway event store {path}: ")
    assert assert_whole(path, 50) == int(output[-3])
    store = SqliteEventStore(path)
    store.append([fact()])
    store.close()


def test_a_file_locked_for_too_long_is_the_store_away(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store = SqliteEventStore(path, lock_seconds=0.1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    begin = time.monotonic()
    with pytest.raises(StoreAway, match="locked"):
        store.append([fact()])
    with pytest.raises(StoreAway, match="locked"):
        store.mark_published("orders", 1)
    assert time.monotonic() - begin < 2
    assert store.follow(0) == ()
    other.execute("ROLLBACK")
    other.close()
    assert store.append([fact()])[0].sequence == 1
    store.close()


def test_every_append_waits_for_the_disk_after_a_mark_too(tmp_path: Path) -> None:
    store = SqliteEventStore(tmp_path / "store.sqlite")
    full = 2
    store.append([fact()])
    store.mark_published("orders", 1)
    assert store._writer.execute("PRAGMA synchronous").fetchone() == (full,)
    assert store._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()


def test_a_closed_store_is_away(tmp_path: Path) -> None:
    store = SqliteEventStore(tmp_path / "store.sqlite")
    store.close()
    for question in (lambda: store.append([fact()]), lambda: store.follow(0), store.backlog):
        with pytest.raises(StoreAway):
            question()


def test_a_file_that_cannot_be_made_is_the_store_away(tmp_path: Path) -> None:
    with pytest.raises(StoreAway, match="unable to open"):
        SqliteEventStore(tmp_path / "missing" / "store.sqlite")


def test_somebody_elses_database_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (a)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="of another program"):
        SqliteEventStore(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_text("these are my notes, not an event store" * 100)
    with pytest.raises(ConfigurationError, match="no SQLite database"):
        SqliteEventStore(path)


def test_a_page_of_large_events_ends_early_but_is_never_empty(tmp_path: Path) -> None:
    store = SqliteEventStore(tmp_path / "store.sqlite")
    for _ in range(8):
        store.append([fact(b'"' + b"x" * 3_000_000 + b'"')])
    lengths = []
    reached = 0
    while page := store.unpublished("orders", after=reached):
        lengths.append(len(page))
        reached = page[-1].sequence
    assert lengths == [3, 3, 2]
    store.close()


async def test_of_appends_that_share_a_transaction_a_refused_one_leaves_no_trace(tmp_path: Path) -> None:
    store = SqliteEventStore(tmp_path / "store.sqlite")
    new_topic = NewEvent(topic="refused", id="r", source="/refused", type="order.placed", subject="order-1")
    with ThreadPoolExecutor(3) as pool:
        with store._write_lock:
            good = [pool.submit(store.append, [fact()])]
            await until(lambda: store._turns._is_led and not store._turns._queue)  # it waits for the lock; the others share the next turn
            refused = pool.submit(store.append, [Append("order-1", (new_topic,), 7)])
            good.append(pool.submit(store.append, [fact()]))
            await until(lambda: len(store._turns._queue) == 2)
        assert sorted(future.result()[0].sequence for future in good) == [1, 2]
        assert isinstance(refused.exception(), WrongExpectedVersion)
    assert store.topics() == ("orders",)
    store.close()


# ── processes, and what a power cut may take ─────────────────────────────────────────────────────────────────────────


def test_a_follower_beside_writing_processes_skips_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store = SqliteEventStore(path)
    writers = [writer(path, f"w{n}", 100, 3) for n in range(2)]
    seen: list[int] = []
    while any(process.poll() is None for process in writers) or store.follow(seen[-1] if seen else 0, 1):
        seen += [e.position for e in store.follow(seen[-1] if seen else 0, 50)]
    assert [process.communicate()[1] for process in writers] == ["", ""]
    assert seen == list(range(1, 601))
    store.close()


def test_only_what_may_be_lost_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    store = SqliteEventStore(tmp_path / "store.sqlite")
    waited: list[str] = []
    store._writer.set_trace_callback(waited.append)
    store.append([fact()], Answer("k", b"r" * 16, b""))
    store.publish_again("orders", 0)
    store.begin_epoch()
    store.adopt("orders", [])
    assert not any("synchronous" in statement for statement in waited)
    for light in (
        lambda: store.mark_published("orders", 1),
        lambda: store.claim("other", b"r" * 16, 60),
        lambda: store.release("other"),
        lambda: store.forget_answers(0),
        lambda: store.lease("relay", "a", 60),
        lambda: store.end_lease("relay", "a"),
        lambda: store.keep_snapshot(Snapshot("order-1", 1, "s", b"")),
        store.drop_snapshots,
    ):
        waited.clear()
        light()
        assert [waited[0], waited[-1]] == ["PRAGMA synchronous = NORMAL", "PRAGMA synchronous = FULL"]
    store.close()


def test_a_file_that_may_only_be_read_is_the_store_away_and_is_read(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store = SqliteEventStore(path)
    stored = store.append([fact()])
    store._writer.execute("PRAGMA query_only = ON")
    for work in (
        lambda: store.append([fact()], Answer("k", b"r" * 16, b"")),
        lambda: store.claim("k", b"r" * 16, 60),
        lambda: store.mark_published("orders", 1),
        lambda: store.publish_again("orders", 0),
        lambda: store.lease("relay", "a", 60),
        lambda: store.keep_snapshot(Snapshot("order-1", 1, "s", b"")),
        store.begin_epoch,
    ):
        with pytest.raises(StoreAway, match="readonly"):
            work()
    assert (store.follow(0), store.unpublished("orders"), store.producer[-2:]) == (stored, stored, ".1")
    store._writer.execute("PRAGMA query_only = OFF")
    assert store.claim("k", b"r" * 16, 60) is None
    store.close()


def test_an_answer_whose_events_could_not_be_stored_is_not_stored_either(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store = SqliteEventStore(path, lock_seconds=0.1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreAway, match="locked"):
        store.append([fact()], Answer("k", b"r" * 16, b"201"))
    other.execute("ROLLBACK")
    other.close()
    assert (store.follow(0), store.claim("k", b"r" * 16, 60)) == ((), None)
    store.close()


@pytest.mark.parametrize("adapter", [MemoryEventStore, None])
def test_a_stream_as_it_was_is_a_state_that_there_was_though_the_clock_went_back(tmp_path: Path, adapter: type | None) -> None:
    times = iter((100, 300, 200, 400))
    store: ServiceStore
    if adapter is None:
        store = SqliteEventStore(tmp_path / "store.sqlite", clock_ms=lambda: next(times))
    else:
        store = MemoryEventStore(clock_ms=lambda: next(times))
    for n in range(4):
        store.append([Append("order-1", (NewEvent(topic="orders", id=f"e{n}", source="/test", type="order.placed", subject="order-1"),))])
    until = {ms: [e.version for e in store.read_stream("order-1", until_ms=ms)] for ms in (99, 100, 200, 300, 400)}
    assert until == {99: [], 100: [1], 200: [1], 300: [1, 2, 3], 400: [1, 2, 3, 4]}
    store.close()
