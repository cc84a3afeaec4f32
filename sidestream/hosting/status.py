"""What an app says of itself: whether it serves, follows, is ready, hears the sidecar, and how far it is.

Reads what the host knows and changes nothing; the doors of the web layer ask here.
"""

from collections.abc import Mapping

from sidestream.applying.batch import Outcome
from sidestream.hosting.followed import Following
from sidestream.hosting.health import Bells, Measured, Measurer
from sidestream.hosting.unreadable import Readable
from sidestream.ports import Generation, GenerationInfo
from sidestream.projection import Projection


class HostStatus:
    """The answers of a `sidestream.hosting.host.ProjectionHost` about itself. Text is a reason; empty, there is none."""

    def __init__(self, projection: Projection, heard: Bells, measurer: Measurer, readable: Readable) -> None:
        self.projection = projection
        self._heard = heard
        self._measurer = measurer
        self._readable = readable
        self._following: dict[str, Following] = {}
        self._live: GenerationInfo | None = None
        self._stale: Generation | None = None

    def not_serving(self) -> str:
        """Return why queries cannot be answered, or nothing."""
        if self._live is None:
            return f"{self.projection.name}: no generation is live yet: the first one is being built. Try again when that is done."
        if self._live.version != self.projection.version and not self._live.stale_since:
            return _of_another_version(self.projection, self._live)
        return self._readable.problem(self._live.name)

    def unreadable(self) -> Mapping[str, str]:
        """Return why generations cannot be read and what to run, by name; they are left out, and the others go on."""
        return self._readable.problems

    def not_following(self) -> str:
        """Return why the live generation does not follow the log, or nothing."""
        following = self._following.get(self._live.name) if self._live else None
        return self.not_serving() or (following.problem if following else "")

    def not_ready(self) -> str:
        """Return why this app should get no queries, or nothing.

        A log that is away is no reason: what was applied before it went is answered, and says how far it is.
        """
        following = self._following.get(self._live.name) if self._live else None
        if following is None and self._stale is not None:
            return ""
        if following is None:
            return self.not_serving() or "the live generation is not followed yet. Try again."
        if problem := self.not_serving() or self.wedged():
            return problem
        if following.away and (following.caught_up or following.measured.begun):
            return ""
        if following.problem:
            return following.problem
        return "" if following.caught_up else f"{self.projection.name}: catching up with the log. Try again."

    def wedged(self) -> str:
        """Return that the log is ahead of the live generation and its checkpoint stands still, or nothing."""
        following = self._following.get(self._live.name) if self._live else None
        still = following.measured.still_seconds if following else 0.0
        if following is None or following.away or still < self._measurer.still_seconds:
            return ""
        events = following.measured.lag.events
        why = following.problem or "Restart this app."  # where it is known why, a restart would not help
        return f"{self.projection.name}: wedged: {events} events behind, checkpoint still for {still:.0f} s. {why}"

    def log_away(self) -> str:
        """Return why the log cannot be read, or nothing."""
        return next((following.problem for following in self._following.values() if following.away), "")

    @property
    def bells(self) -> int:
        """How often the sidecar has rung."""
        return self._heard.rung

    @property
    def sidecar_silent(self) -> bool:
        """Whether the log moves, and for several sweeps nobody has rung."""
        return self._heard.silent

    @property
    def live(self) -> str:
        """The live generation's name, empty when there is none."""
        return self._live.name if self._live else ""

    def versions(self) -> dict[str, int]:
        """Return the version of the rule that built each generation which is followed or live."""
        live = [self._live] if self._live else []
        return {info.name: info.version for info in live} | dict.fromkeys(self._following, self.projection.version)

    def measured(self) -> dict[str, Measured]:
        """Return how far each generation is behind, as last seen."""
        return {name: following.measured for name, following in self._following.items()}

    def rates(self) -> dict[str, float]:
        """Return how many events a second each generation took lately."""
        return {name: following.pace.rate for name, following in self._following.items()}

    @property
    def caught_up(self) -> bool:
        """Whether the live generation has once reached the end of the log since this app started."""
        following = self._following.get(self._live.name) if self._live else None
        return following is not None and following.caught_up

    def totals(self) -> dict[str, Outcome]:
        """Return what became of events since the start, for each generation."""
        return {name: following.total for name, following in self._following.items()}


def _of_another_version(projection: Projection, live: GenerationInfo) -> str:
    """Say what an app can do whose version is not the live one's. A rebuild by an older one would take everybody back to it."""
    found = f"{projection.name}: generation {live.name} was built by version {live.version}, this program is version {projection.version}"
    if live.version > projection.version:
        return f"{found} and has no generation of its own any more. Deploy version {live.version}."
    return f"{found}. Run: sidestream projections rebuild {projection.name}"
