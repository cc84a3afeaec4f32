"""The inbox log shared: by threads and processes at once, with files and databases that are away, full, or somebody else's."""

import multiprocessing
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sidestream.adapters.memory_inbox import MemoryInbox
from sidestream.adapters.sqlite_inbox import SqliteInbox
from sidestream.errors import ConfigurationError, LogUnavailable, StoreAway
from sidestream.logs.inbox import Inbox
from tests.contract.arriving import TOPIC, deliver, kept, wire
from tests.postgres import Postgres


def test_deliveries_in_flight_at_once_double_nothing_and_leave_no_hole(inbox: Inbox) -> None:
    batches = [[wire(number) for number in range(begin, begin + 40)] for begin in range(1, 400, 20)]
    start = threading.Barrier(8)

    def send(own: list[list[bytes]]) -> int:
        start.wait()
        return sum(deliver(inbox, *batch) for batch in own)

    with ThreadPoolExecutor(8) as threads:
        appended = [threads.submit(send, batches[at::4]) for at in range(4) for _ in range(2)]
    distinct = {each for batch in batches for each in batch}
    assert sum(each.result() for each in appended) == len(distinct)
    entries = inbox.read(TOPIC, None, 10_000)
    assert sorted(entry.data for entry in entries) == sorted(distinct)
    assert [entry.position for entry in entries] == [str(at) for at in range(1, len(distinct) + 1)]


def test_a_reader_never_overtakes_a_position_that_is_not_there_yet(inbox: Inbox) -> None:
    """An identity column would show 2 before 1: what was read after a position must never change before it."""
    seen: list[int] = []
    done = threading.Event()

    def follow() -> None:
        while not done.is_set() or len(seen) < 600:
            found = inbox.read(TOPIC, str(len(seen) + 1), 1000)
            seen.extend(int(entry.position) for entry in found)

    follower = threading.Thread(target=follow)
    follower.start()
    with ThreadPoolExecutor(3) as threads:
        for appended in [threads.submit(deliver, inbox, *(wire(number) for number in range(at, at + 10))) for at in range(1, 600, 10)]:
            appended.result()
    done.set()
    follower.join(20)
    assert seen == list(range(1, 601))


def _append_in_a_process(open_again: Callable[[], Inbox], first: int) -> None:
    inbox = open_again()
    for begin in range(first, first + 200, 10):
        deliver(inbox, *(wire(number) for number in range(begin, begin + 20)))
    inbox.close()


def _sqlite_again(path: Path) -> Inbox:
    return SqliteInbox(path)


def test_two_processes_share_one_file(tmp_path: Path) -> None:
    from functools import partial

    path = tmp_path / "inbox.sqlite"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_append_in_a_process, args=(partial(_sqlite_again, path), first)) for first in (1, 101)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    inbox = SqliteInbox(path)
    entries = inbox.read(TOPIC, None, 10_000)
    inbox.close()
    assert sorted(entry.data for entry in entries) == sorted(wire(number) for number in range(1, 311))
    assert [entry.position for entry in entries] == [str(at) for at in range(1, 311)]


# ── files and databases that are away, or somebody else's ────────────────────────────────────────────────────────────


def test_an_inbox_that_is_opened_again_goes_on(tmp_path: Path) -> None:
    first = SqliteInbox(tmp_path / "inbox.sqlite")
    deliver(first, wire(1))
    identity = first.extent(TOPIC).identity
    first.close()
    second = SqliteInbox(tmp_path / "inbox.sqlite")
    assert deliver(second, wire(1), wire(2)) == 1
    assert second.extent(TOPIC).identity == identity != ""
    second.close()


def test_a_full_disk_keeps_nothing_of_a_delivery(tmp_path: Path) -> None:
    inbox = SqliteInbox(tmp_path / "inbox.sqlite")
    deliver(inbox, wire(1))
    pages = inbox._writer.execute("PRAGMA page_count").fetchone()[0]
    inbox._writer.execute(f"PRAGMA max_page_count = {pages + 3}")
    with pytest.raises(StoreAway, match=r"inbox\.sqlite: .*full.*Nothing was changed"):
        deliver(inbox, *(wire(number) for number in range(2, 2000)))
    assert kept(inbox) == [wire(1)]
    inbox._writer.execute("PRAGMA max_page_count = 1000000")
    assert deliver(inbox, wire(1), wire(2)) == 1
    inbox.close()


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "inbox.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE notes (text)")
    other.close()
    with pytest.raises(ConfigurationError, match="expected an inbox log, found a SQLite file of another program"):
        SqliteInbox(path)
    path.write_text("this is no database, whatever its name says; it is text of more than one hundred bytes, and that is all" * 9)
    with pytest.raises(ConfigurationError, match="no SQLite database"):
        SqliteInbox(path)


def test_a_file_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "inbox.sqlite"
    SqliteInbox(path).close()
    with sqlite3.connect(path) as changed:
        changed.execute("PRAGMA user_version = 99")
    changed.close()
    with pytest.raises(ConfigurationError, match="schema version 1, found 99"):
        SqliteInbox(path)


def test_a_position_of_another_kind_of_log_is_refused(inbox: Inbox) -> None:
    if isinstance(inbox, MemoryInbox):
        return  # memory has no other kinds of log
    with pytest.raises(LogUnavailable, match="another kind of log"):
        inbox.read(TOPIC, "1526919030474-0", 1)


def test_a_schema_of_another_version_is_refused(postgres_database: str) -> None:
    import psycopg

    from sidestream.adapters.postgres_inbox import PostgresInbox

    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA tally_inbox")
    inbox = PostgresInbox(postgres_database, "tally_inbox")
    with pytest.raises(ConfigurationError, match="expected 'sidestream inbox 1', found None"):
        deliver(inbox, wire(1))
    inbox.close()


def test_a_database_that_crashed_is_written_on_when_it_is_back(postgres: Postgres, postgres_database: str) -> None:
    from sidestream.adapters.postgres_inbox import PostgresInbox

    inbox = PostgresInbox(postgres_database, "tally_inbox")
    deliver(inbox, wire(1))
    postgres.crash()
    try:
        with pytest.raises(StoreAway, match="tally_inbox"):
            deliver(inbox, wire(2))
        with pytest.raises(LogUnavailable, match="tally_inbox"):
            inbox.read(TOPIC, None, 1)
    finally:
        postgres.start()
    assert deliver(inbox, wire(1), wire(2)) == 1
    assert kept(inbox) == [wire(1), wire(2)]
    inbox.close()
