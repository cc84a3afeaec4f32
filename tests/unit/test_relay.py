"""The relay against a publisher on a bad day: nothing lost, nothing marked too early, nothing overtaken within a stream."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.adapters.memory_log import MemoryLog
from sidestream.errors import StoreAway
from sidestream.event import NewEvent, decode_event
from sidestream.identifiers import new_id
from sidestream.ports import Append, StoredEvent
from sidestream.publishing.relay import Relay
from tests.faulty_publisher import FaultyPublisher, first_occurrences
from tests.waiting import until


def event(subject: str | None, topic: str = "orders", *, ordered: bool = True) -> NewEvent:
    return NewEvent(topic=topic, id=new_id(), source="/services/orders", type="order.placed", subject=subject, ordered=ordered, data=b"1")


def filled(count: int, streams: int, seed: int = 0, topic: str = "orders") -> MemoryEventStore:
    store, dice = MemoryEventStore(), Random(seed)
    for _ in range(count):
        stream = f"order-{dice.randrange(streams)}"
        store.append([Append(stream, (event(stream, topic),))])
    return store


def published(store: MemoryEventStore) -> bool:
    return not any(store.backlog().values())


def assert_nothing_overtaken(log: MemoryLog, topic: str = "orders") -> None:
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for wire in first_occurrences(log, topic):
        envelope = decode_event(wire)
        numbers[envelope.stream].append(envelope.number or 0)
    assert all(found == sorted(found) for found in numbers.values())


async def test_everything_stored_is_published_with_its_very_bytes() -> None:
    store, log = filled(5000, 700), MemoryLog()
    async with Relay(store, FaultyPublisher(log)):
        await until(lambda: published(store))
    assert sorted(first_occurrences(log, "orders")) == sorted(stored.wire for stored in store.follow(0, 9999))
    assert log.extent("orders").length == 5000
    assert_nothing_overtaken(log)


@given(seed=st.integers(0, 10_000), streams=st.integers(1, 40), failing=st.sampled_from([0.0, 0.1, 0.5]))
@settings(max_examples=15, deadline=None)
def test_random_faults_lose_nothing_and_disorder_nothing(seed: int, streams: int, failing: float) -> None:
    async def run() -> None:
        store, log = filled(60, streams, seed), MemoryLog()
        async with Relay(store, FaultyPublisher(log, seed=seed, failing=failing), retry_seconds=0.001):
            await until(lambda: published(store), 60)
        assert len(first_occurrences(log, "orders")) == 60
        assert_nothing_overtaken(log)

    asyncio.run(run())


async def test_a_call_never_holds_two_ordered_events_of_one_subject() -> None:
    store, log = MemoryEventStore(), MemoryLog()
    subjects = {}
    for n in range(300):
        (stored,) = store.append([Append(None, (event(f"file-{n % 7}"),))])
        subjects[stored.event_id] = f"file-{n % 7}"
    publisher = FaultyPublisher(log)
    async with Relay(store, publisher):
        await until(lambda: published(store))
    for call in publisher.calls:
        assert len({subjects[name] for name in call}) == len(call)
    assert_nothing_overtaken(log)


@pytest.mark.parametrize("kind", ["unordered", "no subject"])
async def test_facts_without_order_go_out_in_few_calls(kind: str) -> None:
    store, log = MemoryEventStore(), MemoryLog()
    store.append([Append(None, tuple(event("hot" if kind == "unordered" else None, ordered=kind == "no subject") for _ in range(1200)))])
    publisher = FaultyPublisher(log)
    async with Relay(store, publisher):
        await until(lambda: published(store))
    assert len(publisher.calls) <= 5


async def test_only_what_has_no_hole_before_it_is_marked() -> None:
    store, log = MemoryEventStore(), MemoryLog()
    stored = store.append([Append(None, tuple(event(f"x-{n}") for n in range(50)))])
    publisher = FaultyPublisher(log)
    publisher.refused = {stored[20].event_id}
    async with Relay(store, publisher, retry_seconds=0.01) as relay:
        await until(lambda: len(first_occurrences(log, "orders")) == 49)
        await until(lambda: store.backlog() == {"orders": 30})
        assert store.unpublished("orders")[0] == stored[20]
        await until(lambda: relay.status.last_error == "refused")
        publisher.refused.clear()
        await until(lambda: published(store))
    assert len(first_occurrences(log, "orders")) == 50


async def test_an_event_that_is_refused_holds_up_its_own_stream_only() -> None:
    store, log = MemoryEventStore(), MemoryLog()
    (bad,) = store.append([Append("order-bad", (event("order-bad"),))])
    store.append([Append("order-bad", (event("order-bad"),))])
    store.append([Append("order-good", tuple(event("order-good") for _ in range(20)))])
    publisher = FaultyPublisher(log)
    publisher.refused = {bad.event_id}
    async with Relay(store, publisher):
        await until(lambda: len(first_occurrences(log, "orders")) == 20)
    assert {decode_event(wire).subject for wire in first_occurrences(log, "orders")} == {"order-good"}


async def test_a_topic_that_is_stuck_does_not_hold_up_another() -> None:
    store, log = filled(10, 10), MemoryLog()
    (stuck,) = store.append([Append(None, (event("x", "votes"),))])
    publisher = FaultyPublisher(log)
    publisher.refused = {stuck.event_id}
    async with Relay(store, publisher):
        await until(lambda: store.backlog() == {"orders": 0, "votes": 1})


async def test_a_crash_between_publish_and_mark_repeats_and_loses_nothing() -> None:
    class ForgetfulStore(MemoryEventStore):
        def mark_published(self, topic: str, sequence: int) -> None:
            raise StoreAway("the process died before it could mark")

    store, log = ForgetfulStore(), MemoryLog()
    store.append([Append(None, tuple(event(f"x-{n}") for n in range(30)))])
    async with Relay(store, FaultyPublisher(log)):
        await until(lambda: log.extent("orders").length == 30)
    async with Relay(store, FaultyPublisher(log)):
        await until(lambda: log.extent("orders").length == 60)
    assert len(first_occurrences(log, "orders")) == 30
    assert store.backlog() == {"orders": 30}


async def test_two_relays_at_once_can_only_repeat() -> None:
    store, log = filled(600, 20), MemoryLog()
    first, second = FaultyPublisher(log, seed=1, failing=0.1), FaultyPublisher(log, seed=2, failing=0.1)
    async with Relay(store, first, retry_seconds=0.001, sweep_seconds=0.02), Relay(store, second, retry_seconds=0.001):
        await until(lambda: published(store), 30)
        for _ in range(50):
            store.append([Append(None, (event(None),))])
        await until(lambda: published(store), 30)
    assert len(first_occurrences(log, "orders")) == 650


async def test_a_ring_is_heard_at_once() -> None:
    store, log = MemoryEventStore(), MemoryLog()
    async with Relay(store, FaultyPublisher(log), sweep_seconds=3600) as relay:
        for n in range(1, 6):
            await asyncio.to_thread(store.append, [Append(None, (event("x"),))])
            await asyncio.to_thread(relay.ring)
            await until(lambda n=n: log.extent("orders").length == n)


async def test_the_sweep_finds_what_nobody_rang_for() -> None:
    store, log = MemoryEventStore(), MemoryLog()
    async with Relay(store, FaultyPublisher(log), sweep_seconds=0.05):
        store.append([Append(None, (event("x"),))])
        await until(lambda: published(store))


async def test_stop_finishes_and_marks_what_is_in_flight_and_starts_nothing_new() -> None:
    store, log = filled(50, 1), MemoryLog()
    publisher = FaultyPublisher(log)
    publisher.gate.clear()
    relay = Relay(store, publisher)
    await relay.start()
    await until(lambda: len(publisher.calls) == 1)
    stopping = asyncio.create_task(relay.stop())
    publisher.gate.set()
    await stopping
    assert (len(publisher.calls), store.backlog(), log.extent("orders").length) == (1, {"orders": 49}, 1)
    relay.ring()


async def test_look_ahead_is_bounded() -> None:
    class CountingStore(MemoryEventStore):
        read = 0

        def unpublished(self, topic: str, limit: int = 1000, after: int = 0) -> Sequence[StoredEvent]:
            events = super().unpublished(topic, limit, after)
            self.read += len(events) if limit > 1 else 0  # one alone is asked for to see how old it is
            return events

    store, log = CountingStore(), MemoryLog()
    store.append([Append(None, tuple(event(f"x-{n}") for n in range(5000)))])
    publisher = FaultyPublisher(log)
    publisher.away = True
    async with Relay(store, publisher, look_ahead=200, retry_seconds=0.001) as relay:
        await until(lambda: len(publisher.calls) > 5)
        relay.ring()
        assert store.read <= 400
        assert relay.status.last_error == "away"
        publisher.away = False
        await until(lambda: published(store), 20)
    assert store.read == 5000


async def test_a_store_that_is_away_for_a_while_is_asked_again() -> None:
    class MoodyStore(MemoryEventStore):
        away = True

        def unpublished(self, topic: str, limit: int = 1000, after: int = 0) -> Sequence[StoredEvent]:
            if self.away:
                raise StoreAway("disk full")
            return super().unpublished(topic, limit, after)

    store, log = MoodyStore(), MemoryLog()
    store.append([Append(None, (event("x"),))])
    async with Relay(store, FaultyPublisher(log), sweep_seconds=0.05) as relay:
        await until(lambda: "disk full" in relay.status.last_error)
        store.away = False
        await until(lambda: published(store))
        await until(lambda: not relay.status.last_error)
        await until(lambda: relay.status.backlog == {"orders": 0})


async def test_what_another_relay_has_marked_meanwhile_is_no_hole() -> None:
    store, log = MemoryEventStore(), MemoryLog()
    publisher = FaultyPublisher(log)
    async with Relay(store, publisher) as relay:
        for marked_by_another in (False, True, False):
            store.append([Append(None, tuple(event(f"x-{n}") for n in range(10)))])
            if marked_by_another:
                store.mark_published("orders", 20)
                continue
            relay.ring()
            await until(lambda: published(store))
    assert log.extent("orders").length == 20
