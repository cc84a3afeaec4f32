"""What a relay says of itself: what waits, for how long, why, and what it has done; and when that is worth a sentence."""

import asyncio
from collections.abc import Sequence

import pytest

from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.adapters.memory_log import MemoryLog
from sidestream.errors import StoreAway
from sidestream.ports import Append, StoredEvent
from sidestream.publishing.leading import PAUSE
from sidestream.publishing.relay import Relay
from sidestream.publishing.relay_status import RelayStatus, TopicStatus, kind_of
from tests.faulty_publisher import FaultyPublisher
from tests.unit.test_relay import event, filled, published
from tests.waiting import until


def of(relay: Relay) -> TopicStatus:
    return relay.status.topics.get("orders", TopicStatus())


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("", ""),
        ("sidecar 127.0.0.1:50101, pub/sub pubsub: PERMISSION_DENIED: topic orders. Nothing was published.", "permission-denied"),
        ("sidecar 127.0.0.1:50101, pub/sub pubsub: UNAVAILABLE: connection refused", "unavailable"),
        ("sidecar 127.0.0.1:50101, pub/sub a: B: DEADLINE_EXCEEDED: Deadline Exceeded", "deadline-exceeded"),
        ("StoreAway: disk full", "store-away"),
        ("UnreadableEvent: the log lacks number 7", "unreadable-event"),
        ("OSError: x", "unconfirmed"),
        ("OOM: command not allowed", "unconfirmed"),
        ("refused without a reason", "unconfirmed"),
    ],
)
def test_an_error_has_a_kind_of_few_that_is_fit_to_be_a_label(error: str, kind: str) -> None:
    assert kind_of(error) == kind


async def test_what_waits_is_told_with_its_age_and_its_reason_and_both_go_when_it_is_published() -> None:
    store, log = MemoryEventStore(), MemoryLog()
    (bad,) = store.append([Append("order-bad", (event("order-bad"),))])
    publisher = FaultyPublisher(log)
    publisher.refused = {bad.event_id}
    async with Relay(store, publisher, sweep_seconds=0.02, retry_seconds=0.01) as relay:
        await until(lambda: of(relay).oldest_seconds > 0.3)
        await until(lambda: sum(bad.event_id in call for call in publisher.calls) >= 5)
        await until(lambda: of(relay).repeats == 1)
        assert (of(relay).backlog, of(relay).last_error, of(relay).published) == (1, "refused", 0)
        publisher.refused.clear()
        await until(lambda: (of(relay).backlog, of(relay).oldest_seconds, of(relay).last_error, of(relay).published) == (0, 0.0, "", 1))
        assert of(relay).repeats == 1, "one event went out again, however often that was"


async def test_an_event_that_is_stuck_stays_the_reason_while_others_pass_it() -> None:
    store, log = MemoryEventStore(), MemoryLog()
    (bad,) = store.append([Append("order-bad", (event("order-bad"),))])
    publisher = FaultyPublisher(log)
    publisher.refused = {bad.event_id}
    async with Relay(store, publisher, sweep_seconds=0.02, retry_seconds=5) as relay:
        await until(lambda: relay.status.last_error == "refused")
        for number in range(20):
            store.append([Append(f"order-{number}", (event(f"order-{number}"),))])
            relay.ring()
            await until(lambda number=number: log.extent("orders").length == number + 1)
            assert relay.status.last_error == "refused"
        await until(lambda: of(relay).published == 20)


async def test_a_relay_that_does_not_lead_tells_what_waits_too() -> None:
    store, log = filled(3, 3), MemoryLog()
    away = FaultyPublisher(log)
    away.away = True
    async with Relay(store, away, sweep_seconds=0.02, lease_seconds=60) as leader:  # no pause of the machine makes the other one lead
        await until(lambda: leader.status.leads)
        async with Relay(store, FaultyPublisher(log), sweep_seconds=0.02, lease_seconds=60) as follower:
            await until(lambda: of(follower).oldest_seconds > 0.1)
            assert (follower.status.leads, follower.status.backlog) == (False, {"orders": 3})
            assert "another process" in follower.status.stuck(0.1)
        await until(lambda: "away" in leader.status.stuck(0.1))


