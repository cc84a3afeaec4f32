"""Reads `--until`: a time, or the header that an answer carried, `votes=1732093200000-0, assets=start`."""

from datetime import datetime
from typing import Final

from sidestream.errors import ConfigurationError, ForeignPosition
from sidestream.ports import EventLog
from sidestream.projection import Projection
from sidestream.rebuilding.log_until import Later, after_positions, after_time

_START: Final = "start"


def later_than(text: str, projection: Projection, log: EventLog) -> Later:
    """Return what comes after this moment.

    Raises:
        ConfigurationError: it is neither a time with its zone nor a position for each topic.
    """
    return _after_positions(text, projection, log) if "=" in text else after_time(_milliseconds(text))


def _after_positions(text: str, projection: Projection, log: EventLog) -> Later:
    parts = [part.strip().partition("=") for part in text.split(",")]
    found = {topic: None if position == _START else position for topic, _, position in parts}
    if set(found) != set(projection.topics):
        expected = ", ".join(f"{topic}=POSITION" for topic in projection.topics)
        raise ConfigurationError(f"--until: expected {expected} (`start` for nothing of a topic), found {text!r}. Name every topic.")
    for topic, position in found.items():
        if position is not None:
            _refuse_foreign(topic, position, log)
    return after_positions(log, found)


def _refuse_foreign(topic: str, position: str, log: EventLog) -> None:
    try:
        log.compare(position, position)
    except ForeignPosition as error:
        raise ConfigurationError(
            f"--until: expected a position of topic {topic}, found {position!r}. "
            "Take it from the header Sidestream-Applied of an answer, or give a time with its zone."
        ) from error


def _milliseconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ConfigurationError(
            f"--until: expected a time with its zone like 2026-11-20T09:30:00Z, or TOPIC=POSITION for every topic, found {text!r}."
        )
    return int(moment.timestamp() * 1000)
