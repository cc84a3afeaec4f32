"""Whatever is asked of a store, in whatever order: it answers as the specification does, and holds what that one holds."""

from collections.abc import Callable
from itertools import count

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.errors import AlreadyAnswered, SidestreamError
from sidestream.event import Counted, decode_event, encode_event
from sidestream.ports import ANY, NO_STREAM, Answer, Append, ServiceStore, Snapshot, StoredEvent
from sidestream.writing.answering import LONGEST_SECONDS
from tests.contract.stores import SHARED, event, open_store

TOPICS = ("t", "u")
STREAMS = ("a-1", "a-2")
NEVER_ENDS = float(LONGEST_SECONDS)

topics = st.sampled_from(TOPICS)
streams = st.sampled_from(STREAMS)
ids = st.sampled_from([f"e{n}" for n in range(16)])
contents = st.sampled_from([b"1", b'{"z":1,"a":[1.0]}'])
beliefs = st.one_of(st.just(ANY), st.sampled_from([NO_STREAM]), st.integers(-1, 6))
numbers = st.integers(-1, 12)
keys = st.sampled_from(["k1", "k2", "k3"])
digests = st.sampled_from([b"a" * 16, b"b" * 16])


@st.composite
def an_append(draw: st.DrawFn) -> Append:
    stream = draw(st.one_of(st.none(), streams))
    events = draw(st.lists(st.tuples(ids, contents, topics), min_size=1, max_size=4))
    return Append(stream, tuple(event(stream, event_id=name, data=data, topic=topic) for name, data, topic in events), draw(beliefs))


answers = st.one_of(st.none(), st.builds(Answer, keys, digests, st.sampled_from([b"", b"yes"])))


class Rank:
    """Positions of two stores are compared by their order: the n-th of one is the n-th of the other."""

    def __init__(self, store: ServiceStore) -> None:
        self.positions = [each.position for each in store.follow(0)]

    def position(self, rank: int) -> int:
        if rank < 0 or not self.positions:
            return 0
        return self.positions[rank] if rank < len(self.positions) else self.positions[-1] + 1

    def seen(self, each: StoredEvent) -> object:
        wire = decode_event(each.wire)
        content = (wire.id, wire.number, wire.streamversion, (wire.producer or "").rpartition(".")[2], bytes(wire.data))
        place = (self.positions.index(each.position), each.topic, each.sequence, each.source, each.event_id, each.stream, each.version)
        return place, each.ordered, each.repeated, content


