"""Is order kept? In the log, which a projection follows where there is one, and in deliveries, which it follows elsewhere."""

import time
from collections.abc import Sequence
from typing import Final

import httpx

from sidestream.conformance import topics
from sidestream.conformance.deliveries import Delivery
from sidestream.conformance.events import event, read_payload
from sidestream.conformance.order import out_of_place, out_of_place_by_key
from sidestream.conformance.results import Result, Verdict
from sidestream.conformance.stage import Stage

_A_CALL: Final = 100
_KEYS: Final = 50
_BELL: Final = "A delivery only wakes the projection, which reads the log: its order does not matter."
_INBOX: Final = (
    "Here projections live on deliveries. An event of a store waits for the version before it, so aggregates are right all the same; "
    "facts that are published directly have nothing to wait for, and their projection must not depend on order."
)


async def one_by_one(stage: Stage) -> Sequence[Result]:
    """Publish one event after another, each when the one before was confirmed."""
    label, count = "one", stage.size.few
    sent = [event(label, n) for n in range(count)]
    async with httpx.AsyncClient(timeout=30) as client:
        begun = time.monotonic()
        for each in sent:
            await stage.publish_one(client, topics.ONE, each)
        rate = count / (time.monotonic() - begun)
    results = [
        Result(
            name="rate-publish",
            question="How many events a second, published one after another?",
            answer=f"{rate:,.0f}",
            verdict="note",
            explanation="One HTTP call an event, each waiting for the one before; a service's publisher collects instead.",
            figure=round(rate),
            unit="events/s",
        )
    ]
    explained = "The least a log must do: what was confirmed first stands first."
    results += await _in_the_log(
        stage, "log-order-one", "Published one after another: in this order in the log?", topics.ONE, explained, count
    )
    question = "Delivered one at a time: in the order they were published?"
    return [*results, await _delivered(stage, "delivered-order-one", question, label, count)]


async def in_bulk(stage: Stage) -> Sequence[Result]:
    """Publish bulk calls, one after another, whose events are numbered through."""
    label, count = "bulk", stage.size.calls * _A_CALL
    for begin in range(0, count, _A_CALL):
        await stage.publish(topics.BULK, [event(label, n) for n in range(begin, begin + _A_CALL)])
    question, explained = (
        "Published in bulk: is the order within a call kept in the log?",
        ("The order within a bulk call does not matter: none holds two events of one stream, and the next waits for the one before."),
    )
    results = await _in_the_log(stage, "log-order-bulk", question, topics.BULK, explained, count, otherwise="note")
    question = "Delivered in bulk: in the order they were published?"
    return [*results, await _delivered(stage, "delivered-order-bulk", question, label, count)]


async def per_key(stage: Stage) -> Sequence[Result]:
    """Publish as Sidestream does: waves that hold one event of each key, the next when this one was confirmed."""
    label, waves = "keys", stage.size.calls * _A_CALL // _KEYS
    for wave in range(waves):
        await stage.publish(topics.KEYS, [event(label, wave * _KEYS + key, key=f"key{key}") for key in range(_KEYS)])
    question, explained = (
        "Published in waves, as Sidestream does: is the order of each stream kept in the log?",
        ("What every projection relies on: within a stream the events stand in the order they were published."),
    )
    results = await _in_the_log(stage, "log-order-key", question, topics.KEYS, explained, waves * _KEYS, by_key=True)
    question = "Delivered in bulk and sorted within a delivery: is the order of each stream kept?"
    return [*results, await _delivered(stage, "delivered-order-key", question, label, waves * _KEYS, by_key=True)]


async def _in_the_log(  # noqa: PLR0917
    stage: Stage, name: str, question: str, topic: str, explained: str, count: int, *, by_key: bool = False, otherwise: Verdict = "bad"
) -> list[Result]:
    if stage.log is None:
        return []
    numbers = [payload.n for wire in await stage.recorded(topic) if (payload := read_payload(wire)) and payload.label == topic]
    if lost := count - len(set(numbers)):
        return [_lost(name, question, f"{lost} of {count} lost", lost, "Events that were confirmed are not in the log.", "bad")]
    return [_placed(name, question, _wrong(numbers, by_key=by_key), count, explained, otherwise)]


async def _delivered(stage: Stage, name: str, question: str, label: str, count: int, *, by_key: bool = False) -> Result:
    missing = await stage.deliveries.settle(label, range(count), stage.quiet)
    came = stage.deliveries.of(label)
    if by_key:
        came = sorted(came, key=_sorted_in_batches)
    explained = _BELL if stage.log is not None else _INBOX
    if missing:
        return _lost(
            name, question, f"{len(missing)} of {count} {stage.loss.what} lost", len(missing), stage.loss.meaning, stage.loss.verdict
        )
    return _placed(name, question, _wrong([each.n for each in came], by_key=by_key), count, explained, "note")


def _wrong(numbers: Sequence[int], *, by_key: bool) -> int:
    return out_of_place_by_key((n % _KEYS, n) for n in numbers) if by_key else out_of_place(numbers)


def _sorted_in_batches(each: Delivery) -> tuple[int, int]:
    return each.batch, each.n


def _lost(name: str, question: str, answer: str, lost: int, explained: str, verdict: Verdict) -> Result:  # noqa: PLR0917
    return Result(name=name, question=question, answer=answer, verdict=verdict, explanation=explained, figure=lost, unit="lost")


def _placed(name: str, question: str, wrong: int, count: int, explained: str, otherwise: Verdict) -> Result:  # noqa: PLR0917
    answer, unit = f"{wrong} of {count} out of place" if wrong else "kept", f"out of place of {count}"
    verdict = otherwise if wrong else "good"
    return Result(name=name, question=question, answer=answer, verdict=verdict, explanation=explained, figure=wrong, unit=unit)
