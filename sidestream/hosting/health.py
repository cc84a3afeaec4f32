"""What tells a wedged sidecar from a wedged projection, and both from a log that is away.

wedged sidecar      the log moves and nobody rings: sweeps find the events, queries go on, nothing is lost
wedged projection   the log is ahead of the checkpoint and the checkpoint stands still: what queries see grows old
log away            nobody knows whether there is anything to apply; queries go on with what was applied
"""

import time
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from sidestream.applying.applied import PARKED_EVENTS, PARKED_STREAMS
from sidestream.errors import LogUnavailable
from sidestream.hosting.lag import Lag, measure, together
from sidestream.hosting.serving import applied_in
from sidestream.identifiers import milliseconds
from sidestream.ports import EventLog, Generation

SILENT_SWEEPS: Final = 5
"""So many times in a row events are found without a bell, over at least so many sweeps, before the sidecar is called silent."""


class Bells:
    """Counts the sidecar's deliveries against events that were found."""

    def __init__(self, sweep_seconds: float) -> None:
        self.rung = 0
        self._silent_seconds = SILENT_SWEEPS * sweep_seconds
        self._rung_before = 0
        self._unheralded = 0
        self._since = 0.0
        self.silent = False

    def ring(self) -> None:
        """The sidecar delivered."""
        self.rung += 1
        self.silent = False

    def found(self, now: float) -> None:
        """Events were found in the log; `now` in seconds of any steady clock."""
        if self.rung != self._rung_before or not self._unheralded:
            self._unheralded, self._since = 0, now
        self._rung_before = self.rung
        self._unheralded += 1
        self.silent = self._unheralded > SILENT_SWEEPS and now - self._since >= self._silent_seconds


class Pace:
    """Events a second, between the last two looks."""

    def __init__(self) -> None:
        self.rate = 0.0
        self._before: tuple[int, float] | None = None

    def note(self, count: int, now: float) -> None:
        """So many events in all; `now` in seconds of any steady clock."""
        if self._before is not None and now > self._before[1]:
            self.rate = (count - self._before[0]) / (now - self._before[1])
        self._before = count, now


class Measured(msgspec.Struct, frozen=True):
    """How far a generation is, as last seen.

    Attributes:
        lags: by topic; `lag`: of all topics together.
        positions: topic → position of the last event applied.
        still_seconds: how long it has been behind without moving.
        begun: whether it has applied anything at all.
    """

    lags: Mapping[str, Lag] = msgspec.field(default_factory=dict)
    lag: Lag = Lag()
    positions: Mapping[str, str] = msgspec.field(default_factory=dict)
    parked_streams: int = 0
    parked_events: int = 0
    at: float = 0.0
    still_seconds: float = 0.0

    @property
    def begun(self) -> bool:
        """Whether anything was applied."""
        return bool(self.positions)


class Measurer:
    """Looks how far generations are behind one log."""

    def __init__(self, log: EventLog, topics: Sequence[str], still_seconds: float) -> None:
        self.still_seconds = still_seconds
        self._log = log
        self._topics = topics

    def measure(self, generation: Generation, before: Measured) -> Measured:
        """Return how far a generation is now, and how long it has not moved; where the log is away, how far it was.

        Raises:
            StoreAway: nothing can be said now.
        """
        with generation.snapshot() as reader:
            positions = applied_in(reader, self._topics)
            parked = reader.count(PARKED_STREAMS), reader.count(PARKED_EVENTS)
        now_ms, at = milliseconds(), time.monotonic()
        try:
            lags = {topic: measure(self._log, topic, positions.get(topic, ""), now_ms) for topic in self._topics}
        except LogUnavailable:
            return Measured(before.lags, before.lag, positions, *parked, at)
        lag = together(lags.values())
        stands = bool(lag.events) and bool(before.at) and positions == before.positions
        still = before.still_seconds + at - before.at if stands else 0.0
        return Measured(lags, lag, positions, *parked, at, still)
