"""The lane by itself: what a parcel that is given up means for those behind it."""

import asyncio

from sidestream.adapters.memory_log import MemoryLog
from sidestream.event import Counted, NewEvent, encode_event
from sidestream.ports import Outgoing
from sidestream.publishing.lane import CALL_EVENTS, Lane
from tests.faulty_publisher import FaultyPublisher


class OnceOnly:
    """A parcel that is not sent again."""

    def __init__(self, name: str, key: str | None) -> None:
        event = NewEvent(topic="t", id=name, source="s", type="t")
        self.wire = encode_event(event, Counted("p", 1))
        self.name, self.key, self.size = name, key, len(self.wire)
        self.sent = self.settled = False
        self.failures, self.room = 0, CALL_EVENTS
        self.outcome = ""

    def outgoing(self) -> Outgoing:
        return Outgoing(self.wire, "", self.name)

    def confirmed(self) -> None:
        self.outcome = "confirmed"

    def unconfirmed(self, reason: str) -> bool:
        self.outcome = reason
        return False


async def test_what_waits_behind_a_parcel_that_is_given_up_goes_out() -> None:
    publisher = FaultyPublisher(MemoryLog())
    publisher.refused = {"first"}
    lane = Lane(publisher, "t")
    parcels = [OnceOnly(name, "key") for name in ("first", "second", "third")]
    for parcel in parcels:
        lane.offer(parcel)
    await lane.drained()
    assert [parcel.outcome for parcel in parcels] == ["refused", "confirmed", "confirmed"]
    assert publisher.calls == [["first"], ["second"], ["third"]]


async def test_a_call_ends_before_it_is_too_large() -> None:
    publisher = FaultyPublisher(MemoryLog())
    lane = Lane(publisher, "t")
    parcels = [OnceOnly(f"e{n}", None) for n in range(4)]
    for parcel in parcels:
        parcel.size = 1_500_000
        lane.offer(parcel)
    await lane.drained()
    assert publisher.calls == [["e0", "e1"], ["e2", "e3"]]


async def test_what_is_taken_for_a_call_cannot_be_withdrawn_any_more() -> None:
    publisher = FaultyPublisher(MemoryLog())
    lane = Lane(publisher, "t")
    parcels = [OnceOnly(f"e{n}", None) for n in range(CALL_EVENTS)]
    for parcel in parcels:
        lane.offer(parcel)  # the last one fills a call, which is cut at the loop's next turn
    withdrawn = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: withdrawn.set_result(lane.withdraw(parcels[0])))
    assert not await withdrawn, "it goes out"
    await lane.drained()
    assert lane.load == 0
    assert [parcel.outcome for parcel in parcels] == ["confirmed"] * CALL_EVENTS
