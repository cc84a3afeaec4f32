"""What queries are answered from: the live generation, seen in one moment."""

from collections.abc import Collection, Mapping

import msgspec

from sidestream.applying.applied import CHECKPOINTS
from sidestream.ports import GenerationInfo, Reader


class View(msgspec.Struct, frozen=True):
    """One consistent moment of the live generation.

    Attributes:
        reader: its rows.
        generation: its name.
        applied: topic → position of the last event applied; topics of which nothing was applied are missing.
        stale_since: time of its last event, where no program follows it any more; empty when it follows the log.
    """

    reader: Reader
    generation: str
    applied: Mapping[str, str]
    stale_since: str = ""


def applied_in(reader: Reader, topics: Collection[str]) -> Mapping[str, str]:
    """Return how far each topic has been applied, in the reader's moment; topics of which nothing was applied are missing."""
    found = reader.read(CHECKPOINTS, [(topic,) for topic in topics])
    return {row.topic: row.position for row in found.values()}


def served_by(version: int, infos: Collection[GenerationInfo]) -> GenerationInfo | None:
    """Return the generation that a program of this version answers from: the live one.

    A program that is older than the live one goes on with its own, as long as it is there: between a rebuild by the next
    version and that version's deployment nobody goes without an answer.
    """
    live = next((info for info in infos if info.live), None)
    if live is None or live.version <= version:
        return live
    own = [info for info in infos if info.version == version and info.state == "ready" and info.switched]
    return max(own, key=lambda info: info.switched, default=live)
