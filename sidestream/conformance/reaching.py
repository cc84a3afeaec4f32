"""What arrives at all: the past, the attributes of an event, and events that look alike."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from sidestream.conformance import topics
from sidestream.conformance.events import SOURCE, TYPE, described, event, read_payload
from sidestream.conformance.results import Result, Verdict
from sidestream.conformance.stage import Stage, listen

_OTHER_SOURCE: Final = "/sidestream/another"
_UNIQUE: Final = "Ids of Sidestream are unique by themselves; a stranger's should be."
_ATTRIBUTES: Final[dict[str, Any]] = {
    "specversion": "1.0",
    "source": SOURCE,
    "type": TYPE,
    "subject": "check-attributes",
    "time": "2026-11-21T10:00:00.123456Z",
    "datacontenttype": "application/json",
    "dataschema": "urn:sidestream:checked:1",
    "streamversion": 7,
    "producer": "0192f0c1-7d2e-7000-8000-00000000abcd.1",
    "sequence": "00000000000000000042",
    "partitionkey": "check-attributes",
    "correlationid": "c-1",
    "causationid": "c-0",
}
_DATA: Final[dict[str, Any]] = {
    "large": 2**53 + 1,
    "precise": 0.12345678901234567,
    "whole": 1.0,
    "nothing": None,
    "text": "naïve \u0000 \N{SNOWMAN} \N{GRINNING FACE}",
}


async def attributes(stage: Stage) -> Sequence[Result]:
    """Publish an event with everything in it, and look what of it is left."""
    label = topics.ATTRIBUTES
    sent = described(label, 0, {"id": f"{stage.topics.prefix}-attributes", **_ATTRIBUTES}, _DATA)
    await stage.publish(label, [sent])
    missing = await stage.deliveries.settle(label, {0}, stage.quiet)
    expected = msgspec.json.decode(sent.wire)
    results = []
    if stage.log is not None:
        wires = [wire for wire in await stage.recorded(label) if (payload := read_payload(wire)) and payload.label == label]
        results.append(_kept("attributes-log", "in the log", expected, wires, "bad"))
    came = [each.event.encode() for each in stage.deliveries.of(label)]
    if stage.log is None:
        return [_kept("attributes-delivered", "in a raw delivery", expected, [] if missing else came, "bad")]
    return [*results, _kept("attributes-delivered", "in a delivery", expected, [] if missing else came, "note")]


def _kept(name: str, where: str, expected: Mapping[str, Any], wires: Sequence[bytes], otherwise: Verdict) -> Result:
    question = f"Are the event's attributes and its numbers kept, {where}?"
    if not wires:
        return Result(name=name, question=question, answer="it never came", verdict=otherwise, explanation="Nothing could be compared.")
    changed = changes(expected, msgspec.json.decode(wires[0]))
    explained = (
        "Every attribute, 2^53+1, a float of 17 digits, 1.0, U+0000 and an emoji came out as they went in."
        if not changed
        else "The sidecar parses what it delivers; Sidestream reads the log instead, where nothing is changed."
        if otherwise == "note"
        else "Events would be wrong in every read model."
    )
    answer = f"changed: {', '.join(changed)}" if changed else "kept"
    verdict: Verdict = otherwise if changed else "good"
    return Result(name=name, question=question, answer=answer, verdict=verdict, explanation=explained, figure=len(changed), unit="changed")


def changes(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return what is missing or another, an integer that became a float too; what the sidecar added is no change."""
    outside = [name for name, value in expected.items() if name != "data" and found.get(name) != value]
    data = found.get("data")
    inside = data if isinstance(data, Mapping) else {}
    return outside + [f"data.{name}" for name, value in expected["data"].items() if not _same(value, inside.get(name, _MISSING))]


_MISSING: Final = object()


def _same(expected: Any, found: Any) -> bool:
    return type(expected) is type(found) and bool(expected == found)


