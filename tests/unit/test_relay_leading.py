"""One relay at a time per store: who leads, who takes over, and what an old leader that wakes may still do."""

import asyncio
import threading
import time
from collections.abc import Mapping

from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.adapters.memory_log import MemoryLog
from sidestream.errors import StoreAway, UnreadableEvent
from sidestream.event import decode_event
from sidestream.ports import Append
from sidestream.publishing.leading import PAUSE, RELAY, Standstill
from sidestream.publishing.relay import Relay
from tests.faulty_publisher import FaultyPublisher, first_occurrences
from tests.unit.test_relay import assert_nothing_overtaken, event, filled, published
from tests.waiting import until

LEASE = 0.3
"""Seconds: short, so that a successor need not be waited for."""


def relay(store: MemoryEventStore, log: MemoryLog, publisher: FaultyPublisher | None = None) -> Relay:
    return Relay(store, publisher or FaultyPublisher(log), sweep_seconds=0.02, lease_seconds=LEASE)


def filled_into(store: MemoryEventStore, count: int) -> int:
    for number in range(count):
        store.append([Append(f"order-{number}", (event(f"order-{number}"),))])
    return count


class WatchedStore(MemoryEventStore):
    """Counts how often a relay looked for what there is to do."""

    looks = 0

    def backlog(self) -> Mapping[str, int]:
        self.looks += 1
        return super().backlog()


async def test_of_two_relays_one_leads_and_the_other_begins_at_once_when_it_ends() -> None:
    store, log = filled(50, 5), MemoryLog()
    first, second = relay(store, log), relay(store, log)
    await first.start()
    await until(lambda: first.status.leads)
    async with second:
        await until(lambda: published(store))
        assert not second.status.leads
        assert log.extent("orders").length == 50
        await first.stop()
        await until(lambda: second.status.leads)
    assert not second.status.leads


async def test_a_relay_that_died_is_succeeded_when_its_lease_ends() -> None:
    store, log = MemoryEventStore(), MemoryLog()
    dead = relay(store, log)
    await dead.start()
    await until(lambda: dead.status.leads)
    for task in dead._tasks:  # as kill -9 would: nothing is given up
        task.cancel()
    async with relay(store, log) as successor:
        await until(lambda: successor.status.leads)


async def test_an_old_relay_that_wakes_beside_its_successor_only_repeats() -> None:
    store, log = filled(300, 20), MemoryLog()
    sleeping = FaultyPublisher(log)
    sleeping.gate.clear()
    old, successor = relay(store, log, sleeping), relay(store, log)
    await old.start()
    await until(lambda: bool(sleeping.calls))
    frozen = [*old._tasks]  # stopped as SIGSTOP would: its calls are on their way
    for task in frozen:
        task.cancel()
    async with successor:
        await until(lambda: published(store))
        sleeping.gate.set()
        await until(lambda: log.extent("orders").length > 300)
    assert len(first_occurrences(log, "orders")) == 300
    assert_nothing_overtaken(log)


async def test_while_somebody_asks_for_a_pause_nothing_is_published() -> None:
    store, log = WatchedStore(), MemoryLog()
    async with relay(store, log) as paused:
        await until(lambda: paused.status.leads)
        with Standstill(store, PAUSE, LEASE) as pause:
            assert pause.held(0)
            with Standstill(store, RELAY, LEASE) as lead:
                assert await asyncio.to_thread(lead.held, 10)
                await until(lambda: not paused.status.leads)
                added = filled_into(store, 5)
                paused.ring()
                looks = store.looks
                await until(lambda: store.looks > looks + 10)
                assert log.extent("orders").length == 0
        await until(lambda: published(store))
    assert len(first_occurrences(log, "orders")) == added


