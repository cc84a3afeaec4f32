"""Every event store keeps the promises of `sidestream.ports.EventStore`; the one in memory is the specification."""

from collections.abc import Iterator

import msgspec
import pytest

from sidestream.errors import EventConflict, InvalidEvent, WrongExpectedVersion
from sidestream.event import MAX_EVENT_BYTES, decode_event
from sidestream.ports import ANY, NO_STREAM, Append, ExpectedVersion, ServiceStore, StoredEvent
from tests.contract.stores import ADAPTERS, event, facts, open_store, to
from tests.waiting import until

AWKWARD = '{"big":9007199254740993,"float":0.12345678901234567,"one":1.0,"nul":"\\u0000","sign":"🗳️"}'.encode()


def again(*stored: StoredEvent) -> tuple[StoredEvent, ...]:
    """What an append returns that finds these stored already."""
    return tuple(msgspec.structs.replace(each, repeated=True) for each in stored)


@pytest.fixture(params=ADAPTERS)
def store(request: pytest.FixtureRequest) -> Iterator[ServiceStore]:
    made = open_store(request.param, request)
    yield made
    made.close()


# ── places ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_append_gives_every_event_its_place_in_the_order_given(store: ServiceStore) -> None:
    first, second = store.append([to("order-1", event("order-1"), event("order-1"))])
    (third,) = store.append([to("order-2", event("order-2", topic="other"))])
    assert [(e.sequence, e.version, e.stream) for e in (first, second, third)] == [(1, 1, "order-1"), (2, 2, "order-1"), (1, 1, "order-2")]
    assert first.position < second.position < third.position


def test_the_stored_bytes_are_the_wire_with_its_number(store: ServiceStore) -> None:
    (stored,) = store.append([to("order-1", event("order-1", data=AWKWARD))])
    envelope = decode_event(stored.wire)
    assert bytes(envelope.data) == AWKWARD
    assert (envelope.producer, envelope.number, envelope.streamversion) == (store.producer, 1, 1)
    assert store.read_stream("order-1") == (stored,)


def test_facts_have_a_count_and_no_version(store: ServiceStore) -> None:
    stored = store.append([facts(event("file-1"), event("file-1"), event(None))])
    assert [(e.sequence, e.version, e.stream) for e in stored] == [(1, None, None), (2, None, None), (3, None, None)]
    assert [decode_event(e.wire).streamversion for e in stored] == [None, None, None]
    assert store.stream_version("file-1") == 0


def test_the_producer_is_an_id_with_its_epoch(store: ServiceStore) -> None:
    identifier, _, epoch = store.producer.partition(".")
    assert (len(identifier), epoch) == (36, "1")


def test_several_streams_and_topics_in_one_append_are_counted_each(store: ServiceStore) -> None:
    appends = [to("order-1", event("order-1")), facts(event("x", topic="votes")), to("order-1", event("order-1"), expected=1)]
    assert [(e.topic, e.sequence, e.version) for e in store.append(appends)] == [("orders", 1, 1), ("votes", 1, None), ("orders", 2, 2)]
    assert store.topics() == ("orders", "votes")


# ── expected versions ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("expected", "length"), [(NO_STREAM, 0), (ANY, 0), (0, 0), (ANY, 2), (2, 2)])
def test_a_belief_that_holds_is_accepted(store: ServiceStore, expected: ExpectedVersion, length: int) -> None:
    for _ in range(length):
        store.append([to("order-1", event("order-1"))])
    (stored,) = store.append([to("order-1", event("order-1"), expected=expected)])
    assert stored.version == length + 1


@pytest.mark.parametrize(("expected", "length"), [(NO_STREAM, 1), (1, 0), (1, 2), (3, 2), (2**63, 2), (-(2**70), 2)])
def test_a_belief_that_does_not_hold_stores_nothing(store: ServiceStore, expected: ExpectedVersion, length: int) -> None:
    for _ in range(length):
        store.append([to("order-1", event("order-1"))])
    with pytest.raises(WrongExpectedVersion, match=rf"order-1: expected version .*, found {length}\."):
        store.append([facts(event("other")), to("order-1", event("order-1"), expected=expected)])
    assert len(store.follow(0)) == length
    assert store.append([facts(event("other"))])[0].sequence == length + 1


