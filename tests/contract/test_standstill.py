"""Writers stand still for a mover: seen by every publisher, ended with the mover, and final once it has switched."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from sidestream.adapters.memory_log import MemoryLog, MemoryPublisher
from sidestream.errors import ConfigurationError, PublishFailed, StandsStill
from sidestream.event import NewEvent
from sidestream.identifiers import new_id
from sidestream.ports import Outgoing
from sidestream.publishing.direct import DirectPublisher
from sidestream.publishing.standstill import FOLDER, Gate, StandingPublisher, moving, switches_in
from sidestream.web.problems import status_of
from tests.waiting import until

PATIENCE = 5.0


def fresh(data: Path) -> Gate:
    """The gate of a process that starts now."""
    return Gate(data)


def is_closed(gate: Gate, data: Path) -> str:
    """What the gate says, without what it remembers of its last look."""
    gate._looked_at = float("-inf")
    return gate.reason()


def test_a_folder_where_nothing_was_moved_is_open(tmp_path: Path) -> None:
    gate = fresh(tmp_path)
    assert gate.enter() == ""
    gate.leave()
    gate.close()


def test_writers_stand_still_while_a_mover_wants_it_and_go_on_afterwards(tmp_path: Path) -> None:
    gate = fresh(tmp_path)
    with moving(tmp_path, "redis", "kafka") as mover:
        assert is_closed(gate, tmp_path) == "", "the long copy stops nobody"
        with mover.standstill(PATIENCE):
            assert "being moved from redis to kafka" in is_closed(gate, tmp_path)
            assert "being moved" in gate.enter()
        assert is_closed(gate, tmp_path) == ""
    gate.close()


def test_whoever_was_started_before_the_switch_stays_still_and_whoever_starts_after_it_does_not(tmp_path: Path) -> None:
    before = fresh(tmp_path)
    with moving(tmp_path, "redis", "kafka") as mover, mover.standstill(PATIENCE):
        mover.switching()
        meanwhile = fresh(tmp_path)
        mover.moved()
    assert "was moved from redis to kafka" in is_closed(before, tmp_path)
    assert "was moved from redis to kafka" in before.enter()
    before.close()
    assert "was moved" in is_closed(meanwhile, tmp_path), "it may have read the old component"
    assert is_closed(fresh(tmp_path), tmp_path) == ""
    assert switches_in(tmp_path) == (1, "kafka")


def test_a_second_move_stops_those_that_the_first_one_started(tmp_path: Path) -> None:
    for source, target in (("redis", "kafka"), ("kafka", "redis")):
        gate = fresh(tmp_path)
        with moving(tmp_path, source, target) as mover, mover.standstill(PATIENCE):
            mover.switching()
            mover.moved()
        assert f"was moved from {source} to {target}" in is_closed(gate, tmp_path)
    assert is_closed(fresh(tmp_path), tmp_path) == ""


def test_a_mover_that_died_while_it_switched_leaves_everybody_still_until_it_is_completed(tmp_path: Path) -> None:
    before = fresh(tmp_path)
    with moving(tmp_path, "redis", "kafka") as mover, mover.standstill(PATIENCE):
        mover.switching()
    assert "sidestream broker move --from redis --to kafka" in is_closed(before, tmp_path)
    assert "broker move" in is_closed(fresh(tmp_path), tmp_path)
    assert switches_in(tmp_path)[0] == 0
    with pytest.raises(ConfigurationError, match="interrupted move to be completed first"), moving(tmp_path, "redis", "jetstream"):
        pass
    with moving(tmp_path, "redis", "kafka") as again, again.standstill(PATIENCE):
        assert again.interrupted
        again.switching()
        again.moved()
    assert switches_in(tmp_path) == (1, "kafka")
    assert "was moved" in is_closed(before, tmp_path)
    assert is_closed(fresh(tmp_path), tmp_path) == ""


def test_a_completion_that_fails_leaves_everybody_still(tmp_path: Path) -> None:
    before = fresh(tmp_path)
    for _ in range(2):
        with moving(tmp_path, "redis", "kafka") as mover, mover.standstill(PATIENCE):
            if not mover.interrupted:
                mover.switching()
        assert "broker move" in is_closed(before, tmp_path)


def test_two_movers_at_once_are_refused(tmp_path: Path) -> None:
    with (
        moving(tmp_path, "redis", "kafka"),
        pytest.raises(ConfigurationError, match="nobody else to move"),
        moving(tmp_path, "redis", "kafka"),
    ):
        pass


def test_a_call_under_way_is_waited_for(tmp_path: Path) -> None:
    gate = fresh(tmp_path)
    assert gate.enter() == ""
    with moving(tmp_path, "redis", "kafka") as mover:
        with pytest.raises(ConfigurationError, match="every call to the broker to end within 0.1 s"), mover.standstill(0.1):
            pass
        assert is_closed(gate, tmp_path) == "", "writers go on"
        gate.leave()
        with mover.standstill(0.1):
            pass
    gate.close()


def test_a_process_that_is_never_without_a_call_begins_no_other_one(tmp_path: Path) -> None:
    gate = fresh(tmp_path)
    assert gate.enter() == ""
    refused: list[str] = []

    def look() -> None:
        while not (tmp_path / FOLDER / "mark.json").exists():
            threading.Event().wait(0.01)
        gate._looked_at = float("-inf")
        refused.append(gate.enter())
        gate.leave()

    process = threading.Thread(target=look)
    process.start()
    with moving(tmp_path, "redis", "kafka") as mover, mover.standstill(PATIENCE):
        process.join()
    assert "being moved" in refused[0]
    gate.close()


def test_a_mark_that_cannot_be_read_stops_writers_and_says_where_it_is(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "mark.json").write_text("{")
    assert str(tmp_path / FOLDER / "mark.json") in is_closed(fresh(tmp_path), tmp_path)


class Slow(MemoryPublisher):
    """Holds each call until it is let go."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(log)
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def publish(self, topic: str, events: Sequence[Outgoing]) -> Mapping[int, str]:
        self.begun.set()
        await self.go_on.wait()
        return await super().publish(topic, events)


