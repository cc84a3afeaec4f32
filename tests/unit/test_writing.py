"""What a writing service lives on: its store is held against the log before anything is appended, and forgets old answers."""

import asyncio
import time

import pytest
from structlog.testing import capture_logs

from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.adapters.memory_log import MemoryLog, MemoryPublisher
from sidestream.adapters.no_log import NoLog
from sidestream.backbone import MemoryBackbone
from sidestream.errors import LogUnavailable, ReadModelError, StoreAway, TryAgain, UnreadableEvent
from sidestream.ports import Answer, Append, EventLog, LogEntry, Publisher, ServiceStore
from sidestream.settings import Settings
from sidestream.writing.parts import _forget_answers, writing
from tests.unit.test_relay import event
from tests.waiting import until


class Parts(MemoryBackbone):
    """A store and a log of the test's own."""

    def __init__(self, store: ServiceStore, log: MemoryLog) -> None:
        super().__init__()
        self.store, self.own_log = store, log

    def event_store(self, name: str) -> ServiceStore:
        return self.store

    def log(self) -> EventLog:
        return self.own_log

    def publisher(self) -> Publisher:
        return MemoryPublisher(self.own_log)


def filled(count: int) -> MemoryEventStore:
    store = MemoryEventStore()
    for _ in range(count):
        store.append([Append("order-1", (event("order-1"),))])
    return store


def restored(store: MemoryEventStore, count: int) -> MemoryEventStore:
    copy = MemoryEventStore()
    copy._producer = store.producer
    copy.adopt("orders", [each.wire for each in store.follow(0, count)])
    return copy


async def test_a_restored_store_has_adopted_before_its_service_appends() -> None:
    before, log = filled(8), MemoryLog()
    log.record("orders", [each.wire for each in before.follow(0)])

    async with writing(Parts(restored(before, 3), log), "orders", ["orders"], Settings()) as parts:
        assert parts.store.stream_version("order-1") == 8
        parts.store.append([Append("order-1", (event("order-1"),), expected=8)])
        parts.relay.ring()
        await until(lambda: log.extent("orders").length == 9)


async def test_a_service_that_fails_inside_leaves_nobody_behind_who_would_forget_answers_of_a_closed_store() -> None:
    def forgetting() -> list[asyncio.Task[object]]:
        return [task for task in asyncio.all_tasks() if task.get_name() == "forget answers"]

    async def fail_inside() -> None:
        async with writing(Parts(MemoryEventStore(), MemoryLog()), "orders", ["orders"], Settings()):
            assert len(forgetting()) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_inside()
    assert forgetting() == []


async def test_where_the_broker_keeps_no_log_there_is_nothing_to_adopt_and_everything_is_published() -> None:
    class WithoutALog(Parts):
        def log(self) -> EventLog:
            return NoLog("the broker keeps none")

    published = MemoryLog()
    async with writing(WithoutALog(filled(3), published), "orders", ["orders"], Settings()) as parts:
        await until(lambda: published.extent("orders").length == 3)
        await until(lambda: parts.store.backlog() == {"orders": 0})


async def test_a_store_that_cannot_adopt_does_not_serve() -> None:
    before, log = filled(8), MemoryLog()
    log.record("orders", [each.wire for each in before.follow(0) if each.version != 5])

    with pytest.raises(UnreadableEvent):
        async with writing(Parts(restored(before, 3), log), "orders", ["orders"], Settings()):
            pass


async def test_a_log_that_is_away_does_not_keep_a_service_from_starting_and_is_looked_at_before_publishing() -> None:
    class Away(MemoryLog):
        away = True

        def read_back(self, topic: str, before: str | None, limit: int) -> list[LogEntry]:
            if self.away:
                raise LogUnavailable("the broker is down")
            return list(super().read_back(topic, before, limit))

    before, log = filled(8), Away()
    log.record("orders", [each.wire for each in before.follow(0)])
    copy = restored(before, 8)
    copy.publish_again("orders", 7)

    async with writing(Parts(copy, log), "orders", ["orders"], Settings(sweep_seconds=0.02)) as parts:
        await until(lambda: "the broker is down" in parts.relay.status.last_error)
        assert log.extent("orders").length == 8
        log.away = False
        await until(lambda: parts.relay.status.leads)
        await until(lambda: not any(copy.backlog().values()))


async def test_answers_are_forgotten_when_they_are_old_enough() -> None:
    now = time.time() * 1000
    clock = iter([now - 3 * 86_400_000.0, *[now] * 1000])
    store = MemoryEventStore(clock_ms=lambda: int(next(clock)))
    for key in ("old", "new"):
        store.append([], Answer(key, b"1" * 16, b"done"))

    async with writing(Parts(store, MemoryLog()), "orders", [], Settings(answer_days=2)):
        await until(lambda: store.claim("old", b"1" * 16, 0) is None)
        assert store.claim("new", b"1" * 16, 0) is not None


@pytest.mark.parametrize("problem", [StoreAway("the disk is full"), TryAgain("deadlock detected")])
async def test_what_could_not_be_forgotten_is_said_and_tried_again(problem: ReadModelError) -> None:
    asked = list[int]()

    class InTheWay(MemoryEventStore):
        def forget_answers(self, before_ms: int) -> int:
            asked.append(before_ms)
            if len(asked) < 3:
                raise problem
            return 0

    with capture_logs() as logs:
        forgetting = asyncio.create_task(_forget_answers(InTheWay(), 30, every_seconds=0.001))
        try:
            await until(lambda: len(asked) >= 4)
        finally:
            forgetting.cancel()
            await asyncio.gather(forgetting, return_exceptions=True)
    assert [(line["event"], line["error"]) for line in logs] == [("store: old answers not forgotten yet", str(problem))] * 2


def test_an_answer_cannot_be_kept_for_no_time() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        Settings(answer_days=0)