# ── repeats ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_repeat_returns_the_first_place_and_stores_nothing(store: ServiceStore) -> None:
    repeated = event("order-1")
    (first,) = store.append([to("order-1", repeated)])
    store.append([to("order-1", event("order-1"))])
    assert store.append([to("order-1", repeated)]) == again(first)
    assert len(store.follow(0)) == 2


def test_a_repeat_inside_one_call_is_stored_once(store: ServiceStore) -> None:
    repeated = event("order-1")
    first, other, second = store.append([to("order-1", repeated, event("order-1")), to("order-1", repeated)])
    assert (first.repeated, other.repeated, other.sequence, len(store.follow(0))) == (False, False, 2, 2)
    assert (second,) == again(first)


def test_a_retried_append_with_its_old_belief_is_the_same_success(store: ServiceStore) -> None:
    append = to("order-1", event("order-1"), event("order-1"), expected=0)
    stored = store.append([append])
    store.append([to("order-1", event("order-1"), expected=2)])
    assert store.append([append]) == again(*stored)
    assert store.append([to("order-1", *append.events, expected=NO_STREAM)]) == again(*stored)


def test_a_half_repeat_holds_the_writer_to_its_belief(store: ServiceStore) -> None:
    known = event("order-1")
    store.append([to("order-1", known)])
    with pytest.raises(WrongExpectedVersion):
        store.append([to("order-1", known, event("order-1"), expected=0)])
    _, second = store.append([to("order-1", known, event("order-1"), expected=1)])
    assert second.version == 2


def test_many_new_events_around_one_that_is_stored_are_stored_and_nothing_twice(store: ServiceStore) -> None:
    known = event("file-1", event_id="e30")
    first = store.append([facts(known)])
    new = [event("file-1", event_id=f"e{n}") for n in range(60)]
    stored = store.append([facts(*new[:30], known, *new[31:])])
    assert [e.event_id for e in stored if e.repeated] == ["e30"]
    assert stored[30] == again(*first)[0]
    assert [e.sequence for e in stored if not e.repeated] == list(range(2, 61))
    assert store.follow(0) == (*first, *(e for e in stored if not e.repeated))


def test_a_refused_append_leaves_no_topic_behind(store: ServiceStore) -> None:
    store.append([facts(event(event_id="e1", data=b"1"))])
    with pytest.raises(EventConflict):
        store.append([facts(event(topic="votes"), event(event_id="e1", data=b"2"))])
    assert store.topics() == ("orders",)
    assert store.backlog() == {"orders": 1}


def test_the_same_id_with_other_content_is_a_conflict(store: ServiceStore) -> None:
    store.append([facts(event("x", event_id="7"))])
    with pytest.raises(EventConflict, match="event 7 of /services/orders is stored already"):
        store.append([facts(event("y")), facts(event("x", event_id="7", data=b'{"a":1}'))])
    with pytest.raises(EventConflict):
        store.append([facts(event("x", event_id="8"), event("x", event_id="8", data=b"[]"))])
    assert len(store.follow(0)) == 1


def test_a_fingerprint_decides_what_a_repeat_is(store: ServiceStore) -> None:
    (first,) = store.append([facts(event("x", event_id="7", data=b'{"a":1,"b":2}', fingerprint=b"same"))])
    assert store.append([facts(event("x", event_id="7", data=b'{"b":2,"a":1}', fingerprint=b"same"))]) == again(first)


def test_the_same_id_of_another_source_is_another_event(store: ServiceStore) -> None:
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
def test_an_invalid_event_is_refused_with_all_that_came_with_it(store: ServiceStore, bad: Append) -> None:
    with pytest.raises(InvalidEvent):
        store.append([facts(event("good")), bad])
    assert (store.follow(0), store.append([facts(event("good"))])[0].sequence) == ((), 1)


@pytest.mark.parametrize("text", ["nul \0 inside", "🗳️", "'; DROP TABLE events; --", " ", "x" * 500])
def test_any_text_may_name_a_stream_a_topic_and_an_event(store: ServiceStore, text: str) -> None:
    (stored,) = store.append([to(text, event(text, event_id=text, topic=text))])
    assert (store.read_stream(text), store.unpublished(text), store.topics()) == ((stored,), (stored,), (text,))
    assert store.append([to(text, event(text, event_id=text, topic=text))]) == again(stored)
    assert (store.stream_version(text), store.stream_version(text + "\0")) == (1, 0)


