"""Read your writes over HTTP.

    command   →  202, Sidestream-Consistency: votes:01934c5e-….1:17
    query     ←  Sidestream-Consistency: votes:01934c5e-….1:17, Sidestream-Wait: 2s (the default; at most 30s)
    answer    →  the rows with this event in them, or
                 412 stale    not applied within the wait: how far the generation is; the same request again may be answered
                 409 parked   the event, or one before it in its stream, is a dead letter: repeating is of no use
                 400          a malformed token, or a topic that this read model does not follow

412 and not 503: the service is well, the condition that the client set is not met, and nobody should take the app out of
service for it.
"""

import re
from collections.abc import Collection, Iterable
from typing import Annotated, Any, Final

import msgspec
from fastapi import Depends, Header
from starlette.responses import Response

from sidestream.applying.consistency import Place, Standing, parse_token, token_of
from sidestream.applying.waiters import LONGEST_WAIT_SECONDS
from sidestream.hosting.host import ProjectionHost
from sidestream.web.problems import ProblemError

CONSISTENCY: Final = "Sidestream-Consistency"
"""Header: the events of a command; sent with a query, the events that must be in the answer."""
WAIT: Final = "Sidestream-Wait"
"""Header: how long a query may wait for them, `2s` or `500ms`."""
DEFAULT_WAIT_SECONDS: Final = 2.0
_WAIT: Final = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(ms|s)")


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────


_TOLD: Final = {"description": "the events of this command, to be sent with a query that must see them", "schema": {"type": "string"}}


def tells_consistency(status: int) -> dict[int | str, dict[str, Any]]:
    """Return `responses=` for a command whose success carries the header."""
    return {status: {"headers": {CONSISTENCY: _TOLD}}}


def tell_consistency(response: Response, places: Iterable[Place]) -> None:
    """Add the header to a command's answer; nothing where it made no event."""
    if token := token_of(places):
        response.headers[CONSISTENCY] = token


# ── queries ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Wish(msgspec.Struct, frozen=True):
    """What a query waits for, and how long, as the client wrote it."""

    token: str | None
    wait: str | None


def _wish(
    token: Annotated[
        str | None, Header(alias=CONSISTENCY, description="events that must be in the answer, as a command returned them")
    ] = None,
    wait: Annotated[str | None, Header(alias=WAIT, description="how long to wait for them: 2s (the default), 500ms; at most 30s")] = None,
) -> Wish:
    return Wish(token, wait)


Awaited = Annotated[Wish, Depends(_wish)]
"""Declares both headers."""


async def wait_until_applied(host: ProjectionHost, wish: Wish) -> tuple[Place, ...]:
    """Wait until what the client wrote is in the live generation, and return it.

    Raises:
        InvalidToken: the token is malformed, or names a topic that is not followed here.
        ProblemError: 400 for a malformed wait, 412 when the time is over, 409 when an event is parked.
        StoreAway: there is no generation that can be read.
    """
    seconds = _seconds(wish.wait)
    if wish.token is None:
        return ()
    places = parse_token(wish.token, host.projection.topics)
    expect_applied(host, await host.wait_for(places, seconds), seconds)
    return places


def _seconds(text: str | None) -> float:
    if text is None:
        return DEFAULT_WAIT_SECONDS
    found = _WAIT.fullmatch(text.strip())
    seconds = float(found[1]) / (1000 if found[2] == "ms" else 1) if found else -1.0
    if not 0 <= seconds <= LONGEST_WAIT_SECONDS:
        detail = f"{WAIT}: expected a time like 2s or 500ms, at most {LONGEST_WAIT_SECONDS:g}s, found {text[:40]!a}."
        raise ProblemError(400, detail, code="invalid-request")
    return seconds


def expect_applied(host: ProjectionHost, standings: Collection[Standing], waited: float = 0.0) -> None:
    """Raise the problem that says how far the generation is, or which event is parked and why, unless all are applied."""
    parked = [each for each in standings if each.parked is not None]
    if parked:
        raise _parked(host, parked)
    if missing := [each for each in standings if not each.counted]:
        raise _stale(host, missing, waited)


def _parked(host: ProjectionHost, standings: Collection[Standing]) -> ProblemError:
    events = [_parked_event(each) for each in standings]
    first = events[0]
    detail = (
        f"{host.projection.name}: event {first['id']} is counted but parked ({first['reason']}: {first['detail']}). "
        f"An operator sees it with: sidestream dead-letters show {host.projection.name} {first['id']}"
    )
    return ProblemError(409, detail, code="parked", generation=host.live, parked=events)


def _parked_event(standing: Standing) -> dict[str, Any]:
    parked = standing.parked
    assert parked is not None
    names = ("source", "stream", "type", "reason", "detail", "first_at")
    return {"place": str(standing.place), "id": parked.event_id, **{name: getattr(parked, name) for name in names}}


def _stale(host: ProjectionHost, standings: Collection[Standing], waited: float) -> ProblemError:
    measured = host.measured().get(host.live)
    lags = measured.lags if measured else {}
    missing = [
        {"place": str(each.place), "topic": each.place.topic, "behind": each.missing, "lag": lags.get(each.place.topic)}
        for each in standings
    ]
    first = next(iter(standings))
    detail = (
        f"{host.projection.name}: expected {first.place} applied within {waited:g} s, found generation {host.live} "
        f"{first.missing} events of that producer behind it. Ask again, or with a longer {WAIT}."
    )
    headers = {"retry-after": "1"}
    problem = host.log_away()
    return ProblemError(412, detail, code="stale", headers=headers, generation=host.live, missing=missing, log_away=problem)
