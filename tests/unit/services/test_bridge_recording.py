"""Storing once: repeats, conflicts, and telling new from old."""

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from services.bridge.recording import Conflicts, Recorder
from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.adapters.sqlite_events import SqliteEventStore
from sidestream.event import NewEvent
from sidestream.ports import EventStore


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventStore]:
    """Every event store."""
    found: EventStore = MemoryEventStore() if request.param == "memory" else SqliteEventStore(tmp_path / "bridge.sqlite")
    yield found
    found.close()


def event(number: int, data: bytes = b"1") -> NewEvent:
    return NewEvent(topic="external", id=str(number), source="/till", type="opened", data=data, ordered=False, fingerprint=data)


def stored(store: EventStore) -> list[str]:
    return [found.event_id for found in store.follow(0, 10_000)]


def test_a_repeat_is_the_same_success(store: EventStore) -> None:
    recorder = Recorder(store, lambda: None)
    (first,) = recorder.record([event(1)])
    (again,) = recorder.record([event(1)])

    assert (first.duplicate, again.duplicate) == (False, True)
    assert first.stored.sequence == again.stored.sequence == 1
    assert stored(store) == ["1"]


def test_a_repeat_after_a_restart_is_known_as_one(store: EventStore) -> None:
    (before,) = Recorder(store, lambda: None).record([event(1)])
    (again,) = Recorder(store, lambda: None).record([event(1)])

    assert (again.duplicate, again.stored.position) == (True, before.stored.position)


def test_one_event_twice_in_a_batch_is_stored_once(store: EventStore) -> None:
    recorded = Recorder(store, lambda: None).record([event(1), event(2), event(1)])

    assert [each.duplicate for each in recorded] == [False, False, True]
    assert stored(store) == ["1", "2"]


def test_all_conflicts_of_a_batch_are_named_and_nothing_is_stored(store: EventStore) -> None:
    recorder = Recorder(store, lambda: None)
    recorder.record([event(number) for number in range(10)])
    with pytest.raises(Conflicts) as caught:
        recorder.record([event(3, b'"other"'), event(100), event(7, b'"other"'), event(1), event(100, b'"other"')])

    assert sorted(caught.value.reasons) == [0, 2, 4]
    assert len(stored(store)) == 10
    assert list(store.topics()) == ["external"]


def test_the_same_event_from_many_at_once_is_new_to_one_of_them(store: EventStore) -> None:
    recorder = Recorder(store, lambda: None)
    outcomes: list[bool] = []
    together = threading.Barrier(8)

    def send() -> None:
        together.wait()
        for number in range(20):
            outcomes.extend(each.duplicate for each in recorder.record([event(number)]))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outcomes.count(False) == len(stored(store)) == 20


def test_the_relay_is_told_only_of_what_was_stored(store: EventStore) -> None:
    rings: list[int] = []
    recorder = Recorder(store, lambda: rings.append(1))
    recorder.record([event(1)])
    with pytest.raises(Conflicts):
        recorder.record([event(1, b'"other"')])
    recorder.record([])

    assert len(rings) == 1


def test_a_conflict_may_have_the_longest_names(store: EventStore) -> None:
    long = msgspec.structs.replace(event(1), id="i" * 512, source="/" + "s" * 511)
    recorder = Recorder(store, lambda: None)
    recorder.record([long])
    with pytest.raises(Conflicts):
        recorder.record([msgspec.structs.replace(long, fingerprint=b'"other"')])
