"""Direct publishing: callers share calls, numbers have no gaps, and nothing overtakes an event whose outcome is unknown."""

import asyncio
import os

import pytest

from sidestream.adapters.memory_log import MemoryLog
from sidestream.applying.consistency import Place
from sidestream.errors import InvalidEvent, PublishFailed, SubjectOnHold
from sidestream.event import NewEvent, decode_event
from sidestream.identifiers import new_id
from sidestream.publishing.direct import DirectPublisher
from tests.faulty_publisher import FaultyPublisher, first_occurrences
from tests.waiting import until


def event(subject: str | None = None, *, ordered: bool = True, topic: str = "votes", data: bytes = b"1") -> NewEvent:
    return NewEvent(topic=topic, id=new_id(), source="/services/votes", type="vote.cast", subject=subject, ordered=ordered, data=data)


def numbers(log: MemoryLog, topic: str = "votes") -> list[int | None]:
    return sorted((decode_event(entry.data).number for entry in log.read(topic, None, 99_999)), key=lambda number: number or 0)


async def test_a_published_event_stands_in_the_log_with_the_number_that_was_told() -> None:
    log = MemoryLog()
    direct = DirectPublisher(FaultyPublisher(log))
    vote = event("poll-1-alice")
    place = await direct.publish(vote)
    assert place == Place("votes", direct.producer, 1)
    envelope = decode_event(log.read("votes", None, 1)[0].data)
    assert (envelope.id, envelope.producer, envelope.number, envelope.streamversion) == (vote.id, direct.producer, 1, None)


async def test_fifty_callers_share_calls_and_the_count_has_no_gap() -> None:
    log = MemoryLog()
    publisher = FaultyPublisher(log)
    direct = DirectPublisher(publisher)

    async def caller(name: int) -> list[Place]:
        return [await direct.publish(event(f"poll-1-{name}", ordered=n % 2 == 0)) for n in range(40)]

    places = [place for some in await asyncio.gather(*map(caller, range(50))) for place in some]
    assert sorted(place.sequence for place in places) == numbers(log) == list(range(1, 2001))
    assert len(publisher.calls) < 400
    assert direct.waiting == 0


async def test_every_topic_has_its_own_count() -> None:
    direct = DirectPublisher(FaultyPublisher(MemoryLog()))
    places = [await direct.publish(event("x", topic=topic)) for topic in ("a", "b", "a")]
    assert [(place.topic, place.sequence) for place in places] == [("a", 1), ("b", 1), ("a", 2)]


async def test_events_of_one_subject_stand_in_the_log_in_the_order_they_came() -> None:
    log = MemoryLog()
    events = [event(f"file-{n % 3}") for n in range(300)]
    await DirectPublisher(FaultyPublisher(log)).publish_many(events)
    for subject in ("file-0", "file-1", "file-2"):
        found = [decode_event(wire).id for wire in first_occurrences(log, "votes") if decode_event(wire).subject == subject]
        assert found == [made.id for made in events if made.subject == subject]


@pytest.mark.parametrize("data", [b"no json", b'"' + b"x" * 5_000_000 + b'"'])
async def test_an_invalid_event_spends_no_number(data: bytes) -> None:
    log = MemoryLog()
    direct = DirectPublisher(FaultyPublisher(log))
    with pytest.raises(InvalidEvent):
        await direct.publish(event("x", data=data))
    with pytest.raises(InvalidEvent):
        await direct.publish_many([event("x"), event("x", data=data)])
    await direct.publish(event("x"))
    assert numbers(log) == [1]


async def test_an_unordered_event_that_is_not_confirmed_is_not_sent_again() -> None:
    publisher = FaultyPublisher(MemoryLog())
    publisher.away = True
    direct = DirectPublisher(publisher)
    with pytest.raises(PublishFailed, match="expected a confirmation, found: away"):
        await direct.publish(event("x", ordered=False))
    publisher.away = False
    await direct.publish(event("x", ordered=False))
    assert (len(publisher.calls), direct.held) == (2, 0)


