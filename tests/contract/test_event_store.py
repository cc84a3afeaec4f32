"""Every event store keeps the promises of `sidestream.ports.EventStore`; the one in memory is the specification."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.adapters.sqlite_events import SqliteEventStore
from sidestream.errors import AppendRefused, EventConflict, InvalidEvent, WrongExpectedVersion
from sidestream.event import MAX_EVENT_BYTES, NewEvent, decode_event
from sidestream.identifiers import new_id
from sidestream.ports import ANY, NO_STREAM, Append, EventStore, ExpectedVersion

AWKWARD = '{"big":9007199254740993,"float":0.12345678901234567,"one":1.0,"nul":"\\u0000","sign":"🗳️"}'.encode()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventStore]:
    made: EventStore = MemoryEventStore() if request.param == "memory" else SqliteEventStore(tmp_path / "store.sqlite")
    yield made
    made.close()


def event(
    subject: str | None = None, *, event_id: str = "", data: bytes = b"{}", topic: str = "orders", fingerprint: bytes = b""
) -> NewEvent:
    return NewEvent(
        topic=topic,
        id=event_id or new_id(),
        source="/services/orders",
        type="order.placed",
        data=data,
        subject=subject,
        fingerprint=fingerprint,
    )


def to(stream: str, *events: NewEvent, expected: ExpectedVersion = ANY) -> Append:
    return Append(stream, events, expected)


def facts(*events: NewEvent) -> Append:
    return Append(None, events)


# ── places ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_append_gives_every_event_its_place_in_the_order_given(store: EventStore) -> None:
    first, second = store.append([to("order-1", event("order-1"), event("order-1"))])
    (third,) = store.append([to("order-2", event("order-2", topic="other"))])
    assert [(e.sequence, e.version, e.stream) for e in (first, second, third)] == [(1, 1, "order-1"), (2, 2, "order-1"), (1, 1, "order-2")]
    assert first.position < second.position < third.position


def test_the_stored_bytes_are_the_wire_with_its_number(store: EventStore) -> None:
    (stored,) = store.append([to("order-1", event("order-1", data=AWKWARD))])
    envelope = decode_event(stored.wire)
    assert bytes(envelope.data) == AWKWARD
    assert (envelope.producer, envelope.number, envelope.streamversion) == (store.producer, 1, 1)
    assert store.read_stream("order-1") == (stored,)


def test_facts_have_a_count_and_no_version(store: EventStore) -> None:
    stored = store.append([facts(event("file-1"), event("file-1"), event(None))])
    assert [(e.sequence, e.version, e.stream) for e in stored] == [(1, None, None), (2, None, None), (3, None, None)]
    assert [decode_event(e.wire).streamversion for e in stored] == [None, None, None]
    assert store.stream_version("file-1") == 0


def test_the_producer_is_an_id_with_its_epoch(store: EventStore) -> None:
    identifier, _, epoch = store.producer.partition(".")
    assert (len(identifier), epoch) == (36, "1")


def test_several_streams_and_topics_in_one_append_are_counted_each(store: EventStore) -> None:
    appends = [to("order-1", event("order-1")), facts(event("x", topic="votes")), to("order-1", event("order-1"), expected=1)]
    assert [(e.topic, e.sequence, e.version) for e in store.append(appends)] == [("orders", 1, 1), ("votes", 1, None), ("orders", 2, 2)]
    assert store.topics() == ("orders", "votes")


# ── expected versions ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("expected", "length"), [(NO_STREAM, 0), (ANY, 0), (0, 0), (ANY, 2), (2, 2)])
def test_a_belief_that_holds_is_accepted(store: EventStore, expected: ExpectedVersion, length: int) -> None:
    for _ in range(length):
        store.append([to("order-1", event("order-1"))])
    (stored,) = store.append([to("order-1", event("order-1"), expected=expected)])
    assert stored.version == length + 1


@pytest.mark.parametrize(("expected", "length"), [(NO_STREAM, 1), (1, 0), (1, 2), (3, 2)])
def test_a_belief_that_does_not_hold_stores_nothing(store: EventStore, expected: ExpectedVersion, length: int) -> None:
    for _ in range(length):
        store.append([to("order-1", event("order-1"))])
    with pytest.raises(WrongExpectedVersion, match=rf"order-1: expected version .*, found {length}\."):
        store.append([facts(event("other")), to("order-1", event("order-1"), expected=expected)])
    assert len(store.follow(0)) == length
    assert store.append([facts(event("other"))])[0].sequence == length + 1


# ── repeats ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_repeat_returns_the_first_place_and_stores_nothing(store: EventStore) -> None:
    repeated = event("order-1")
    (first,) = store.append([to("order-1", repeated)])
    store.append([to("order-1", event("order-1"))])
    assert store.append([to("order-1", repeated)]) == (first,)
    assert len(store.follow(0)) == 2


def test_a_repeat_inside_one_call_is_stored_once(store: EventStore) -> None:
    repeated = event("order-1")
    first, other, again = store.append([to("order-1", repeated, event("order-1")), to("order-1", repeated)])
    assert (again, other.sequence, len(store.follow(0))) == (first, 2, 2)


def test_a_retried_append_with_its_old_belief_is_the_same_success(store: EventStore) -> None:
    append = to("order-1", event("order-1"), event("order-1"), expected=0)
    stored = store.append([append])
    store.append([to("order-1", event("order-1"), expected=2)])
    assert store.append([append]) == stored
    assert store.append([to("order-1", *append.events, expected=NO_STREAM)]) == stored


def test_a_half_repeat_holds_the_writer_to_its_belief(store: EventStore) -> None:
    known = event("order-1")
    store.append([to("order-1", known)])
    with pytest.raises(WrongExpectedVersion):
        store.append([to("order-1", known, event("order-1"), expected=0)])
    _, second = store.append([to("order-1", known, event("order-1"), expected=1)])
    assert second.version == 2


def test_the_same_id_with_other_content_is_a_conflict(store: EventStore) -> None:
    store.append([facts(event("x", event_id="7"))])
    with pytest.raises(EventConflict, match="event 7 of /services/orders is stored already"):
        store.append([facts(event("y")), facts(event("x", event_id="7", data=b'{"a":1}'))])
    with pytest.raises(EventConflict):
        store.append([facts(event("x", event_id="8"), event("x", event_id="8", data=b"[]"))])
    assert len(store.follow(0)) == 1


def test_a_fingerprint_decides_what_a_repeat_is(store: EventStore) -> None:
    (first,) = store.append([facts(event("x", event_id="7", data=b'{"a":1,"b":2}', fingerprint=b"same"))])
    assert store.append([facts(event("x", event_id="7", data=b'{"b":2,"a":1}', fingerprint=b"same"))]) == (first,)


def test_the_same_id_of_another_source_is_another_event(store: EventStore) -> None:
    mine = event("x", event_id="7")
    stored = store.append([facts(mine, msgspec.structs.replace(mine, source="/services/other"))])
    assert [e.sequence for e in stored] == [1, 2]


# ── what must not enter ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "bad",
    [
        to("order-1", event("order-2")),
        to("order-1", event(None)),
        to("", event("")),
        to("order-1"),
        facts(event("x", event_id="\ud800")),
        facts(event("\ud800")),
        facts(event("x", data=b"no json")),
        facts(event("x", data=b'"\xff"')),
        facts(event("x", topic="")),
        facts(event("x", data=b'"' + b"x" * MAX_EVENT_BYTES + b'"')),
    ],
    ids=["other subject", "no subject", "no name", "no events", "id", "subject", "not JSON", "not UTF-8", "no topic", "too large"],
)
def test_an_invalid_event_is_refused_with_all_that_came_with_it(store: EventStore, bad: Append) -> None:
    with pytest.raises(InvalidEvent):
        store.append([facts(event("good")), bad])
    assert (store.follow(0), store.append([facts(event("good"))])[0].sequence) == ((), 1)


@pytest.mark.parametrize("text", ["nul \0 inside", "🗳️", "'; DROP TABLE events; --", " ", "x" * 500])
def test_any_text_may_name_a_stream_a_topic_and_an_event(store: EventStore, text: str) -> None:
    (stored,) = store.append([to(text, event(text, event_id=text, topic=text))])
    assert (store.read_stream(text), store.unpublished(text), store.topics()) == ((stored,), (stored,), (text,))
    assert store.append([to(text, event(text, event_id=text, topic=text))]) == (stored,)
    assert (store.stream_version(text), store.stream_version(text + "\0")) == (1, 0)


def test_no_appends_are_no_change(store: EventStore) -> None:
    assert store.append([]) == ()


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_stream_is_read_after_a_version_and_in_pages(store: EventStore) -> None:
    store.append([to("order-1", *(event("order-1") for _ in range(5))), to("order-2", event("order-2"))])
    assert [e.version for e in store.read_stream("order-1", after=1, limit=3)] == [2, 3, 4]
    assert (store.read_stream("order-1", after=5), store.read_stream("none"), store.stream_version("order-1")) == ((), (), 5)


def test_the_store_is_followed_in_commit_order(store: EventStore) -> None:
    appended = [
        stored for n in range(10) for stored in store.append([to(f"order-{n % 3}", event(f"order-{n % 3}"), event(f"order-{n % 3}"))])
    ]
    read: list[object] = []
    while page := store.follow(read[-1].position if read else 0, limit=7):  # type: ignore[attr-defined]
        read.extend(page)
    assert read == appended


# ── publishing ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_not_marked_is_unpublished(store: EventStore) -> None:
    stored = store.append([facts(*(event("x") for _ in range(5)), event("y", topic="votes"))])
    store.mark_published("orders", 2)
    assert store.unpublished("orders") == stored[2:5]
    assert store.unpublished("orders", limit=1, after=3) == stored[3:4]
    assert store.unpublished("orders", after=1) == stored[2:5]
    assert store.unpublished("votes") == stored[5:]
    assert store.backlog() == {"orders": 3, "votes": 1}
    assert store.unpublished("nobody") == ()


def test_a_mark_never_goes_back_nor_beyond_the_last_event(store: EventStore) -> None:
    store.append([facts(event("x"), event("x"), event("x"))])
    for mark in (2, 1, 0):
        store.mark_published("orders", mark)
    assert store.backlog() == {"orders": 1}
    store.mark_published("orders", 99)
    store.mark_published("nobody", 1)
    (later,) = store.append([facts(event("x"))])
    assert store.unpublished("orders") == (later,)


# ── side by side ─────────────────────────────────────────────────────────────────────────────────────────────────────


def side_by_side(count: int, work: Callable[[int], object]) -> None:
    begin = threading.Barrier(count)

    def together(number: int) -> None:
        begin.wait()
        work(number)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(together, range(count)))


def test_writers_that_believe_anything_leave_a_gapless_stream(store: EventStore) -> None:
    side_by_side(20, lambda _: [store.append([to("order-1", event("order-1"))]) for _ in range(10)])
    stored = store.read_stream("order-1")
    assert [e.version for e in stored] == [e.sequence for e in stored] == [e.position for e in stored] == list(range(1, 201))


def test_writers_with_the_same_belief_have_one_winner(store: EventStore) -> None:
    outcomes: Counter[str] = Counter()

    def write(_: int) -> None:
        for version in range(10):
            try:
                store.append([to("order-1", event("order-1"), expected=version)])
                outcomes["won"] += 1
            except AppendRefused:
                outcomes["lost"] += 1
            while store.stream_version("order-1") <= version:
                pass

    side_by_side(8, write)
    assert (outcomes["won"], outcomes["lost"], store.stream_version("order-1")) == (10, 70, 10)


def test_the_same_event_from_many_writers_is_stored_once(store: EventStore) -> None:
    repeated = event("order-1")
    places = []
    side_by_side(20, lambda _: places.append(store.append([to("order-1", repeated)])))
    assert (len({p[0].position for p in places}), len(store.follow(0))) == (1, 1)


def test_a_refused_append_does_not_take_those_beside_it_along(store: EventStore) -> None:
    refused: Counter[type] = Counter()

    def write(number: int) -> None:
        for _ in range(20):
            try:
                store.append([facts(event("x")), to("order-1", event("order-1"), expected=0 if number % 2 else 7)])
            except WrongExpectedVersion as error:
                refused[type(error)] += 1

    side_by_side(10, write)
    assert (refused[WrongExpectedVersion], len(store.follow(0))) == (199, 2)
    assert [e.sequence for e in store.follow(0)] == [1, 2]


def test_a_follower_beside_writers_skips_nothing(store: EventStore) -> None:
    seen: list[int] = []
    done = threading.Event()

    def follow() -> None:
        while not done.is_set() or store.follow(seen[-1] if seen else 0):
            seen.extend(e.position for e in store.follow(seen[-1] if seen else 0, limit=50))

    follower = threading.Thread(target=follow)
    follower.start()
    side_by_side(8, lambda n: [store.append([facts(event(f"x-{n}"), event(f"x-{n}"))]) for _ in range(25)])
    done.set()
    follower.join()
    assert seen == list(range(1, 401))


# ── the two against each other ───────────────────────────────────────────────────────────────────────────────────────

ids = st.sampled_from([f"e{n}" for n in range(12)])
contents = st.sampled_from([b"1", b"2"])
streams = st.sampled_from([None, "a-1", "a-2"])
beliefs = st.one_of(st.sampled_from([ANY, NO_STREAM]), st.integers(0, 3))


@st.composite
def an_append(draw: st.DrawFn) -> Append:
    stream = draw(streams)
    events = draw(st.lists(st.tuples(ids, contents, st.sampled_from(["t", "u"])), min_size=1, max_size=4))
    made = tuple(event(stream, event_id=name, data=data, topic=topic) for name, data, topic in events)
    return Append(stream, made, draw(beliefs))


def what(store: EventStore, appends: list[Append]) -> object:
    try:
        return [(e.position, e.topic, e.sequence, e.event_id, e.stream, e.version) for e in store.append(appends)]
    except AppendRefused as error:
        return type(error), str(error)


@given(st.lists(st.lists(an_append(), min_size=1, max_size=3), max_size=12))
@settings(max_examples=60, deadline=None)
def test_sqlite_does_what_the_specification_does(tmp_path_factory: pytest.TempPathFactory, calls: list[list[Append]]) -> None:
    specification, store = MemoryEventStore(), SqliteEventStore(tmp_path_factory.mktemp("store") / "store.sqlite")
    assert [what(store, call) for call in calls] == [what(specification, call) for call in calls]
    assert len(store.follow(0)) == len(specification.follow(0))
    assert store.backlog() == specification.backlog()
    store.close()
