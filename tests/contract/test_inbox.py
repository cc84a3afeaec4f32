"""The inbox log, on every adapter: each event once, positions in commit order, all of a delivery or nothing."""

import itertools
import multiprocessing
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from sidestream.adapters.memory_inbox import MemoryInbox
from sidestream.adapters.memory_read_model import MemoryGeneration
from sidestream.adapters.sqlite_inbox import SqliteInbox
from sidestream.applying.applied import BOOKKEEPING, CHECKPOINTS
from sidestream.applying.dead_letters import parked_events
from sidestream.applying.projector import Projector
from sidestream.applying.rules import Rule
from sidestream.errors import ConfigurationError, LogUnavailable, StoreAway
from sidestream.event import Counted, Envelope, NewEvent, encode_event
from sidestream.logs.inbox import Inbox, arrived
from sidestream.projection import Projection, Rows, Table
from sidestream.registry import Category, EventType, Registry
from tests.contract.inboxes import ADAPTERS, open_inbox
from tests.postgres import Postgres

TOPIC = "hits"


class Hit(msgspec.Struct, frozen=True):
    page: str


class Page(msgspec.Struct, frozen=True):
    page: str
    hits: str


PAGES = Table(Page, key=("page",))
REGISTRY = Registry([Category("hit", TOPIC, "/services/web", (EventType("hit.made", Hit),))])


class Hits(Projection):
    """Writes down the events of each page in the order in which it met them."""

    name = "hits"
    topics = (TOPIC,)
    handles = (Hit,)
    tables = (PAGES,)

    def evolve(self, rows: Rows, event: Hit, envelope: Envelope) -> None:
        before = rows.get(PAGES, (event.page,)) or Page(event.page, "")
        rows.put(PAGES, Page(event.page, f"{before.hits} {envelope.id}".strip()))


def wire(number: int, *, version: int | None = None, producer: str = "web.1", page: str = "/", **fields: str) -> bytes:
    identifier = fields.pop("id", f"{producer}-{number}")
    event = NewEvent(
        topic=TOPIC,
        id=identifier,
        source="/services/web",
        type="hit.made",
        data=msgspec.json.encode({"page": page}),
        subject=f"page-{page}",
    )
    return encode_event(event, Counted(producer, number, version))


def stranger(identifier: str, source: str = "/curl") -> bytes:
    return msgspec.json.encode({"specversion": "1.0", "id": identifier, "source": source, "type": "hit.made", "data": {"page": "/"}})


def deliver(inbox: Inbox, *wires: bytes) -> int:
    return inbox.append(TOPIC, arrived(wires))


def kept(inbox: Inbox) -> list[bytes]:
    return [entry.data for entry in inbox.read(TOPIC, None, 100_000)]


class Reader:
    """A projector that follows an inbox."""

    def __init__(self, inbox: Inbox) -> None:
        self.generation = MemoryGeneration("g1", (*BOOKKEEPING, *Hits.tables))
        self.projector = Projector(Rule(Hits(), REGISTRY), inbox, self.generation, lambda: "now")

    def hits(self) -> dict[str, str]:
        self.projector.catch_up()
        with self.generation.snapshot() as rows:
            return {row.page: row.hits for row in rows.read(PAGES, [("/",), ("/a",)]).values()}


@pytest.fixture(params=ADAPTERS)
def inbox(request: pytest.FixtureRequest) -> Iterator[Inbox]:
    found = open_inbox(request.param, request)
    yield found
    found.close()


@pytest.fixture(params=ADAPTERS)
def late_inbox(request: pytest.FixtureRequest) -> Iterator[Inbox]:
    found = open_inbox(request.param, request, began_late=True)
    yield found
    found.close()


# ── each event once ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_delivery_is_kept_as_it_came(inbox: Inbox) -> None:
    event = b'{ "data" : {"n":9007199254740993,"f":1.0,"z":"\\u0000"},"type":"t","id":"\\u0000","source":"/s", "traceid":""}'
    assert deliver(inbox, event) == 1
    assert kept(inbox) == [event]


def test_an_event_delivered_again_is_kept_once(inbox: Inbox) -> None:
    assert deliver(inbox, wire(1), wire(2), stranger("a")) == 3
    assert deliver(inbox, wire(2), wire(3), stranger("a")) == 1
    assert kept(inbox) == [wire(1), wire(2), stranger("a"), wire(3)]


def test_an_event_twice_in_one_delivery_is_kept_once(inbox: Inbox) -> None:
    assert deliver(inbox, stranger("a"), wire(1), stranger("a"), wire(1)) == 2
    assert kept(inbox) == [stranger("a"), wire(1)]


