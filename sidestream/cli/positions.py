"""How far the generations of a projection are, beside where the log ends."""

from collections.abc import Iterator
from contextlib import closing
from typing import Final

import msgspec

from sidestream.applied import CHECKPOINTS, PARKED_EVENTS, PARKED_STREAMS
from sidestream.cli.declared import Declared
from sidestream.ports import Condition, EventLog, GenerationInfo, Reader, ReadModels

_COUNTED: Final = 10_000
"""So many entries behind are counted; beyond that it says *more*."""


class TopicStatus(msgspec.Struct, frozen=True):
    """One generation and one topic.

    Attributes:
        generation: empty when the projection has none.
        applied, end: positions; empty for nothing applied, and for an empty log.
        behind: entries of the log that are not applied, `behind_more`: at least so many.
        problem: why somebody should look at it, empty when all is well.
    """

    projection: str
    generation: str
    live: bool
    state: str
    topic: str
    applied: str
    end: str
    behind: int
    behind_more: bool
    parked_streams: int
    parked_events: int
    problem: str


def status_of(each: Declared) -> Iterator[TopicStatus]:
    """Go through every generation and topic of a projection."""
    with each.log() as log, each.read_models() as read_models:
        infos = read_models.generations()
        for info in infos:
            yield from _of_generation(each, info, read_models, log)
        if not any(info.live for info in infos):
            name = each.projection.name
            problem = f"{name}: no generation is live. Start its app once."
            yield TopicStatus(name, "", False, "", "", "", "", 0, False, 0, 0, problem)


def _of_generation(each: Declared, info: GenerationInfo, read_models: ReadModels, log: EventLog) -> Iterator[TopicStatus]:
    with closing(read_models.open(info.name)) as generation, generation.snapshot() as reader:
        found = reader.read(CHECKPOINTS, [(topic,) for topic in each.projection.topics])
        parked = {topic: _parked(reader, topic) for topic in each.projection.topics}
    for topic, (streams, events) in parked.items():
        applied = found[topic,].position if (topic,) in found else ""
        behind = _behind(log, topic, applied)
        yield TopicStatus(
            projection=each.projection.name,
            generation=info.name,
            live=info.live,
            state=info.state,
            topic=topic,
            applied=applied,
            end=log.extent(topic).last or "",
            behind=min(behind, _COUNTED),
            behind_more=behind > _COUNTED,
            parked_streams=streams,
            parked_events=events,
            problem=f"{events} events are parked" if events and info.live else "",
        )


def _parked(reader: Reader, topic: str) -> tuple[int, int]:
    of_topic = [Condition("topic", "=", topic)]
    return reader.count(PARKED_STREAMS, of_topic), reader.count(PARKED_EVENTS, of_topic)


def _behind(log: EventLog, topic: str, applied: str) -> int:
    entries = log.read(topic, applied or None, _COUNTED + 2)
    return len(entries) - 1 if entries and entries[0].position == applied else len(entries)
