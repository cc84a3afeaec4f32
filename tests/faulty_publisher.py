"""A publisher into memory that behaves like a sidecar on a bad day, as far as its contract allows."""

import asyncio
from collections.abc import Mapping, Sequence
from random import Random

from sidestream.adapters.memory_log import MemoryLog
from sidestream.event import decode_event
from sidestream.ports import Outgoing


class FaultyPublisher:
    """Shuffles within a call, answers late and out of turn, and at random leaves events unconfirmed, recorded or not.

    Attributes:
        failing: share of events that are not confirmed, 0 to 1.
        away: nothing is recorded or confirmed.
        refused: ids of events that make their whole call fail.
        gate: calls wait here; closed, none of them ends.
        calls: the ids of every call, in the order the calls began.
    """

    def __init__(self, log: MemoryLog, *, seed: int = 0, failing: float = 0.0) -> None:
        self.log = log
        self.failing = failing
        self.away = False
        self.refused: set[str] = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.calls: list[list[str]] = []
        self._random = Random(seed)

    async def publish(self, topic: str, events: Sequence[Outgoing]) -> Mapping[int, str]:
        """See `sidestream.ports.Publisher`."""
        self.calls.append([event.event_id for event in events])
        await self.gate.wait()
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)
        if self.away or self.refused.intersection(event.event_id for event in events):
            return dict.fromkeys(range(len(events)), "away" if self.away else "refused")
        failed = {index: "lost answer" for index in range(len(events)) if self._random.random() < self.failing}
        recorded = [event.wire for index, event in enumerate(events) if index not in failed or self._random.random() < 0.5]
        self._random.shuffle(recorded)
        self.log.record(topic, recorded)
        return failed

    async def close(self) -> None:
        """Nothing to release."""


def first_occurrences(log: MemoryLog, topic: str) -> list[bytes]:
    """Return each event's bytes where it stands first; fails if one event ever stands there with two faces."""
    seen: dict[tuple[str, str], bytes] = {}
    for entry in log.read(topic, None, 1_000_000):
        envelope = decode_event(entry.data)
        assert seen.setdefault((envelope.source, envelope.id), entry.data) == entry.data
    return list(seen.values())
