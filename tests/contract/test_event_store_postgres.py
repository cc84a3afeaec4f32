"""What only the store on PostgreSQL has: several processes, a server that goes away, LISTEN, and a schema of its own."""

import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import count
from pathlib import Path

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.adapters.postgres_events import PostgresEventStore
from sidestream.backbone import connect
from sidestream.errors import AppendRefused, ConfigurationError, InvalidEvent, StoreAway, WrongExpectedVersion
from sidestream.launcher.network import free_ports
from sidestream.ports import ANY, NO_STREAM, Append, ServiceStore, StoredEvent
from sidestream.settings import Settings
from tests.brokers.waiting import wait_until
from tests.contract.stores import event, facts, to
from tests.postgres import Postgres, running_postgres
from tests.waiting import until

_schemas = count(1)


@pytest.fixture
def url(postgres_database: str) -> str:
    return postgres_database


@pytest.fixture
def store(url: str) -> Iterator[ServiceStore]:
    made = PostgresEventStore(url, "store")
    yield made
    made.close()


def side_by_side(work: Callable[[int], object], number: int) -> None:
    begin = threading.Barrier(number)

    def together(which: int) -> None:
        begin.wait()
        work(which)

    with ThreadPoolExecutor(number) as pool:
        list(pool.map(together, range(number)))