async def alike(stage: Stage) -> Sequence[Result]:
    """Publish one event three times, and two events that share an id but not their source."""
    label = topics.SAME
    same_id = f"{stage.topics.prefix}-shared"
    # In one call, because a broker may look for repetitions in a short window only.
    await stage.publish(label, [event(label, 0)] * 3)
    await stage.publish(label, [event(label, 1, event_id=same_id), event(label, 2, event_id=same_id, source=_OTHER_SOURCE)])
    if stage.log is None:
        await stage.deliveries.settle(label, {0, 1, 2}, stage.quiet)
    numbers = await _numbers(stage, label)
    both = {1, 2} <= set(numbers)
    copies = numbers.count(0)
    return [
        Result(
            name="same-event",
            question="One event is published three times: how often is it there?",
            answer=str(copies),
            verdict="note" if copies else "bad",
            explanation="An event that is there more than once is normal and counted once: by its number, or by source and id.",
            figure=copies,
            unit="times",
        ),
        Result(
            name="same-id",
            question="Two events of different sources share an id: are both there?",
            answer="yes" if both else "no, one is gone",
            verdict="good" if both else "note",
            explanation=_UNIQUE if both else "The broker takes an equal id within its window for a repetition. " + _UNIQUE,
        ),
    ]


async def _numbers(stage: Stage, label: str) -> list[int]:
    if stage.log is None:
        return [each.n for each in stage.deliveries.of(label)]
    return [payload.n for wire in await stage.recorded(label) if (payload := read_payload(wire)) and payload.label == label]


async def past(stage: Stage) -> Sequence[Result]:
    """Publish before anybody listens, and see who can still have it: the log's reader, and an app that is new."""
    label, count = topics.REPLAY, stage.size.few
    for begin in range(0, count, 100):
        await stage.publish(label, [event(label, n) for n in range(begin, min(begin + 100, count))])
    results = [await _log_reach(stage, label, count)]
    async with stage.fresh(stage.topics[label]) as fresh:
        await listen(fresh.publisher, fresh.deliveries, {stage.topics[label]})
        missing = await fresh.deliveries.settle(label, range(count), stage.quiet)
    heard = count - len(missing)
    return [*results, _fresh_reach(heard, count, has_log=stage.log is not None)]


async def past_in_the_log(stage: Stage) -> Sequence[Result]:
    """Ask the log's reader only."""
    label, count = topics.REPLAY, stage.size.few
    await stage.publish(label, [event(label, n) for n in range(count)])
    return [await _log_reach(stage, label, count)]


async def _log_reach(stage: Stage, label: str, count: int) -> Result:
    question = "Can a projection be rebuilt from the broker, from the first event on?"
    if stage.log is None:
        explained = "Every projection keeps an inbox log of what was delivered to it, and is rebuilt from that: from its first start on."
        return Result(name="replay-log", question=question, answer="no, from its inbox log", verdict="note", explanation=explained)
    found = set(await _numbers(stage, label))
    lost = count - len(found)
    explained = "The log is read by position; nothing has to be kept anywhere else." if not lost else "Confirmed events are not in the log."
    return Result(
        name="replay-log",
        question=question,
        answer=f"lost {lost} of {count}" if lost else "yes",
        verdict="bad" if lost else "good",
        explanation=explained,
        figure=lost,
        unit=f"lost of {count}",
    )


def _fresh_reach(heard: int, count: int, *, has_log: bool) -> Result:
    explained = (
        "What a new app hears does not matter: its projection begins with the log."
        if has_log
        else "What was published before an app's first start it never sees: start every app once before anything is published."
    )
    return Result(
        name="replay-delivered",
        question="A new app subscribes: is it delivered what was published before?",
        answer="all" if heard == count else "nothing" if not heard else f"{heard} of {count}",
        verdict="good" if heard == count else "note",
        explanation=explained,
        figure=heard,
        unit=f"of {count}",
    )
