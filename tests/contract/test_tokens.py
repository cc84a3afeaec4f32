"""Queries wait for their own writes: until exactly these are counted and not parked. On every read model adapter."""

import asyncio
from collections.abc import Sequence

import pytest

from sidestream.adapters.memory_log import MemoryLog
from sidestream.applying.consistency import Place
from sidestream.applying.corrections import BESIDE, Correction, Corrections
from sidestream.errors import StoreAway
from sidestream.ports import LogEntry, ReadModels
from sidestream.rebuilding.rebuild import rebuild
from tests.contract.kept_open import kept_open
from tests.contract.test_hosting import REGISTRY, Hits, HitsOfNextVersion, hits, host_of, now, wires
from tests.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # a sqlite3 connection of a thread pool's thread is closed with it


def place(number: int, producer: str = "web.1") -> Place:
    return Place("hits", producer, number)


def poison(number: int, event_id: str = "bad") -> bytes:
    return wires(number, 1)[0].replace(b'{"page":"/"}', b'{"page":7}').replace(f'"id":"{number}"'.encode(), f'"id":"{event_id}"'.encode())


async def test_what_is_applied_already_is_answered_at_once(read_models: ReadModels) -> None:
    log = MemoryLog()
    log.record("hits", wires(1, 3))
    async with host_of(log, read_models) as host:
        (standing,) = await host.wait_for((place(3),), 10)
        assert standing.applied
        assert host.waiting == 0


async def test_a_query_waits_for_its_event_and_for_no_other(read_models: ReadModels) -> None:
    log = MemoryLog()
    async with host_of(log, read_models) as host:
        log.on_delivery("hits", host.ring)
        waiting = asyncio.create_task(host.wait_for((place(2),), 10))
        await until(lambda: host.waiting == 1)
        await asyncio.to_thread(log.record, "hits", [*wires(3, 5), *wires(1, 1)])
        await until(lambda: hits(host) == 6)
        assert not waiting.done()  # later numbers and positions prove nothing
        await asyncio.to_thread(log.record, "hits", wires(2, 1))
        (standing,) = await waiting
        assert standing.applied


async def test_a_waiting_query_rings_so_that_a_lost_bell_costs_nothing(read_models: ReadModels) -> None:
    log = MemoryLog()
    async with host_of(log, read_models) as host:
        await until(lambda: host.caught_up)
        log.record("hits", wires(1, 1))
        (standing,) = await host.wait_for((place(1),), 10)
        assert standing.applied


async def test_a_deadline_says_how_many_events_are_missing(read_models: ReadModels) -> None:
    log = MemoryLog()
    log.record("hits", [*wires(1, 2), *wires(4, 1)])
    async with host_of(log, read_models) as host:
        (standing,) = await host.wait_for((place(9),), 0.2)
        assert (standing.counted, standing.missing, standing.parked) == (False, 6, None)
        assert (await host.wait_for((place(5, "other.1"),), 0.0))[0].missing == 5
        assert host.waiting == 0


async def test_an_event_that_is_parked_is_answered_at_once_with_its_reason(read_models: ReadModels) -> None:
    log = MemoryLog()
    log.record("hits", [poison(1), *wires(2, 1)])
    async with host_of(log, read_models) as host:
        good, bad = await host.wait_for((place(2), place(1)), 30)
        assert good.applied
        assert bad.parked is not None
        assert (bad.counted, bad.parked.event_id, bad.parked.reason) == (True, "bad", "unreadable-event")


async def test_a_decision_about_the_parked_event_ends_the_matter_at_the_next_sweep(read_models: ReadModels) -> None:
    log = MemoryLog()
    log.record("hits", [poison(1), *wires(2, 1)])
    async with host_of(log, read_models, sweep_seconds=0.05) as host:
        await until(lambda: host.caught_up)
        corrections = Corrections(read_models.beside(BESIDE))
        edited = poison(1).replace(b'{"page":7}', b'{"page":"/"}')
        decision = Correction(0, "event", "/services/web", "bad", "edit", edited, poison(1), "ann", "typo", "now")
        await asyncio.to_thread(corrections.record, decision)
        await until(lambda: hits(host) == 2)
        assert (await host.wait_for((place(1),), 1))[0].applied
        assert host.totals()["g1"].released == 1
        done = await asyncio.to_thread(rebuild, Hits(), REGISTRY, log, read_models, now)
        assert done.outcome.parked == 0
        await until(lambda: host.live == done.generation and hits(host) == 2)
        corrections.close()


async def test_a_commit_of_another_replica_wakes_who_waits(read_models: ReadModels) -> None:
    read_models = kept_open(read_models)  # both replicas share them
    log = MemoryLog()
    async with host_of(log, read_models, sweep_seconds=0.05) as one, host_of(log, read_models) as other:
        await until(lambda: one.caught_up and other.caught_up)
        waiting = asyncio.create_task(one.wait_for((place(1),), 10))
        await until(lambda: one.waiting == 1)
        log.record("hits", wires(1, 1))
        other.ring("hits")
        assert (await waiting)[0].applied


class NeverEnding(MemoryLog):
    """A log that has grown whenever it is read: whoever follows it never reaches its end."""

    going = True
    written = 0

    def read(self, topic: str, start: str | None, limit: int) -> Sequence[LogEntry]:
        if self.going:
            self.written += 1
            self.record(topic, wires(self.written, 1))
        return super().read(topic, start, 2)


async def test_a_query_is_answered_after_the_commit_and_not_at_the_end_of_the_log(read_models: ReadModels) -> None:
    log = NeverEnding()
    async with host_of(log, read_models) as host:
        (standing,) = await host.wait_for((place(10),), 20)
        still_going = not host.caught_up
        log.going = False
        assert standing.applied
        assert still_going


class CountedReads(MemoryLog):
    """A log that counts how often it is read."""

    reads = 0

    def read(self, topic: str, start: str | None, limit: int) -> Sequence[LogEntry]:
        self.reads += 1
        return super().read(topic, start, limit)


async def test_a_thousand_waiters_poll_nothing_and_are_all_answered(read_models: ReadModels) -> None:
    log = CountedReads()
    async with host_of(log, read_models) as host:
        log.on_delivery("hits", host.ring)
        await until(lambda: host.caught_up)
        before = log.reads
        waiting = [asyncio.create_task(host.wait_for((place(number),), 30)) for number in range(1, 1001)]
        await until(lambda: host.waiting == 1000)
        await asyncio.sleep(0)
        assert log.reads - before <= 20  # a look for all of them, not one each
        await asyncio.to_thread(log.record, "hits", wires(1, 1000))
        assert all(standing.applied for (standing,) in await asyncio.gather(*waiting))


async def test_without_a_generation_to_serve_nobody_waits(read_models: ReadModels) -> None:
    log = MemoryLog()
    async with host_of(log, read_models, projection=HitsOfNextVersion(), sweep_seconds=0.02) as host:
        await asyncio.to_thread(rebuild, Hits(), REGISTRY, log, read_models, now, accept=True)
        await asyncio.to_thread(read_models.switch, "g2")
        await until(lambda: host.not_serving() != "")
        with pytest.raises(StoreAway, match="projections rebuild"):
            await host.wait_for((place(1),), 5)
