"""What becomes of publishing while the broker is away: every event that was confirmed must be there afterwards."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from sidestream.conformance import topics
from sidestream.conformance.events import event, read_payload
from sidestream.conformance.order import repeats
from sidestream.conformance.results import Result
from sidestream.conformance.stage import Outage, Stage

_AWAY_SECONDS: Final = 6.0
_PUBLISHERS: Final = 4
_ENOUGH: Final = 100
_PATIENCE: Final = 90.0


class _Call(msgspec.Struct, frozen=True):
    """One publish: its number, whether it was confirmed, when it ended and how long it took."""

    n: int
    confirmed: bool
    ended: float
    seconds: float


async def broker_away(stage: Stage, seconds: float = _AWAY_SECONDS) -> Sequence[Result]:
    """Publish without a pause while the broker goes away and comes back. Asked only where the broker may be touched."""
    if stage.broker is None:
        return []
    calls: list[_Call] = []
    publishing = [asyncio.create_task(_publish(stage, first, calls)) for first in range(_PUBLISHERS)]
    try:
        await _confirmed_since(calls, 0.0)
        back = await _take_away(stage.broker, seconds)
        recovered = await _confirmed_since(calls, back)
    finally:
        for task in publishing:
            task.cancel()
        await asyncio.gather(*publishing, return_exceptions=True)
    return await _judged(stage, stage.broker, calls, back, recovered=recovered)


async def _publish(stage: Stage, first: int, calls: list[_Call]) -> None:
    n = first
    while True:
        begun = time.monotonic()
        refused = await stage.publisher.publish(stage.topics[topics.BROKER_AWAY], [event(topics.BROKER_AWAY, n)])
        ended = time.monotonic()
        calls.append(_Call(n, not refused, ended, ended - begun))
        n += _PUBLISHERS
        await asyncio.sleep(0.01)


async def _take_away(broker: Outage, seconds: float) -> float:
    await broker.away()
    try:
        await asyncio.sleep(seconds)
    finally:
        await broker.back()
    return time.monotonic()


async def _confirmed_since(calls: list[_Call], since: float) -> bool:
    """Wait until enough was confirmed after a moment; tell whether it was in time."""
    end = time.monotonic() + _PATIENCE
    while True:
        is_last = time.monotonic() > end
        if sum(call.confirmed and call.ended > since for call in calls) >= _ENOUGH:
            return True
        if is_last:
            return False
        await asyncio.sleep(0.05)


async def _judged(stage: Stage, broker: Outage, calls: list[_Call], back: float, *, recovered: bool) -> Sequence[Result]:
    confirmed = {call.n for call in calls if call.confirmed}
    refused = [call for call in calls if not call.confirmed]
    there = await _there(stage, confirmed)
    lost = len(confirmed - set(there))
    waited = max((call.seconds for call in refused), default=0.0)
    first = min((call.ended for call in calls if call.confirmed and call.ended > back), default=back)
    how = "killed and started again" if broker.kind == "killed" else "stopped and let go on"
    return [
        Result(
            name="broker-away",
            question="The broker is away for six seconds while events are published: is every confirmed one there afterwards?",
            answer=f"lost {lost} of {len(confirmed)}" if lost else "yes, all" if recovered else "yes, but it did not take events again",
            verdict="good" if recovered and not lost else "bad",
            explanation=f"The broker was {how}. {len(refused)} publishes were refused, after up to {waited:.1f} s: whoever has the events "
            f"publishes them again. {repeats(there)} stood there twice; they are counted once.",
            figure=lost,
            unit=f"lost of {len(confirmed)}",
        ),
        Result(
            name="broker-back",
            question="How long after the broker is back until it takes events again?",
            answer=f"{max(first - back, 0.0):.1f} s" if recovered else f"not within {_PATIENCE:g} s",
            verdict="note" if recovered else "bad",
            explanation="Meanwhile a service's door answers 503, or its store keeps the events until the relay gets through.",
            figure=round(max(first - back, 0.0), 1),
            unit="s",
        ),
    ]


async def _there(stage: Stage, confirmed: set[int]) -> list[int]:
    """Return every number found afterwards: in the log, or among the deliveries where there is none."""
    label = topics.BROKER_AWAY
    if stage.log is None:
        await stage.deliveries.settle(label, confirmed, stage.quiet)
        return stage.deliveries.taken(label)
    return [payload.n for wire in await stage.recorded(label) if (payload := read_payload(wire)) and payload.label == label]