class StoreMachine(RuleBasedStateMachine):
    """Does the same to both; every step compares what they said."""

    def __init__(self, opened: Callable[[], ServiceStore]) -> None:
        super().__init__()
        self.model: ServiceStore = MemoryEventStore()
        self.store = opened()

    def teardown(self) -> None:
        self.store.close()

    def both(self, work: Callable[[ServiceStore], object]) -> None:
        assert outcome(self.store, work) == outcome(self.model, work)

    def read(self, work: Callable[[ServiceStore, Rank], object]) -> None:
        self.both(lambda store: work(store, Rank(store)))

    @rule(appends=st.lists(an_append(), max_size=3), answer=answers)
    def append(self, appends: list[Append], answer: Answer | None) -> None:
        self.both(lambda store: store.append(appends, answer))

    @rule(topic=topics, upto=numbers)
    def mark(self, topic: str, upto: int) -> None:
        self.both(lambda store: store.mark_published(topic, upto))

    @rule(topic=topics, after=numbers)
    def publish_again(self, topic: str, after: int) -> None:
        self.both(lambda store: store.publish_again(topic, after))

    @rule(key=keys, digest=digests)
    def claim(self, key: str, digest: bytes) -> None:
        self.both(lambda store: store.claim(key, digest, NEVER_ENDS))

    @rule(key=keys)
    def release(self, key: str) -> None:
        self.both(lambda store: store.release(key))

    @rule(before_ms=st.sampled_from([0, 2**52]))
    def forget(self, before_ms: int) -> None:
        self.both(lambda store: store.forget_answers(before_ms))

    @rule(name=st.sampled_from(["l1", "l2"]), holder=st.sampled_from(["x", "y"]), ends=st.booleans())
    def lease(self, name: str, holder: str, ends: bool) -> None:
        self.both(lambda store: store.end_lease(name, holder) if ends else store.lease(name, holder, NEVER_ENDS))

    @rule(stream=streams, version=numbers, shape=st.sampled_from(["s1", "s2"]))
    def keep_snapshot(self, stream: str, version: int, shape: str) -> None:
        self.both(lambda store: store.keep_snapshot(Snapshot(stream, version, shape, b"%d" % version)))

    @rule()
    def drop_snapshots(self) -> None:
        self.both(lambda store: store.drop_snapshots())

    @rule(
        topic=topics,
        ahead=st.integers(-2, 2),
        stream=st.one_of(st.none(), streams),
        skip=st.integers(0, 2),
        names=st.lists(ids, max_size=3),
    )
    def adopt(self, topic: str, ahead: int, stream: str | None, skip: int, names: list[str]) -> None:
        def work(store: ServiceStore) -> object:
            number = 1 + ahead + last_number(store, topic)
            version = store.stream_version(stream) + skip if stream else None
            wires = []
            for at, name in enumerate(names):
                place = Counted(store.producer, number + at, None if version is None else version + at)
                wires.append(encode_event(event(stream, event_id=name, data=b"1", topic=topic), place))
            return store.adopt(topic, wires)

        self.both(work)

    @rule()
    def begin_epoch(self) -> None:
        self.both(lambda store: store.begin_epoch().rpartition(".")[2])

    @rule(stream=streams, version=numbers, limit=st.integers(0, 4))
    def read_a_stream(self, stream: str, version: int, limit: int) -> None:
        self.both(lambda store: store.read_stream(stream, version, limit))
        self.both(lambda store: store.read_stream_back(stream, version, limit))

    @rule(topic=topics, rank=numbers, limit=st.integers(0, 4))
    def read_a_topic(self, topic: str, rank: int, limit: int) -> None:
        self.read(lambda store, order: store.read_topic(topic, order.position(rank), limit))
        self.read(lambda store, order: store.read_topic_back(topic, order.position(rank), limit))

    @rule(topic=topics, after=numbers, limit=st.integers(0, 4))
    def read_unpublished(self, topic: str, after: int, limit: int) -> None:
        self.both(lambda store: store.unpublished(topic, limit, after))

    @invariant()
    def they_hold_the_same(self) -> None:
        self.both(lambda store: store.follow(0))
        for topic in TOPICS:
            self.both(lambda store, topic=topic: (store.count_topic(topic), store.read_topic_back(topic), store.unpublished(topic)))  # type: ignore[misc]
        for stream in STREAMS:
            self.both(lambda store, stream=stream: (store.stream_version(stream), store.read_stream(stream)))  # type: ignore[misc]
            self.both(lambda store, stream=stream: (store.snapshot(stream, "s1"), store.snapshot(stream, "s2")))  # type: ignore[misc]
        self.both(lambda store: (store.topics(), dict(store.backlog())))


def last_number(store: ServiceStore, topic: str) -> int:
    mine = [each.sequence for each in store.read_topic(topic) if decode_event(each.wire).producer == store.producer]
    return max(mine, default=0)


def outcome(store: ServiceStore, work: Callable[[ServiceStore], object]) -> object:
    """Return what a store said, in words that two stores have in common."""
    try:
        said = work(store)
    except AlreadyAnswered as error:
        return type(error), error.content
    except SidestreamError as error:
        return type(error)
    return plain(said, Rank(store))


def plain(said: object, rank: Rank) -> object:
    if isinstance(said, StoredEvent):
        return rank.seen(said)
    if isinstance(said, tuple):
        return tuple(plain(each, rank) for each in said)
    return msgspec.to_builtins(said)


@pytest.mark.parametrize("adapter", SHARED)
def test_a_store_does_what_the_specification_does(adapter: str, request: pytest.FixtureRequest) -> None:
    names = count(1)

    class Machine(StoreMachine):
        def __init__(self) -> None:
            super().__init__(lambda: open_store(adapter, request, f"machine_{next(names)}"))

    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        Machine,
        settings=settings(max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=quiet),
    )