def vote(subject: str) -> NewEvent:
    return NewEvent(topic="votes", id=new_id(), source="/services/votes", type="vote.cast", subject=subject)


async def test_a_direct_publisher_refuses_spends_no_number_and_goes_on(tmp_path: Path) -> None:
    log = MemoryLog()
    way_out = StandingPublisher(MemoryPublisher(log), Gate(tmp_path))
    direct = DirectPublisher(way_out)
    await direct.publish(vote("a"))
    with moving(tmp_path, "redis", "kafka") as mover, mover.standstill(PATIENCE):
        with pytest.raises(StandsStill, match="being moved from redis to kafka.*Nothing was sent") as raised:
            await direct.publish(vote("a"))
        assert status_of(raised.value) == 503
        assert direct.held == 0
        assert len(log.read("votes", None, 10)) == 1

    async def goes_on() -> bool:
        try:
            return (await direct.publish(vote("a"))).sequence == 2
        except StandsStill:
            return False

    await until(goes_on)
    await direct.close()
    await way_out.close()


async def test_a_mover_waits_for_a_publish_that_is_on_its_way(tmp_path: Path) -> None:
    log = MemoryLog()
    slow = Slow(log)
    way_out = StandingPublisher(slow, Gate(tmp_path))
    direct = DirectPublisher(way_out)
    published = asyncio.create_task(direct.publish(vote("a")))
    await slow.begun.wait()

    def found_at_standstill() -> int:
        with moving(tmp_path, "redis", "kafka") as mover, mover.standstill(PATIENCE):
            return len(log.read("votes", None, 10))

    found = asyncio.create_task(asyncio.to_thread(found_at_standstill))
    await until((tmp_path / FOLDER / "mark.json").exists)
    slow.go_on.set()
    assert await found == 1
    await published
    await direct.close()
    await way_out.close()


async def test_what_waited_behind_it_is_not_sent_during_the_standstill(tmp_path: Path) -> None:
    log = MemoryLog()
    way_out = StandingPublisher(MemoryPublisher(log), Gate(tmp_path))
    direct = DirectPublisher(way_out, retry_seconds=0.01)

    def stand_still(until_set: asyncio.Event, loop: asyncio.AbstractEventLoop) -> int:
        with moving(tmp_path, "redis", "kafka") as mover, mover.standstill(PATIENCE):
            before = len(log.read("votes", None, 1000))
            asyncio.run_coroutine_threadsafe(until_set.wait(), loop).result(20)
            return len(log.read("votes", None, 1000)) - before

    refused, over = 0, asyncio.Event()
    standing = asyncio.create_task(asyncio.to_thread(stand_still, over, asyncio.get_running_loop()))
    while refused < 50:
        try:
            await direct.publish(vote(f"voter-{refused}"))
        except PublishFailed:  # refused at the door, or on its way when the gate closed
            refused += 1
        await asyncio.sleep(0)
    over.set()
    assert await standing == 0
    await direct.close()
    await way_out.close()
