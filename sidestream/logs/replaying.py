"""Replay: recorded events are handed to a subscriber again, one after another, each marked as replayed.

    replayed   true: this happened before; whoever keeps facts must not take it for a new one
    replayid   which replay it belongs to
    replayof   the trace that the event was recorded with; the replay has a trace of its own, linked to that one

Everything else is handed on as it was recorded, to the digit. A replay never reaches a read model: projections read the log,
and a door that keeps what is delivered leaves marked events out. What became of an event is only known by the answer, so that
one whose answer was lost is handed over again: at least once, in order. Pure but for what is given.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

import msgspec

from sidestream.errors import SidestreamError, UnreadableEvent
from sidestream.logs.finding import Standing, Wanted, as_found

REPLAYED: Final = "replayed"
REPLAY_ID: Final = "replayid"
REPLAY_OF: Final = "replayof"
_TRACE: Final = ("traceparent", "tracestate", "traceid")
_MARK: Final = REPLAYED.encode()


class NotTaken(SidestreamError):
    """The subscriber did not take an event, however often it was tried."""

    code = "not-taken"


class ReplayStopped(SidestreamError):
    """A replay that ended before its end; it may go on behind what was handed over."""

    code = "replay-stopped"


class Marked(msgspec.Struct, frozen=True):
    """A recorded event ready to be handed over: the CloudEvent in structured mode, and the trace that it was recorded with."""

    wire: bytes
    recorded_trace: str | None


class Replayed(msgspec.Struct):
    """What has become of a replay so far.

    Attributes:
        read: entries looked at.
        handed: events that the subscriber took.
        unreadable: entries that are no events; there is nothing to hand over.
        done: topic → the last position that needs no second look.
    """

    read: int = 0
    handed: int = 0
    unreadable: int = 0
    done: dict[str, str] = {}


HandOver = Callable[[Marked], None]
"""Hands one event to the subscriber and returns when it was taken; raises NotTaken."""


class Replay:
    """Hands over what is wanted of some entries, in the order given.

    Args:
        wanted: which events.
        hand_over: the way to the subscriber.
        replay_id: names this replay.
        count: how many events at most; None: all.
    """

    def __init__(self, wanted: Wanted, hand_over: HandOver, replay_id: str, count: int | None = None) -> None:
        self.replayed = Replayed()
        self._wanted = wanted
        self._hand_over = hand_over
        self._replay_id = replay_id
        self._count = count

    def run(self, standings: Iterable[Standing]) -> None:
        """Hand over until the entries or the count are used up.

        Raises:
            ReplayStopped: the subscriber did not take an event; `replayed.done` says behind which ones to go on.
        """
        for standing in standings:
            if self.replayed.handed == self._count:
                return
            try:
                self._take(standing)
            except NotTaken as error:
                topic, entry = standing
                raise ReplayStopped(f"stopped at {topic}={entry.position}: {error}") from error
            self.replayed.done[standing[0]] = standing[1].position

    def _take(self, standing: Standing) -> None:
        self.replayed.read += 1
        found = as_found(standing)
        if found.event is None:
            self.replayed.unreadable += 1
        elif self._wanted.matches(found.event):
            self._hand_over(marked(found.entry.data, self._replay_id))
            self.replayed.handed += 1


def marked(data: bytes, replay_id: str) -> Marked:
    """Return an event of the log with the marks, and without the trace that it was recorded with. No value is parsed.

    Raises:
        UnreadableEvent: it is no JSON object.
    """
    try:
        attributes = msgspec.json.decode(str(data, "utf-8"), type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableEvent(f"expected a CloudEvent as JSON: {error}") from None
    recorded = _text(attributes.get(_TRACE[0]))
    for name in _TRACE:
        attributes.pop(name, None)
    marks: dict[str, object] = {REPLAYED: True, REPLAY_ID: replay_id}
    if recorded:
        marks[REPLAY_OF] = recorded
    return Marked(msgspec.json.encode({**attributes, **marks}), recorded)


def traced(wire: bytes, traceparent: str) -> bytes:
    """Return a marked event in a trace of its own."""
    return wire[:-1] + b',"traceparent":' + msgspec.json.encode(traceparent) + b"}"


def is_replayed(data: bytes) -> bool:
    """Return whether an event says of itself that it is a replayed one."""
    if _MARK not in data:  # nearly always, and it costs nothing
        return False
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return says_replayed(msgspec.json.decode(data, type=_Mark).replayed)
    return False


def says_replayed(value: object) -> bool:
    """Return whether the attribute `replayed` has the value that marks an event; in headers it is text."""
    return value is True or value == "true"


class _Mark(msgspec.Struct):
    replayed: bool | str | int | float | None = None


def _text(value: msgspec.Raw | None) -> str | None:
    with suppress(msgspec.DecodeError):
        return msgspec.json.decode(value, type=str) if value is not None else None
    return None