def test_the_same_id_of_two_sources_is_two_events(inbox: Inbox) -> None:
    assert deliver(inbox, stranger("a", "/x"), stranger("a", "/y")) == 2


def test_the_same_event_on_two_topics_is_kept_on_both(inbox: Inbox) -> None:
    assert deliver(inbox, stranger("a")) == 1
    assert inbox.append("other", arrived([stranger("a")])) == 1


def test_what_is_no_event_is_kept_too_and_once(inbox: Inbox) -> None:
    garbage = [b"", b"no json", b"\xff\xfe", b'{"id":"1"}', b"[" * 5000]
    assert deliver(inbox, *garbage, b"no json") == len(garbage)
    assert deliver(inbox, *garbage) == 0
    assert kept(inbox) == garbage


def test_nothing_delivered_is_nothing_kept(inbox: Inbox) -> None:
    assert deliver(inbox) == 0
    assert inbox.extent(TOPIC).last is None


def test_a_delivery_of_thousands_is_kept_whole(inbox: Inbox) -> None:
    wires = [wire(number) for number in range(1, 3001)]
    assert deliver(inbox, *wires) == 3000
    assert deliver(inbox, *wires, wire(3001)) == 1
    assert len(kept(inbox)) == 3001


def test_what_was_trimmed_is_not_remembered_and_its_positions_are_not_given_again(inbox: Inbox) -> None:
    deliver(inbox, wire(1), wire(2))
    inbox.trim(TOPIC, "1")
    assert deliver(inbox, wire(1), wire(2)) == 1
    assert [entry.position for entry in inbox.read(TOPIC, None, 10)] == ["2", "3"]
    inbox.trim(TOPIC, "4711")
    assert inbox.extent(TOPIC).trimmed_to == "3"
    assert deliver(inbox, wire(4)) == 1
    assert [entry.position for entry in inbox.read(TOPIC, None, 10)] == ["4"]


# ── in order ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_delivery_is_sorted_by_the_count_of_each_producer(inbox: Inbox) -> None:
    deliver(inbox, wire(3), stranger("x"), wire(2, producer="b.1"), wire(1), b"garbage", wire(2), wire(1, producer="b.1"))
    assert kept(inbox) == [wire(1), stranger("x"), wire(1, producer="b.1"), wire(2), b"garbage", wire(3), wire(2, producer="b.1")]


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))))
def test_versions_that_come_in_any_order_are_applied_in_theirs(order: tuple[int, ...]) -> None:
    inbox = MemoryInbox()
    reader = Reader(inbox)
    for number in order:  # a delivery each: nothing can be sorted
        deliver(inbox, wire(number, version=number))
        reader.projector.catch_up()
    assert reader.hits() == {"/": "web.1-1 web.1-2 web.1-3"}
    assert parked_events(reader.generation) == []


def test_the_projector_follows_it_and_what_is_no_event_is_a_dead_letter(inbox: Inbox) -> None:
    reader = Reader(inbox)
    deliver(inbox, wire(2, version=2), b"garbage", wire(1, version=1))
    assert reader.hits() == {"/": "web.1-1 web.1-2"}
    deliver(inbox, wire(1, version=1), b"garbage", wire(3, version=3), wire(1, page="/a", producer="b.1"))
    assert reader.hits() == {"/": "web.1-1 web.1-2 web.1-3", "/a": "b.1-1"}
    assert [(parked.reason, parked.wire) for parked in parked_events(reader.generation)] == [("unreadable-entry", b"garbage")]


def test_in_an_inbox_that_began_late_the_first_version_it_has_is_the_beginning(late_inbox: Inbox) -> None:
    reader = Reader(late_inbox)
    deliver(late_inbox, wire(8, version=5), wire(9, version=6))
    deliver(late_inbox, wire(11, version=8))
    assert reader.hits() == {"/": "web.1-8 web.1-9"}
    (waiting,) = parked_events(reader.generation)
    assert (waiting.reason, waiting.streamversion) == ("waiting", 8)
    with reader.generation.snapshot() as rows:
        assert rows.read(CHECKPOINTS, [(TOPIC,)])[TOPIC,].began_after == "0"
    assert late_inbox.extent(TOPIC).trimmed_to is None


def test_in_an_inbox_that_began_at_the_beginning_it_waits(inbox: Inbox) -> None:
    reader = Reader(inbox)
    deliver(inbox, wire(8, version=5))
    assert reader.hits() == {}
    assert [parked.reason for parked in parked_events(reader.generation)] == ["waiting"]


# ── at once ──────────────────────────────────────────────────────────────────────────────────────────────────────────


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