async def test_what_was_done_is_counted_over_a_change_of_leader() -> None:
    store, log = filled(10, 10), MemoryLog()
    async with Relay(store, FaultyPublisher(log), sweep_seconds=0.02, lease_seconds=0.3) as relay:
        await until(lambda: published(store) and of(relay).published == 10)
        assert store.lease(PAUSE, "somebody", 60)
        await until(lambda: not relay.status.leads)
        store.end_lease(PAUSE, "somebody")
        await until(lambda: relay.status.leads)
        store.append([Append(None, (event("x"),))])
        relay.ring()
        await until(lambda: of(relay).published == 11)


async def test_a_store_that_is_away_is_told() -> None:
    class Moody(MemoryEventStore):
        away = False

        def backlog(self) -> dict[str, int]:
            if self.away:
                raise StoreAway("disk full")
            return dict(super().backlog())

    store = Moody()
    async with Relay(store, FaultyPublisher(MemoryLog()), sweep_seconds=0.02) as relay:
        store.away = True
        await until(lambda: relay.status.store_error == "StoreAway: disk full")
        store.away = False
        await until(lambda: relay.status.store_error == "")


async def test_a_store_that_is_away_makes_what_waits_no_younger() -> None:
    class Moody(MemoryEventStore):
        away = False
        unanswered = 0

        def unpublished(self, topic: str, limit: int = 1000, after: int = 0) -> Sequence[StoredEvent]:
            if self.away:
                self.unanswered += limit == 1
                raise StoreAway("disk full")
            return super().unpublished(topic, limit, after)

    store = Moody()
    store.append([Append(None, (event("x"),))])
    publisher = FaultyPublisher(MemoryLog())
    publisher.away = True
    async with Relay(store, publisher, sweep_seconds=0.02) as relay:
        await until(lambda: of(relay).oldest_seconds > 0.1)
        store.away = True
        await until(lambda: store.unanswered == 2)  # what the first of them said is known by then
        assert of(relay).oldest_seconds > 0.1


def test_it_is_stuck_from_the_moment_that_something_has_waited_for_too_long() -> None:
    topics = {"orders": TopicStatus(3, 30.0, "UNAVAILABLE: gone"), "scans": TopicStatus(7, 29.9, "UNAVAILABLE: gone")}
    found = RelayStatus(topics, "", leads=True).stuck(30)

    assert found == "orders: 3 events are stored and not published, the oldest for 30 s: UNAVAILABLE: gone"
    assert RelayStatus({"orders": TopicStatus(3, 29.9)}, "", leads=True).stuck(30) == ""


@pytest.mark.parametrize(
    ("store_error", "leads", "said"),
    [("StoreAway: full", True, "StoreAway: full"), ("", True, "does not keep up"), ("", False, "another process")],
)
def test_where_no_event_was_refused_the_sentence_says_what_else_it_is(store_error: str, leads: bool, said: str) -> None:
    assert said in RelayStatus({"orders": TopicStatus(3, 31.0)}, store_error, leads).stuck(30)


async def test_looking_how_old_the_backlog_is_costs_one_look_a_second_however_often_it_rings() -> None:
    class Counting(MemoryEventStore):
        looks = 0

        def unpublished(self, topic: str, limit: int = 1000, after: int = 0) -> Sequence[StoredEvent]:
            self.looks += limit == 1
            return super().unpublished(topic, limit, after)

    store, log = Counting(), MemoryLog()
    publisher = FaultyPublisher(log)
    publisher.away = True
    store.append([Append(None, (event("x"),))])
    begun = asyncio.get_running_loop().time()
    async with Relay(store, publisher, sweep_seconds=0.001) as relay:
        for _ in range(300):
            relay.ring()
            await asyncio.sleep(0)
        await until(lambda: store.looks >= 1)
    assert store.looks <= asyncio.get_running_loop().time() - begun + 1
