"""The list of probes, and asking them one after another: one that cannot be asked is a result too, and the others go on."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import httpx
import msgspec

from sidestream.conformance import failing, ordering, outage, rating, reaching
from sidestream.conformance.results import Result
from sidestream.conformance.stage import Stage
from sidestream.errors import SidestreamError

Ask = Callable[[Stage], Awaitable[Sequence[Result]]]


class Probe(msgspec.Struct, frozen=True):
    """One probe: stable name, what it does in words while it runs, and how it is asked."""

    name: str
    doing: str
    ask: Ask


_ORDER: Final = (
    Probe("order-one", "publish one after another", ordering.one_by_one),
    Probe("order-bulk", "publish in bulk", ordering.in_bulk),
    Probe("order-key", "publish in waves", ordering.per_key),
)
_ARRIVING: Final = (
    Probe("attributes", "publish everything an event can hold", reaching.attributes),
    Probe("alike", "publish the same again", reaching.alike),
)
_RATES: Final = Probe("rates", "publish much", rating.rates)
QUICK: Final = (*_ORDER, *_ARRIVING, Probe("past", "read the past", reaching.past_in_the_log), _RATES)
FULL: Final = (
    *_ORDER,
    *_ARRIVING,
    Probe("answers", "answer with errors", failing.answers),
    Probe("app-killed", "kill the app", failing.app_killed),
    Probe("sidecar-killed", "kill the sidecar", failing.sidecar_killed),
    Probe("past", "start a new app on old events", reaching.past),
    _RATES,
    Probe("broker-away", "take the broker away", outage.broker_away),
)


async def ask_all(stage: Stage, probes: Sequence[Probe], say: Callable[[Probe, int], object]) -> list[Result]:
    """Ask each probe, telling which one begins and the how manieth it is."""
    results: list[Result] = []
    for number, probe in enumerate(probes, 1):
        say(probe, number)
        results += await _asked(probe, stage)
    return results


async def _asked(probe: Probe, stage: Stage) -> Sequence[Result]:
    try:
        return await probe.ask(stage)
    except (SidestreamError, httpx.HTTPError) as problem:
        return [
            Result(
                name=probe.name,
                question=f"Can it be measured: {probe.doing}?",
                answer="no",
                verdict="bad",
                explanation=f"{problem} Run the check again.",
            )
        ]
    finally:
        stage.deliveries.calm()
