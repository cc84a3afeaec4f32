"""What becomes of events when something fails: the app's answer, the app, the sidecar, the broker.

Where projections follow the log, a delivery that is lost costs one sweep and is worth a note. Where they follow an inbox, a delivery
is the only copy, and one that is lost is bad.
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import Final

from sidestream.conformance import topics
from sidestream.conformance.events import ERROR, HANG, event
from sidestream.conformance.order import repeats
from sidestream.conformance.results import Result, Verdict
from sidestream.conformance.stage import Stage
from sidestream.errors import PublishFailed

_FEW: Final = 20
_IN_FLIGHT: Final = 100
_MEANWHILE: Final = 50
_REFUSED: Final = "publishing is refused meanwhile"
_WAITS: Final = "Publishing here waits for the app's answer, and the publisher is told: nothing that was confirmed is lost."
_COMES_AGAIN: Final = "Nothing is lost; what comes twice is counted once."


async def answers(stage: Stage) -> Sequence[Result]:
    """Answer with errors: once for some, always for others. All three wait at the same time."""
    stage.deliveries.disturb()
    try:
        return await asyncio.gather(
            _fails_once(stage, "redelivery-one", "one at a time", topics.FAIL_ONE),
            _fails_once(stage, "redelivery-bulk", "in bulk", topics.FAIL_BULK),
            _fails_always(stage),
        )
    finally:
        stage.deliveries.calm()


async def _fails_once(stage: Stage, name: str, how: str, topic: str) -> Result:
    question = f"The app answers with an error once (delivered {how}): does the event come again?"
    sent = [event(topic, n, answers=(ERROR,) if n % 2 else ()) for n in range(_FEW)]
    confirmed = await stage.try_to_publish(topic, sent)
    if not confirmed:
        return _refused(name, question)
    missing = await stage.deliveries.settle(topic, confirmed, stage.quiet)
    came = stage.deliveries.of(topic)
    first = min((each.at for each in came if each.answer == ERROR), default=0.0)
    again = min((each.at - first for each in came if each.attempt), default=0.0)
    failed = sum(n % 2 for n in confirmed)
    answer = f"no, {_lost(stage, len(missing), failed)} lost" if missing else f"comes again after {again:.1f} s"
    return _survived(stage, name, question, answer, len(missing))


async def _fails_always(stage: Stage) -> Result:
    """An event that always fails, among good ones: is it put aside, is it dropped, or does it come again for ever?"""
    label = topics.GIVEN_UP
    await stage.try_to_publish(label, [event(label, 0, meanwhile=ERROR), event(label, 1)])
    dead = stage.topics[topics.DEAD]
    arrived = await stage.deliveries.until(lambda: bool(stage.deliveries.of(label, dead)), stage.quiet)
    tries = sum(each.answer == ERROR for each in stage.deliveries.of(label))
    question = "The app always answers with an error: does the event reach the dead-letter topic?"
    answer, verdict, explained = _given_up(tries, arrived=arrived)
    return Result(
        name="dead-letter", question=question, answer=answer, verdict=verdict, explanation=explained, figure=tries, unit="deliveries"
    )


def _given_up(tries: int, *, arrived: bool) -> tuple[str, Verdict, str]:
    if arrived:
        return f"yes, after {tries} {'delivery' if tries == 1 else 'deliveries'}", "good", "What is given up is put aside by the broker."
    ours = "Sidestream keeps dead letters itself, in the read model, and answers such an event with success; it never waits for this."
    if tries > 1:
        return f"no, it came {tries} times and goes on", "note", f"The retry of this folder is endless. {ours}"
    return "no, it is dropped", "note", ours


async def app_killed(stage: Stage) -> Sequence[Result]:
    """Kill the app while it holds deliveries, publish more, and start it again."""
    label = topics.APP_KILLED
    held = await _hold(stage, label)
    await stage.app.kill()
    stage.deliveries.calm()
    more = [event(label, n) for n in range(_IN_FLIGHT, _IN_FLIGHT + _MEANWHILE)]
    meanwhile = {_IN_FLIGHT + index for index in await stage.try_to_publish(label, more)}
    await stage.app.back()
    return [await _after(stage, label, held | meanwhile, "The app is killed with events in its hands, and started again: what is lost?")]


async def sidecar_killed(stage: Stage) -> Sequence[Result]:
    """Kill the sidecar while the app holds deliveries, and start it again."""
    label = topics.SIDECAR_KILLED
    held = await _hold(stage, label)
    await stage.sidecar.kill()
    stage.deliveries.calm()
    await stage.sidecar.back()
    return [await _after(stage, label, held, "The sidecar is killed with events in its hands, and started again: what is lost?")]


async def _hold(stage: Stage, label: str) -> set[int]:
    """Publish events that the app holds on to, and wait until it has some; return those that were confirmed."""
    stage.deliveries.disturb()
    confirmed = await stage.try_to_publish(label, [event(label, n, meanwhile=HANG) for n in range(_IN_FLIGHT)])
    if not await stage.deliveries.until(lambda: bool(stage.deliveries.of(label)), stage.quiet):
        stage.deliveries.calm()
        raise PublishFailed(f"topic {label}: expected a delivery within {stage.quiet:g} s, found none.")
    return set(confirmed)


async def _after(stage: Stage, label: str, expected: Collection[int], question: str) -> Result:
    if not expected:
        return _refused(label, question)
    missing = await stage.deliveries.settle(label, expected, stage.quiet)
    twice = repeats(stage.deliveries.taken(label))
    answer = _lost(stage, len(missing), len(expected)) if missing else f"nothing, {twice} came twice" if twice else "nothing"
    return _survived(stage, label, question, answer, len(missing))


def _lost(stage: Stage, lost: int, count: int) -> str:
    return f"{lost} of {count} {stage.loss.what}"


def _refused(name: str, question: str) -> Result:
    return Result(name=name, question=question, answer=_REFUSED, verdict="note", explanation=_WAITS)


def _survived(stage: Stage, name: str, question: str, answer: str, lost: int) -> Result:
    verdict, explained = (stage.loss.verdict, stage.loss.meaning) if lost else ("good", _COMES_AGAIN)
    return Result(name=name, question=question, answer=answer, verdict=verdict, explanation=explained, figure=lost, unit="lost")
