"""How quickly events are taken in bulk, delivered and read from the log; and whether all of them are delivered."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from sidestream.conformance import topics
from sidestream.conformance.events import event
from sidestream.conformance.results import Result
from sidestream.conformance.stage import Stage
from sidestream.errors import PublishFailed
from sidestream.ports import Outgoing

_IN_BULK: Final = "published in bulk, 200 a call and four calls at once"
_TRIES: Final = 3
_NOT_TAKEN: Final = f"Four bulk calls at once were not confirmed in time, though tried {_TRIES} times:"
_ALL: Final = "Everything that was published came."


async def rates(stage: Stage) -> Sequence[Result]:
    """Publish many in bulk, several calls at once, and see how quickly they are taken, delivered and read."""
    label, count, a_call = topics.RATE, stage.size.many, 200
    calls = [[event(label, n) for n in range(begin, begin + a_call)] for begin in range(0, count, a_call)]
    gate, begun = asyncio.Semaphore(4), time.monotonic()
    refused: Exception | None = None

    async def publish(events: Sequence[Outgoing]) -> None:
        async with gate:
            await _insist(stage, events)

    try:
        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(publish(call))
    except* PublishFailed as problems:
        refused = problems.exceptions[0]
    if refused is not None:
        return [_refused(str(refused))]
    results = [_rate("rate-bulk", _IN_BULK, count, time.monotonic() - begun)]
    missing = await stage.deliveries.settle(label, range(count), stage.quiet)
    results += _delivered(stage, count, missing)
    if stage.log is not None:
        begun = time.monotonic()
        entries = len(await stage.recorded(label))
        results.append(_rate("rate-log", "read from the log", entries, time.monotonic() - begun))
    return results


async def _insist(stage: Stage, events: Sequence[Outgoing]) -> None:
    """Publish again what was not confirmed, a few times: a busy machine is not a broker that refuses."""
    for _ in range(_TRIES - 1):
        confirmed = set(await stage.try_to_publish(topics.RATE, events))
        events = [each for index, each in enumerate(events) if index not in confirmed]
        if not events:
            return
    await stage.publish(topics.RATE, events)


def _refused(problem: str) -> Result:
    question, reason = f"How many events a second, {_IN_BULK}?", problem.rpartition(": ")[2]
    return Result(name="rate-bulk", question=question, answer="refused", verdict="bad", explanation=f"{_NOT_TAKEN} {reason}.")


def _delivered(stage: Stage, count: int, missing: set[int]) -> list[Result]:
    came = [each.at for each in stage.deliveries.of(topics.RATE)]
    results = [_rate("rate-delivered", "delivered in bulk to an app that does nothing", len(came), max(came) - min(came))] if came else []
    twice = f"yes, {len(came) - count} twice" if len(came) > count else "yes"
    verdict, explained = (stage.loss.verdict, stage.loss.meaning) if missing else ("good", _ALL)
    return [
        *results,
        Result(
            name="delivered-all",
            question="Nothing fails, and much is published: is all of it delivered?",
            answer=f"no, {len(missing)} of {count} {stage.loss.what} lost" if missing else twice,
            verdict=verdict,
            explanation=explained,
            figure=len(missing),
            unit=f"lost of {count}",
        ),
    ]


def _rate(name: str, what: str, count: int, seconds: float) -> Result:
    rate = count / max(seconds, 0.001)
    return Result(
        name=name,
        question=f"How many events a second, {what}?",
        answer=f"{rate:,.0f}",
        verdict="note",
        explanation="A figure of this machine and hour; ratios between brokers of one run say more.",
        figure=round(rate),
        unit="events/s",
    )