def test_no_appends_are_no_change(store: ServiceStore) -> None:
    assert store.append([]) == ()


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_stream_is_read_after_a_version_and_in_pages(store: ServiceStore) -> None:
    store.append([to("order-1", *(event("order-1") for _ in range(5))), to("order-2", event("order-2"))])
    assert [e.version for e in store.read_stream("order-1", after=1, limit=3)] == [2, 3, 4]
    assert (store.read_stream("order-1", after=5), store.read_stream("none"), store.stream_version("order-1")) == ((), (), 5)


def test_the_store_is_followed_in_commit_order(store: ServiceStore) -> None:
    appended = [
        stored for n in range(10) for stored in store.append([to(f"order-{n % 3}", event(f"order-{n % 3}"), event(f"order-{n % 3}"))])
    ]
    read: list[object] = []
    while page := store.follow(read[-1].position if read else 0, limit=7):  # type: ignore[attr-defined]
        read.extend(page)
    assert read == appended


def test_a_stream_is_read_backwards_in_pages(store: ServiceStore) -> None:
    stored = store.append([to("order-1", *(event("order-1") for _ in range(5))), to("order-2", event("order-2"))])
    assert store.read_stream_back("order-1", limit=2) == (stored[4], stored[3])
    assert store.read_stream_back("order-1", before=4) == (stored[2], stored[1], stored[0])
    assert (store.read_stream_back("order-1", before=1), store.read_stream_back("none")) == ((), ())


async def test_a_stream_is_read_as_it_was_at_a_time(store: ServiceStore) -> None:
    (first,) = store.append([to("order-1", event("order-1"))])
    await until(lambda: store.append([facts(event("tick"))])[0].recorded_ms > first.recorded_ms)
    second, third = store.append([to("order-1", event("order-1"), event("order-1"))])
    assert store.read_stream("order-1", until_ms=first.recorded_ms - 1) == ()
    assert store.read_stream("order-1", until_ms=first.recorded_ms) == (first,)
    assert store.read_stream("order-1", after=1, limit=1, until_ms=second.recorded_ms) == (second,)
    assert store.read_stream("order-1", until_ms=third.recorded_ms) == (first, second, third)


def test_a_topic_is_read_from_a_position_on_and_back(store: ServiceStore) -> None:
    for n in range(4):
        store.append([to(f"order-{n}", event(f"order-{n}")), facts(event("x", topic="votes"), event("y", topic="votes"))])
    votes = [e for e in store.follow(0) if e.topic == "votes"]
    assert list(store.read_topic("votes")) == votes
    assert list(store.read_topic("votes", votes[3].position, limit=2)) == votes[3:5]
    assert list(store.read_topic("votes", votes[3].position + 1)) == votes[4:]
    assert list(store.read_topic("votes", votes[1].position + 1, limit=1)) == votes[2:3]
    assert list(store.read_topic_back("votes")) == votes[::-1]
    assert list(store.read_topic_back("votes", votes[3].position, limit=2)) == [votes[2], votes[1]]
    assert (store.read_topic("votes", votes[-1].position + 1), store.read_topic_back("votes", votes[0].position)) == ((), ())


def test_the_events_of_a_topic_are_counted(store: ServiceStore) -> None:
    store.append([facts(event("x"), event("y"), event("z", topic="votes"))])
    assert (store.count_topic("orders"), store.count_topic("votes"), store.count_topic("nobody")) == (2, 1, 0)


@pytest.mark.parametrize("name", ["none", "", "nul \0", "\ud800"])
def test_what_was_never_stored_is_read_as_nothing(store: ServiceStore, name: str) -> None:
    store.append([to("order-1", event("order-1"))])
    assert (store.read_stream(name), store.read_stream_back(name), store.stream_version(name)) == ((), (), 0)
    assert (store.read_topic(name), store.read_topic_back(name), store.count_topic(name), store.unpublished(name)) == ((), (), 0, ())


@pytest.mark.parametrize("number", [-1, 2**70, -(2**70)])
def test_a_number_that_no_event_has_is_compared_as_it_is(store: ServiceStore, number: int) -> None:
    stored = store.append([to("order-1", event("order-1"))])
    beyond, below = (() if number > 0 else stored), (stored if number > 0 else ())
    assert store.follow(number) == store.read_stream("order-1", number) == store.read_topic("orders", number) == beyond
    assert store.read_stream_back("order-1", number) == store.read_topic_back("orders", number) == below
    assert store.read_stream("order-1", until_ms=number) == below
    assert store.follow(0, limit=number) == store.read_stream("order-1", limit=number) == store.read_topic("orders", limit=number) == below
