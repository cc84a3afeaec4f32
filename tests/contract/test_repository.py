"""The repository over every event store: decide and append, conflicts, answers; and a snapshot is nothing but a cache."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.adapters.sqlite_events import SqliteEventStore
from sidestream.aggregate import Aggregate
from sidestream.causation import Cause
from sidestream.errors import (
    AlreadyAnswered,
    CommandRefused,
    RefusedByStore,
    StoreAway,
    TryAgain,
    UnknownSchemaVersion,
    UnreadableEvent,
    WrongExpectedVersion,
)
from sidestream.event import decode_event
from sidestream.identifiers import new_id, now
from sidestream.ports import Answer, Append, ServiceStore, Snapshot, StoredEvent
from sidestream.registry import Category, EventType, Registry
from sidestream.writing.repository import TRIES, Decided, Repository, places_of


class Added(msgspec.Struct, frozen=True):
    by: int


class Counter(msgspec.Struct, frozen=True):
    value: int = 0
    steps: tuple[int, ...] = ()


def decide(command: int, state: Counter) -> Sequence[Added]:
    if command < 0:
        raise CommandRefused("negative", "expected a number from 0")
    return [Added(command)] * min(command, 3)


def evolve(state: Counter, event: Added) -> Counter:
    return Counter(state.value + event.by, (*state.steps, event.by))


COUNTER = Aggregate[Counter, int, Added]("counter", Counter(), decide, evolve, shape="counter:1")
LANGUAGE = Registry([Category("counter", "counters", "/counters", (EventType("counter.added", Added),))])
REQUEST = b"r" * 16


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServiceStore]:
    made: ServiceStore = MemoryEventStore() if request.param == "memory" else SqliteEventStore(tmp_path / "store.sqlite")
    yield made
    made.close()


def counters(
    store: Any, *, every: int = 2, ring: Callable[[], object] = lambda: None, snapshots: Any = None
) -> Repository[Counter, int, Added]:
    return Repository(COUNTER, store, LANGUAGE, ring=ring, new_id=new_id, now=now, snapshots=snapshots, snapshot_every=every)


# ── deciding and appending ───────────────────────────────────────────────────────────────────────────────────────────


def test_what_never_was_is_the_initial_state_at_version_0(store: ServiceStore) -> None:
    loaded = counters(store).load("1")

    assert (loaded.state, loaded.version) == (Counter(), 0)


def test_a_command_is_decided_appended_and_rung(store: ServiceStore) -> None:
    rung: list[int] = []
    repository = counters(store, ring=lambda: rung.append(1))
    decided, stored = repository.execute("1", 2, cause=Cause("talk", "event-3", "trace"))

    assert (decided.state, decided.before, decided.version, decided.changed) == (Counter(4, (2, 2)), 0, 2, True)
    assert repository.load("1").state == decided.state
    envelopes = [decode_event(event.wire) for event in stored]
    assert [LANGUAGE.read(envelope) for envelope in envelopes] == [Added(2), Added(2)]
    assert {(each.subject, each.correlationid, each.causationid, each.traceparent) for each in envelopes} == {
        ("counter-1", "talk", "event-3", "trace")
    }
    assert [(place.topic, place.producer, place.sequence) for place in places_of(stored)] == [
        ("counters", store.producer, 1),
        ("counters", store.producer, 2),
    ]
    assert rung == [1]


def test_a_command_that_changes_nothing_appends_nothing_and_does_not_ring(store: ServiceStore) -> None:
    repository = counters(store, ring=lambda: pytest.fail("rung"))
    decided, stored = repository.execute("1", 0)

    assert (decided.changed, stored, store.stream_version("counter-1")) == (False, (), 0)


def test_a_refused_command_appends_nothing(store: ServiceStore) -> None:
    with pytest.raises(CommandRefused, match="expected a number"):
        counters(store).execute("1", -1)
    assert store.stream_version("counter-1") == 0


def test_what_was_recorded_is_found_again(store: ServiceStore) -> None:
    repository = counters(store)
    _, first = repository.execute("1", 2)
    decided, second = repository.execute("1", 3)

    assert [event.event_id for event in repository.recorded("counter-1", 2, 5)] == [event.event_id for event in second]
    assert [event.event_id for event in repository.recorded("counter-1", 2, 2)] == [first[-1].event_id]
    assert not repository.recorded("counter-2", 0, 0)
    assert decided.version == 5


def test_a_stream_longer_than_a_page_is_folded_whole(store: ServiceStore) -> None:
    events = tuple(LANGUAGE.new_event(Added(1), id=new_id(), subject="counter-1", time=now()) for _ in range(2_345))
    store.append([Append("counter-1", events)])

    assert counters(store).load("1").state.value == 2_345


def test_an_event_that_cannot_be_read_stops_the_command(store: ServiceStore) -> None:
    strange = msgspec.structs.replace(LANGUAGE.new_event(Added(1), id="x", subject="counter-1", time=now()), type="counter.unknown")
    store.append([Append("counter-1", (strange,))])

    with pytest.raises(UnreadableEvent, match=r"counter\.unknown"):
        counters(store).execute("1", 1)


def stored_as(store: ServiceStore, dataschema: str, data: bytes = b'{"by": 1}') -> None:
    event = msgspec.structs.replace(
        LANGUAGE.new_event(Added(1), id="added-9", subject="counter-1", time=now()),
        type=dataschema.split(":")[2],
        dataschema=dataschema,
        data=data,
    )
    store.append([Append("counter-1", (event,))])


@pytest.mark.parametrize("dataschema", ["urn:sidestream:counter.added:2", "urn:sidestream:counter.doubled:1"])
def test_an_event_of_a_newer_program_is_said_with_its_remedy_and_nothing_is_decided(store: ServiceStore, dataschema: str) -> None:
    stored_as(store, dataschema)

    with pytest.raises(UnknownSchemaVersion) as raised:
        counters(store).execute("1", 1)
    said = str(raised.value)
    assert said.startswith("event added-9 of counter-1: expected a type and version that this program knows, found counter.")
    assert f" as {dataschema}. " in said
    assert "deploy the newer program everywhere" in said
    assert "dead letter" not in said
    assert len(store.follow(0, 10)) == 1


def test_an_event_that_is_not_what_its_type_declares_is_named_and_nothing_is_decided(store: ServiceStore) -> None:
    stored_as(store, "urn:sidestream:counter.added:1", b'{"by": "one"}')

    with pytest.raises(
        UnreadableEvent, match=r"^event added-9 of counter-1: expected counter\.added as this program declares it"
    ) as raised:
        counters(store).execute("1", 1)
    assert not isinstance(raised.value, UnknownSchemaVersion)
    assert "dead letter" not in str(raised.value)
    assert len(store.follow(0, 10)) == 1


# ── conflicts ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Rivalled:
    """A store in which somebody else is faster, so many times."""

    def __init__(self, store: ServiceStore, times: int) -> None:
        self._store = store
        self.times = times

    def append(self, appends: Sequence[Append], answer: Answer | None = None) -> tuple[StoredEvent, ...]:
        if self.times:
            self.times -= 1
            self._store.append([Append("counter-1", (LANGUAGE.new_event(Added(100), id=new_id(), subject="counter-1", time=now()),))])
        return self._store.append(appends, answer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_a_conflict_is_decided_anew(store: ServiceStore) -> None:
    decided, _ = counters(Rivalled(store, TRIES - 1)).execute("1", 1)

    assert decided.state.steps == (*[100] * (TRIES - 1), 1)


def test_after_so_many_conflicts_the_caller_is_told(store: ServiceStore) -> None:
    rivalled = Rivalled(store, TRIES + 5)
    with pytest.raises(WrongExpectedVersion):
        counters(rivalled).execute("1", 1)
    assert (rivalled.times, store.stream_version("counter-1")) == (5, TRIES)


def test_with_an_expected_version_a_conflict_is_the_callers_at_once(store: ServiceStore) -> None:
    counters(store).execute("1", 1)
    rivalled = Rivalled(store, 5)
    with pytest.raises(WrongExpectedVersion) as caught:
        counters(rivalled).execute("1", 1, expected=[1])
    assert (rivalled.times, caught.value.found) == (4, 2)


def test_another_version_than_the_expected_ones_is_not_even_decided(store: ServiceStore) -> None:
    counters(store).execute("1", 3)
    with pytest.raises(WrongExpectedVersion, match="expected version 2 or 4, found 3"):
        counters(store).execute("1", -1, expected=[4, 2])
    assert counters(store).execute("1", 1, expected=[3, 4])[0].version == 4


def test_many_at_once_lose_no_step(store: ServiceStore) -> None:
    repository = counters(store, snapshots=store)

    def add(_: int) -> int:
        while True:
            try:
                return repository.execute("1", 1)[0].version
            except WrongExpectedVersion:
                continue

    with ThreadPoolExecutor(8) as pool:
        versions = sorted(pool.map(add, range(80)))

    assert versions == list(range(1, 81))
    assert counters(store).load("1").state == repository.load("1").state == Counter(80, (1,) * 80)


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def answer(decided: Decided[Counter]) -> Answer:
    return Answer("key", REQUEST, str(decided.version).encode())


def test_the_answer_is_stored_with_the_events(store: ServiceStore) -> None:
    assert store.claim("key", REQUEST, 10) is None
    counters(store).execute("1", 2, answer=answer)

    assert store.claim("key", REQUEST, 10) == Answer("key", REQUEST, b"2")


def test_a_command_that_changed_nothing_is_answered_too(store: ServiceStore) -> None:
    counters(store).execute("1", 0, answer=answer)

    assert store.claim("key", REQUEST, 10) == Answer("key", REQUEST, b"0")


def test_whoever_is_answered_meanwhile_appends_nothing(store: ServiceStore) -> None:
    repository = counters(store)
    repository.execute("1", 2, answer=answer)
    with pytest.raises(AlreadyAnswered) as caught:
        repository.execute("1", 1, answer=answer)

    assert (caught.value.content, store.stream_version("counter-1")) == (b"2", 2)


def test_a_command_that_is_decided_anew_stores_the_answer_of_what_it_decided_last(store: ServiceStore) -> None:
    counters(Rivalled(store, 2)).execute("1", 1, answer=answer)

    assert store.claim("key", REQUEST, 10) == Answer("key", REQUEST, b"3")


# ── snapshots ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_load_goes_on_from_the_last_snapshot(store: ServiceStore) -> None:
    repository = counters(store, every=5, snapshots=store)
    for _ in range(13):
        repository.execute("1", 1)

    kept = store.snapshot("counter-1", "counter:1")
    assert kept is not None
    assert kept.version == 10
    loaded = repository.load("1")
    assert (loaded.version, loaded.folded, loaded.state.value) == (13, 3, 13)


@pytest.mark.parametrize(
    "problem", [StoreAway("disk full"), TryAgain("deadlock detected"), RefusedByStore("too large"), ValueError("?")], ids=type
)
def test_a_snapshot_that_cannot_be_kept_does_not_fail_the_command(store: ServiceStore, problem: Exception) -> None:
    class Unwilling:
        def snapshot(self, stream: str, shape: str) -> Snapshot | None:
            return None

        def keep_snapshot(self, snapshot: Snapshot) -> None:
            raise problem

    with capture_logs() as logs:
        assert counters(store, every=1, snapshots=Unwilling()).execute("1", 1)[0].version == 1
    assert [(line["event"], line["stream"]) for line in logs] == [("snapshot not kept", "counter-1")]
    assert str(problem) in logs[0]["problem"]


def test_a_state_that_no_snapshot_can_hold_does_not_fail_the_command(store: ServiceStore) -> None:
    def beyond_64_bits(state: Counter, event: Added) -> Counter:
        return Counter(state.value + event.by + 2**64)

    aggregate = Aggregate[Counter, int, Added]("counter", Counter(), decide, beyond_64_bits, shape="counter:1")
    repository = Repository(aggregate, store, LANGUAGE, ring=lambda: None, new_id=new_id, now=now, snapshots=store, snapshot_every=1)
    with capture_logs() as logs:
        assert repository.execute("1", 1, answer=answer)[0].version == 1
    assert [line["event"] for line in logs] == ["snapshot not kept"]
    assert store.snapshot("counter-1", "counter:1") is None
    assert repository.load("1").state.value == 2**64 + 1


def test_a_snapshot_of_a_stream_that_ended_otherwise_is_ignored(tmp_path: Path) -> None:
    """A store restored from a copy, and written to again: same version, other events."""
    before, after = MemoryEventStore(), MemoryEventStore()
    for store, command in ((before, 1), (after, 2)):
        repository = counters(store, every=2, snapshots=before if store is before else None)
        for _ in range(2):
            repository.execute("1", command)

    loaded = counters(after, snapshots=before).load("1")
    assert loaded.state == counters(after).load("1").state
    assert counters(before, snapshots=before).load("1").folded == 0


def test_a_snapshot_of_another_shape_is_ignored(store: ServiceStore) -> None:
    repository = counters(store, every=1, snapshots=store)
    repository.execute("1", 3)
    kept = store.snapshot("counter-1", "counter:1")
    assert kept is not None
    store.keep_snapshot(msgspec.structs.replace(kept, shape="counter:2", version=99))

    assert repository.load("1").folded == 3


damage = st.one_of(
    st.just("drop"),
    st.tuples(st.just("flip"), st.integers(0, 200)),
    st.tuples(st.just("cut"), st.integers(0, 60)),
    st.tuples(st.just("version"), st.integers(-1, 60)),
    st.tuples(st.just("bytes"), st.binary(max_size=40)),
    st.just("keep old"),
)
steps = st.lists(st.one_of(st.integers(0, 4), damage), max_size=25)


@given(steps, st.integers(1, 5))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_becomes_of_the_snapshots_the_events_and_the_state_are_the_same(steps: list[Any], every: int) -> None:
    plain, cached = MemoryEventStore(), MemoryEventStore()
    without, with_snapshots = counters(plain), counters(cached, every=every, snapshots=cached)
    old: list[Snapshot] = []
    for step in steps:
        if isinstance(step, int):
            expected, found = without.execute("1", step)[0], with_snapshots.execute("1", step)[0]
            assert (found.state, found.version, found.events) == (expected.state, expected.version, expected.events)
        else:
            spoil(cached, step, old)
        assert with_snapshots.load("1").state == without.load("1").state
    assert facts(cached) == facts(plain)


def facts(store: MemoryEventStore) -> list[object]:
    return [(event.stream, event.version, decode_event(event.wire).data) for event in store.follow(0)]


def spoil(store: MemoryEventStore, how: Any, old: list[Snapshot]) -> None:
    """Do to the snapshot what a disk, an old backup or a bad program might do."""
    kept = store.snapshot("counter-1", "counter:1")
    if kept is None:
        return
    store.drop_snapshots()
    if how == "keep old":
        old.append(kept)
        store.keep_snapshot(old[0])
        return
    if how == "drop":
        return
    kind, value = how
    state = bytearray(kept.state)
    if kind == "flip" and state:
        state[value % len(state)] ^= 1 << value % 8
    changed = {
        "flip": lambda: msgspec.structs.replace(kept, state=bytes(state)),
        "cut": lambda: msgspec.structs.replace(kept, state=kept.state[:value]),
        "version": lambda: msgspec.structs.replace(kept, version=value),
        "bytes": lambda: msgspec.structs.replace(kept, state=value),
    }[kind]()
    store.keep_snapshot(changed)


def test_no_bit_of_a_snapshot_can_be_wrong_without_its_being_ignored() -> None:
    store = MemoryEventStore()
    repository = counters(store, every=1, snapshots=store)
    expected = repository.execute("1", 3)[0].state
    kept = store.snapshot("counter-1", "counter:1")
    assert kept is not None
    for place in range(len(kept.state) * 8):
        spoilt = bytearray(kept.state)
        spoilt[place // 8] ^= 1 << place % 8
        store.drop_snapshots()
        store.keep_snapshot(msgspec.structs.replace(kept, state=bytes(spoilt)))
        loaded = repository.load("1")
        assert (loaded.state, loaded.folded) == (expected, 3)


def test_deleting_every_snapshot_while_others_work_changes_nothing(store: ServiceStore) -> None:
    repository = counters(store, every=3, snapshots=store)
    deleted, done = threading.Event(), threading.Event()

    def delete() -> None:
        while not done.is_set():
            if store.drop_snapshots():
                deleted.set()

    with ThreadPoolExecutor(1) as pool:
        deleting = pool.submit(delete)
        versions: list[int] = []
        while len(versions) < 60 or not deleted.is_set():
            versions.append(repository.execute("1", 1)[0].version)
        done.set()
        deleting.result()

    assert versions == list(range(1, len(versions) + 1))
    assert repository.load("1").state == Counter(len(versions), (1,) * len(versions))
