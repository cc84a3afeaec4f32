"""What an app says of itself, asked on the port of the run file.

An app that does not answer, or is another one, has said nothing: every default below stands for that. Members that this
program does not know are passed over, so that an app of a newer version is heard too.
"""

from typing import Final

import httpx
import msgspec

_SECONDS: Final = 1.0
"""How long an app may take to answer."""


class _Outcome(msgspec.Struct, frozen=True):
    duplicates: int | None = None


class Followed(msgspec.Struct, frozen=True):
    """What an app says of one generation; None where it does not follow it."""

    name: str = ""
    rate: float | None = None
    since_start: _Outcome | None = None

    @property
    def duplicates(self) -> int | None:
        """How many events it has met twice since it started."""
        return self.since_start.duplicates if self.since_start else None


class Health(msgspec.Struct, frozen=True):
    """What an app says of its own health, as `sidestream.web.projections.health_of` writes it; None and empty: nothing."""

    not_ready: str = ""
    log_away: str = ""
    sidecar_silent: bool = False
    bells: int | None = None
    sweeps: int | None = None


class Told(msgspec.Struct, frozen=True):
    """What an app says of itself; every default stands for an app that does not answer."""

    projection: str = ""
    health: Health = Health()
    generations: tuple[Followed, ...] = ()

    def of(self, generation: str) -> Followed:
        """Return what it says of one generation."""
        return next((each for each in self.generations if each.name == generation), Followed())


def ask(door: str, projection: str) -> Told:
    """Return what the app says of itself, nothing when it does not answer or is another one."""
    try:
        answer = httpx.get(f"{door}/generations", timeout=_SECONDS)
        found = msgspec.json.decode(answer.content, type=Told) if answer.is_success else Told()
    except (httpx.HTTPError, msgspec.DecodeError, UnicodeDecodeError):
        return Told()
    return found if found.projection == projection else Told()