async def test_a_standstill_is_renewed_as_long_as_its_block_runs() -> None:
    store = MemoryEventStore()
    with Standstill(store, PAUSE, LEASE) as pause:
        assert pause.held(0)
        ended = time.monotonic() + 3 * LEASE
        await until(lambda: time.monotonic() > ended)
        assert not store.lease(PAUSE, "somebody else", LEASE)
    assert store.lease(PAUSE, "somebody else", LEASE)


class Clock:
    """Seconds that a test lets pass, for a store in milliseconds and for who holds a lease of it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def milliseconds(self) -> int:
        return int(self.seconds * 1000)


async def test_a_standstill_whose_process_stood_still_for_too_long_is_not_held_any_more() -> None:
    clock = Clock()
    with Standstill(MemoryEventStore(clock_ms=clock.milliseconds), RELAY, 60, clock) as lead:
        seen = [lead.is_held]
        assert lead.held(0)
        for clock.seconds in (0.0, 59.9, 60.0):
            seen.append(lead.is_held)
    assert seen == [False, True, True, False]


async def test_a_standstill_that_somebody_else_has_taken_over_says_so() -> None:
    clock = Clock()
    store = MemoryEventStore(clock_ms=clock.milliseconds)
    with Standstill(store, RELAY, LEASE) as lead:
        assert lead.held(0)
        clock.seconds = 2 * LEASE
        while not store.lease(RELAY, "somebody else", 60):
            clock.seconds += 2 * LEASE
        await until(lambda: not lead.is_held)


async def test_a_lease_that_was_renewed_too_late_is_lost_although_it_is_free_again() -> None:
    """Somebody may have led meanwhile."""
    clock, asked = Clock(), list[float]()

    class Slow(MemoryEventStore):
        def lease(self, name: str, holder: str, seconds: float) -> bool:
            asked.append(clock.seconds)
            if len(asked) == 2:
                clock.seconds = LEASE + 1  # the process stands still while it asks
            return super().lease(name, holder, seconds)

    with Standstill(Slow(clock_ms=clock.milliseconds), RELAY, LEASE, clock) as lead:
        assert lead.held(0)
        await until(lambda: len(asked) >= 2 and not lead._renewing.is_alive())
        clock.seconds = 0.0  # whatever the clock says now
        assert not lead.is_held


async def test_a_store_that_is_away_for_a_moment_costs_no_lease() -> None:
    class Away(MemoryEventStore):
        asked = 0

        def lease(self, name: str, holder: str, seconds: float) -> bool:
            self.asked += 1
            if self.asked == 2:
                raise StoreAway("for a moment")
            return super().lease(name, holder, seconds)

    clock, store = Clock(), Away()
    with Standstill(store, RELAY, LEASE, clock) as lead:
        assert lead.held(0)
        await until(lambda: store.asked >= 4)
        assert lead.is_held


async def test_a_leader_publishes_nothing_before_its_check_has_passed() -> None:
    store, log, failing = filled(20, 3), MemoryLog(), threading.Event()

    def check() -> None:
        if not failing.is_set():
            raise UnreadableEvent("the log lacks number 7")

    checking = Relay(store, FaultyPublisher(log), sweep_seconds=0.02, on_lead=check)
    async with checking:
        await until(lambda: "lacks number 7" in checking.status.last_error)
        assert log.extent("orders").length == 0
        failing.set()
        await until(lambda: published(store))
    assert not checking.status.last_error


async def test_a_relay_hears_what_other_processes_append() -> None:
    class AnnouncingStore(MemoryEventStore):
        def __init__(self) -> None:
            super().__init__()
            self.told = threading.Event()

        def wait_for_append(self, seconds: float) -> bool:
            heard = self.told.wait(min(seconds, 0.05))
            self.told.clear()
            return heard

    store, log = AnnouncingStore(), MemoryLog()
    async with Relay(store, FaultyPublisher(log), sweep_seconds=60):
        filled_into(store, 3)
        store.told.set()
        await until(lambda: published(store))
    assert {decode_event(wire).subject for wire in first_occurrences(log, "orders")} == {"order-0", "order-1", "order-2"}