def in_processes(number: int, work: Callable[..., None], *arguments: object) -> None:
    """Run it in processes that share nothing with this one; fail when one of them fails."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=work, args=(which, *arguments)) for which in range(number)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * number


def all_of(store: ServiceStore) -> list[StoredEvent]:
    found: list[StoredEvent] = []
    while page := store.follow(found[-1].position if found else 0, 500):
        found.extend(page)
    return found


# ── many writers ─────────────────────────────────────────────────────────────────────────────────────────────────────


def write_facts(which: int, url: str) -> None:
    with closing(PostgresEventStore(url, "store")) as store:
        side_by_side(lambda n: [store.append([facts(event(f"x-{which}"), event("y", topic=f"votes.{n % 3}"))]) for _ in range(25)], 4)


def write_with_belief(_which: int, url: str) -> None:
    with closing(PostgresEventStore(url, "store")) as store:
        won = 0
        while won < 30:
            version = store.stream_version("order-1")
            try:
                store.append([to("order-1", event("order-1"), expected=version)])
                won += 1
            except WrongExpectedVersion:
                continue


def test_a_follower_beside_writers_of_several_processes_skips_nothing(store: ServiceStore, url: str) -> None:
    seen: list[StoredEvent] = []
    done = threading.Event()

    def follow() -> None:
        ended = False
        page: Sequence[StoredEvent] = ()
        while page or not ended:
            ended = done.is_set()  # asked before the page is read: what is appended between the two is in the next one
            page = store.follow(seen[-1].position if seen else 0, 50)
            seen.extend(page)

    with ThreadPoolExecutor(1) as pool:
        following: Future[None] = pool.submit(follow)
        try:
            in_processes(3, write_facts, url)
        finally:
            done.set()
        following.result()
    assert [e.position for e in seen] == list(range(1, 601))
    for topic in store.topics():
        numbers = [e.sequence for e in seen if e.topic == topic]
        assert numbers == list(range(1, len(numbers) + 1)), topic
    assert seen == all_of(store)


def test_processes_with_beliefs_of_one_stream_win_each_version_once(store: ServiceStore, url: str) -> None:
    in_processes(3, write_with_belief, url)
    assert [e.version for e in store.read_stream("order-1")] == list(range(1, 91))


def test_two_hundred_writers_leave_a_gapless_stream(store: ServiceStore) -> None:
    side_by_side(lambda _: [store.append([to("order-1", event("order-1"))]) for _ in range(3)], 200)
    stored = store.read_stream("order-1")
    assert [e.version for e in stored] == [e.sequence for e in stored] == [e.position for e in stored] == list(range(1, 601))


def test_openers_that_take_turns_see_what_the_other_has_appended(store: ServiceStore, url: str) -> None:
    with closing(PostgresEventStore(url, "store")) as other:
        for version, each in enumerate([store, other, other, store, store, store, other]):
            (stored,) = each.append([to("order-1", event("order-1"), expected=version)])
            assert (stored.version, stored.sequence, stored.position) == (version + 1, version + 1, version + 1)
        with pytest.raises(WrongExpectedVersion, match="expected version 6, found 7"):
            store.append([to("order-1", event("order-1"), expected=6)])


ids = st.sampled_from([f"e{n}" for n in range(12)])
beliefs = st.one_of(st.sampled_from([ANY, NO_STREAM]), st.integers(0, 3), st.integers(0, 3))


@st.composite
def an_append(draw: st.DrawFn) -> Append:
    stream = draw(st.sampled_from([None, "a-1", "a-2"]))
    events = draw(st.lists(st.tuples(ids, st.sampled_from([b"1", b"2"]), st.sampled_from(["t", "u"])), min_size=1, max_size=3))
    made = tuple(event(stream, event_id=name, data=data, topic=topic) for name, data, topic in events)
    return Append(stream, made, draw(beliefs))


def what(store: ServiceStore, appends: list[Append]) -> object:
    try:
        return [(e.position, e.topic, e.sequence, e.event_id, e.stream, e.version, e.repeated) for e in store.append(appends)]
    except AppendRefused as error:
        return type(error), str(error)


@given(st.lists(st.tuples(st.booleans(), st.lists(an_append(), min_size=1, max_size=2)), max_size=15))
@settings(max_examples=25, deadline=None)
def test_two_openers_do_together_what_the_specification_does(postgres: Postgres, calls: list[tuple[bool, list[Append]]]) -> None:
    specification, name = MemoryEventStore(), f"s{next(_schemas)}"
    with closing(PostgresEventStore(postgres.url, name)) as one, closing(PostgresEventStore(postgres.url, name)) as two:
        for first, appends in calls:
            assert what(one if first else two, appends) == what(specification, appends)
        assert [(e.position, e.sequence, e.version) for e in one.follow(0)] == [
            (e.position, e.sequence, e.version) for e in specification.follow(0)
        ]


def test_an_append_of_many_thousand_events_is_one_as_well(store: ServiceStore) -> None:
    before = store.append([facts(event("nul \0 inside"))])
    stored = store.append([to("big", *(event("big", event_id=f"{n}\0", data=b'{"n":%d}' % n) for n in range(6000))), facts(event("x"))])
    assert [e.sequence for e in stored] == list(range(2, 6003))
    assert (*before, *stored) == tuple(all_of(store))
    assert store.append([to("big", event("big", event_id="17\0", data=b'{"n":17}'))])[0].repeated


def test_a_name_that_no_index_holds_is_refused_and_nobody_elses_append(store: ServiceStore) -> None:
    with pytest.raises(InvalidEvent, match="topic 'xxx.*: expected at most 512 bytes, found 9000"):
        store.append([facts(event("good"), event("x", topic="x" * 9000))])
    assert store.follow(0) == ()


# ── a server that goes away ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def own_server() -> Iterator[Postgres]:
    """A server that these tests may crash."""
    with running_postgres() as server:
        yield server


def test_a_crash_in_the_middle_leaves_nothing_half_and_a_repeat_is_stored_once(own_server: Postgres) -> None:
    with own_server.database() as url, closing(PostgresEventStore(url, "store")) as store:
        attempts: dict[int, list[Append]] = {n: [] for n in range(8)}
        outcomes: Counter[str] = Counter()
        acknowledged: list[StoredEvent] = []

        def write(number: int) -> None:
            for turn in range(10_000):
                append = to(f"order-{number}", *(event(f"order-{number}") for _ in range(3)), expected=turn * 3)
                attempts[number].append(append)
                try:
                    acknowledged.extend(store.append([append]))
                except StoreAway:
                    outcomes["away"] += 1
                    return
                outcomes["stored"] += 1

        crash = threading.Thread(target=crash_when, args=(own_server, lambda: outcomes["stored"] > 50))
        crash.start()
        side_by_side(write, 8)
        crash.join()
        assert outcomes["away"] == 8
        own_server.start()

        found = all_of(store)
        assert {e.position for e in acknowledged} <= {e.position for e in found}
        assert [e.position for e in found] == [e.sequence for e in found] == list(range(1, len(found) + 1))
        assert {store.stream_version(f"order-{n}") % 3 for n in range(8)} == {0}
        for number, appends in attempts.items():
            store.append([appends[-1]])
            assert [e.version for e in store.read_stream(f"order-{number}")] == list(range(1, 3 * len(appends) + 1))


def crash_when(server: Postgres, condition: Callable[[], bool]) -> None:
    wait_until(condition)
    server.crash()


def test_a_server_that_is_away_says_so_in_every_verb_and_nothing_else_is_needed_when_it_is_back(own_server: Postgres) -> None:
    with own_server.database() as url, closing(PostgresEventStore(url, "store")) as store:
        (stored,) = store.append([to("order-1", event("order-1"))])
        store.wait_for_append(0)
        own_server.crash()
        asks: list[Callable[[], object]] = [
            lambda: store.append([facts(event("x"))]),
            lambda: store.read_stream("order-1"),
            lambda: store.claim("key", b"r" * 16, 1),
            lambda: store.lease("relay", "me", 1),
            lambda: store.mark_published("orders", 1),
            lambda: store.publish_again("orders", 0),
            lambda: store.wait_for_append(0.1),
            store.backlog,
            store.begin_epoch,
        ]
        with ThreadPoolExecutor(len(asks)) as pool:  # at once: each waits some seconds for the server
            for asked in [pool.submit(ask) for ask in asks]:
                with pytest.raises(StoreAway, match="store_events: PostgreSQL"):
                    asked.result()
        own_server.start()
        assert store.read_stream("order-1") == (stored,)
        assert store.append([to("order-1", event("order-1"), expected=1)])[0].version == 2
        assert store.wait_for_append(20)  # what was appended while nobody listened


def end_all_connections(url: str) -> None:
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(others)


def test_connections_that_the_server_ended_are_not_noticed(store: ServiceStore, url: str) -> None:
    store.append([to("order-1", event("order-1"))])
    store.stream_version("order-1")
    end_all_connections(url)
    assert store.append([to("order-1", event("order-1"), expected=1)])[0].version == 2
    end_all_connections(url)
    assert store.stream_version("order-1") == 2


def test_a_server_that_was_never_there_is_said_at_the_first_verb() -> None:
    port = free_ports(1)[0]
    with closing(PostgresEventStore(f"postgresql://nobody:s3cret@127.0.0.1:{port}/none", "store")) as store:
        with pytest.raises(StoreAway, match="store_events: PostgreSQL is away") as raised:
            store.append([facts(event("x"))])
        assert "s3cret" not in str(raised.value)


# ── LISTEN ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_append_of_another_process_is_heard(store: PostgresEventStore, url: str) -> None:
    assert not store.wait_for_append(0)
    with closing(PostgresEventStore(url, "store")) as other, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(store.wait_for_append, 20)
        begin = time.monotonic()
        other.append([facts(event("x"))])
        assert waiting.result()
        assert time.monotonic() - begin < 10
    assert not store.wait_for_append(0.05)


def test_what_is_appended_between_two_calls_is_heard_in_the_next_one(store: PostgresEventStore, url: str) -> None:
    store.wait_for_append(0)
    with closing(PostgresEventStore(url, "store")) as other:
        for _ in range(3):
            other.append([facts(event("x"))])
    assert store.wait_for_append(20)
    wait_until(lambda: not store.wait_for_append(0.05))  # three may be told one by one


def test_another_stores_appends_are_not_heard(store: PostgresEventStore, url: str) -> None:
    store.wait_for_append(0)
    with closing(PostgresEventStore(url, "other")) as other:
        other.append([facts(event("x"))])
    assert not store.wait_for_append(0.1)


async def test_what_was_appended_while_the_server_restarted_is_heard(own_server: Postgres) -> None:
    with (
        own_server.database() as url,
        closing(PostgresEventStore(url, "store")) as store,
        closing(PostgresEventStore(url, "store")) as other,
    ):
        store.wait_for_append(0)
        own_server.crash()
        own_server.start()
        other.append([facts(event("x"))])

        def heard() -> bool:
            try:
                return store.wait_for_append(1)
            except StoreAway:
                return False

        await until(heard)


# ── its schema ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_stores_of_one_database_do_not_mix(store: ServiceStore, url: str) -> None:
    store.append([to("order-1", event("order-1"))])
    with closing(PostgresEventStore(url, 'weird "name" \\ with, everything')) as other:
        assert (other.follow(0), other.stream_version("order-1")) == ((), 0)
        assert other.append([to("order-1", event("order-1"))])[0].position == 1
        assert other.producer != store.producer


def test_many_that_open_a_new_store_at_once_open_the_same(url: str) -> None:
    producers: list[str] = []

    def open_it(_: int) -> None:
        with closing(PostgresEventStore(url, "fresh")) as opened:
            producers.append(opened.producer)

    side_by_side(open_it, 8)
    assert (len(producers), len(set(producers))) == (8, 1)


def test_a_newer_schema_is_refused_with_the_remedy(store: ServiceStore, url: str) -> None:
    store.append([facts(event("x"))])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE store_events.schema_version SET version = 99")
    with (
        closing(PostgresEventStore(url, "store")) as other,
        pytest.raises(ConfigurationError, match=r"store_events: expected .* version 1 or older, found 99\. Start the version"),
    ):
        other.follow(0)


def test_a_schema_of_something_else_is_refused_and_left_as_it_is(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA theirs_events")
        with (
            closing(PostgresEventStore(url, "theirs")) as other,
            pytest.raises(ConfigurationError, match="theirs_events: expected an event"),
        ):
            other.append([facts(event("x"))])
        found = connection.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'theirs_events'::regnamespace").fetchone()
    assert found == (0,)


@pytest.mark.parametrize("name", ["x" * 60, "nul\0"])
def test_a_name_that_no_schema_can_have_is_refused(url: str, name: str) -> None:
    with pytest.raises(ConfigurationError, match="expected the name"):
        PostgresEventStore(url, name)


def test_an_address_that_is_none_is_refused_and_not_told() -> None:
    with pytest.raises(ConfigurationError, match="expected an address like postgresql") as raised:
        PostgresEventStore("postgresql://me:s3cret@host:port:what/x?=", "store")
    assert "s3cret" not in str(raised.value)


def test_the_settings_choose_stores_apart_from_read_models(url: str, tmp_path: Path) -> None:
    settings = Settings(store_url=url, data=tmp_path)
    with closing(connect(settings).event_store("assets")) as store, closing(PostgresEventStore(url, "assets")) as same:
        assert store.append([facts(event("x"))]) == same.follow(0)
    assert list(tmp_path.iterdir()) == []
    with closing(connect(Settings(database_url=url, data=tmp_path)).event_store("assets")) as in_a_file:
        assert (in_a_file.follow(0), (tmp_path / "stores" / "assets.sqlite").exists()) == ((), True)