async def test_an_ordered_event_is_repeated_to_the_byte_and_its_subject_waits() -> None:
    log = MemoryLog()
    publisher = FaultyPublisher(log)
    publisher.away = True
    direct = DirectPublisher(publisher)
    first = event("x")
    with pytest.raises(PublishFailed):
        await direct.publish(first)
    with pytest.raises(SubjectOnHold, match=f"subject x is on hold, event {first.id} is unconfirmed"):
        await direct.publish(event("x"))
    assert direct.held == 1
    publisher.away = False
    await direct.publish(event("y"))
    await until(lambda: direct.held == 0)
    second = event("x")
    await direct.publish(second)
    found = [decode_event(wire) for wire in first_occurrences(log, "votes") if decode_event(wire).subject == "x"]
    assert [envelope.id for envelope in found] == [first.id, second.id]
    assert numbers(log) == [1, 2, 3]


async def test_events_that_wait_behind_an_unconfirmed_one_are_refused() -> None:
    publisher = FaultyPublisher(MemoryLog())
    publisher.away = True
    direct = DirectPublisher(publisher)
    outcomes = await asyncio.gather(*(direct.publish(event("x")) for _ in range(5)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [PublishFailed, *[SubjectOnHold] * 4]
    assert direct.waiting == 1


async def test_random_faults_leave_no_gap_and_no_disorder_among_ordered_events() -> None:
    log = MemoryLog()
    direct = DirectPublisher(FaultyPublisher(log, seed=7, failing=0.2), retry_seconds=0.001)
    order: dict[str, list[str]] = {}

    async def caller(subject: str) -> None:
        for _ in range(10):
            made = event(subject)
            try:
                await direct.publish(made)
            except SubjectOnHold:
                await until(lambda: direct.held == 0, 30)
                continue
            except PublishFailed:
                pass
            order.setdefault(subject, []).append(made.id)

    await asyncio.gather(*(caller(f"file-{n}") for n in range(10)))
    await until(lambda: direct.waiting == 0, 30)
    found: dict[str, list[str]] = {}
    for wire in first_occurrences(log, "votes"):
        envelope = decode_event(wire)
        found.setdefault(envelope.subject or "", []).append(envelope.id)
    assert found == order
    assert sorted(set(numbers(log)), key=lambda n: n or 0) == list(range(1, sum(map(len, order.values())) + 1))


async def test_a_deadline_ends_the_wait_but_not_the_event() -> None:
    log = MemoryLog()
    publisher = FaultyPublisher(log)
    publisher.gate.clear()
    direct = DirectPublisher(publisher, deadline_seconds=0.05)
    with pytest.raises(PublishFailed, match=r"no confirmation within 0\.05 s"):
        await direct.publish(event("x"))
    with pytest.raises(SubjectOnHold):
        await direct.publish(event("x"))
    publisher.gate.set()
    await until(lambda: direct.held == 0)
    await direct.publish(event("x"))
    assert numbers(log) == [1, 2]


async def test_what_was_never_sent_spends_no_number() -> None:
    log = MemoryLog()
    publisher = FaultyPublisher(log)
    publisher.gate.clear()
    direct = DirectPublisher(publisher, deadline_seconds=0.2, linger_seconds=0)
    hanging = [asyncio.create_task(direct.publish(event(f"x-{n}", ordered=False))) for n in range(4)]
    for n in range(4):
        hanging[n] = asyncio.create_task(direct.publish(event(f"x-{n}", ordered=False)))
        await until(lambda n=n: len(publisher.calls) > min(n, 3))
    late = [asyncio.create_task(direct.publish(event(f"y-{n}"))) for n in range(10)]
    outcomes = await asyncio.gather(*late, return_exceptions=True)
    assert all("not sent" in str(outcome) for outcome in outcomes)
    publisher.gate.set()
    await until(lambda: direct.waiting == 0)
    await direct.publish(event("z"))
    assert numbers(log) == list(range(1, len(numbers(log)) + 1))


async def test_a_cancelled_caller_does_not_disturb_the_others() -> None:
    log = MemoryLog()
    publisher = FaultyPublisher(log)
    publisher.gate.clear()
    direct = DirectPublisher(publisher)
    tasks = [asyncio.create_task(direct.publish(event(f"x-{n}"))) for n in range(10)]
    await until(lambda: len(publisher.calls) == 1)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.wait(tasks[::2])
    publisher.gate.set()
    assert [type(outcome) for outcome in await asyncio.gather(*tasks[1::2])] == [Place] * 5
    await until(lambda: direct.waiting == 0)
    assert (direct.held, numbers(log)) == (0, list(range(1, 11)))
    await direct.publish(event("x-0"))


async def test_too_many_waiting_is_refused_at_once() -> None:
    publisher = FaultyPublisher(MemoryLog())
    publisher.gate.clear()
    direct = DirectPublisher(publisher, capacity=3)
    waiting = [asyncio.create_task(direct.publish(event(f"x-{n}"))) for n in range(3)]
    await until(lambda: direct.waiting == 3)
    with pytest.raises(PublishFailed, match="3 events are waiting already"):
        await direct.publish(event("y"))
    publisher.gate.set()
    await asyncio.gather(*waiting)
    await direct.publish(event("y"))


async def test_many_that_fail_say_how_many() -> None:
    publisher = FaultyPublisher(MemoryLog())
    publisher.away = True
    with pytest.raises(PublishFailed, match="0 of 3 events are confirmed"):
        await DirectPublisher(publisher).publish_many([event(f"x-{n}", ordered=False) for n in range(3)])
    assert await DirectPublisher(publisher).publish_many([]) == ()


async def test_close_flushes_what_waits_and_refuses_what_comes_later() -> None:
    log = MemoryLog()
    direct = DirectPublisher(FaultyPublisher(log), linger_seconds=0.05)
    waiting = [asyncio.create_task(direct.publish(event(f"x-{n}"))) for n in range(5)]
    await until(lambda: direct.waiting == 5)
    await direct.close()
    assert [place.sequence for place in await asyncio.gather(*waiting)] == [1, 2, 3, 4, 5]
    with pytest.raises(PublishFailed, match="closed"):
        await direct.publish(event("x"))


async def test_a_publisher_that_breaks_its_promise_leaves_no_caller_waiting() -> None:
    class Broken(FaultyPublisher):
        async def publish(self, topic: str, events: object) -> dict[int, str]:
            raise RuntimeError("bug")

    with pytest.raises(PublishFailed, match="RuntimeError: bug"):
        await DirectPublisher(Broken(MemoryLog())).publish(event("x", ordered=False))


def test_a_forked_process_counts_for_itself() -> None:
    direct = DirectPublisher(FaultyPublisher(MemoryLog()))
    mine = direct.producer
    read_end, write_end = os.pipe()
    if (child := os.fork()) == 0:
        os.write(write_end, direct.producer.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read_end, 99).decode() not in ("", mine)
    assert direct.producer == mine
    for end in (read_end, write_end):
        os.close(end)


async def test_when_one_that_waits_leaves_the_next_gets_its_number() -> None:
    log = MemoryLog()
    publisher = FaultyPublisher(log)
    publisher.gate.clear()
    direct = DirectPublisher(publisher, linger_seconds=0)
    in_flight = []
    for n in range(4):
        in_flight.append(asyncio.create_task(direct.publish(event(f"x-{n}"))))
        await until(lambda n=n: len(publisher.calls) == n + 1)
    leaving, staying = (asyncio.create_task(direct.publish(event(name))) for name in ("leaving", "staying"))
    await until(lambda: direct.waiting == 6)
    leaving.cancel()
    await asyncio.wait([leaving])
    publisher.gate.set()
    assert [place.sequence for place in await asyncio.gather(*in_flight, staying)] == [1, 2, 3, 4, 5]
    assert numbers(log) == [1, 2, 3, 4, 5]
