"""Ships what is due: asks the orders service to, again and again, until the log says what became of it.

It keeps nothing that matters. Killed anywhere, it begins with the same rows; beside another replica it sends the same
command under the same key. Only the pace lives in memory: an order that was asked for is left alone for a while, one that
failed for longer each time, and the others go on. One that was refused and is retried begins anew, at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Self

import httpx
import msgspec
import structlog

from services.shipping.due import Shipment
from services.shipping.parcels import Verdict, judge, parcel_for
from sidestream.errors import SidestreamError

AT_ONCE: Final = 8
"""How many orders are shipped side by side."""
FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 30.0
UNTIL_THE_LOG_SAYS_SO: Final = 5.0
"""Seconds after a shipment before it is asked for again, should the log still be silent."""

log_line = structlog.get_logger()


Attempt = tuple[str, int]
"""An order, and how often its shipment was retried."""


def _attempt(shipment: Shipment) -> Attempt:
    return shipment.order, shipment.attempt


class Patience(msgspec.Struct):
    """How long an order is left alone.

    Attributes:
        until: the time of the event loop.
        failures: how often in a row it could not be shipped.
    """

    until: float
    failures: int = 0


class Shipper:
    """Works through the rows while its block runs. Belongs to one event loop.

    Args:
        due: returns every order that is due, the one paid first first.
        client: the way to the orders service.
        refuse: records that an order cannot be shipped; called in a thread.
        sweep_seconds: how often to look without being rung.
        silence_seconds: after a shipment, before it is asked for again, should the log still be silent.
    """

    def __init__(
        self,
        due: Callable[[], Iterable[Shipment]],
        client: httpx.AsyncClient,
        refuse: Callable[[Shipment, Verdict], object],
        *,
        sweep_seconds: float,
        silence_seconds: float = UNTIL_THE_LOG_SAYS_SO,
    ) -> None:
        self._due = due
        self._client = client
        self._refuse = refuse
        self._sweep_seconds = sweep_seconds
        self._silence_seconds = silence_seconds
        self._patience: dict[Attempt, Patience] = {}
        self._bell = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self.problem = ""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="shipping")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Start nothing new, and wait for the answers that are on their way."""
        self._stopping = True
        self._bell.set()
        if self._task is not None:
            await self._task

    def ring(self) -> None:
        """Look now. From the event loop only."""
        self._bell.set()

    async def _run(self) -> None:
        while not self._stopping:
            self._bell.clear()
            try:
                await self._ship_all()
                self._say("")
            except SidestreamError as error:
                self._say(f"{error.code}: {error}")
            except Exception as error:  # a fault of ours must not end the shipping in silence
                log_line.exception("shipping failed")
                self._say(f"internal: {type(error).__name__}: {error}")
            await self._rest()

    async def _rest(self) -> None:
        """Wait for the bell, for the next sweep, or until an order has been left alone for long enough."""
        now = asyncio.get_running_loop().time()
        ahead = (patience.until for patience in self._patience.values() if patience.until > now)  # a past one waits for the next sweep
        soonest = min(ahead, default=now + self._sweep_seconds)
        pause = min(max(soonest - now, 0.01), self._sweep_seconds)
        try:
            await asyncio.wait_for(self._bell.wait(), pause)
        except TimeoutError:
            return

    async def _ship_all(self) -> None:
        """Ask for every order that is due and not to be left alone."""
        due = await asyncio.to_thread(lambda: list(self._due()))
        attempts = {_attempt(shipment) for shipment in due}
        self._patience = {attempt: patience for attempt, patience in self._patience.items() if attempt in attempts}
        now = asyncio.get_running_loop().time()
        waiting = iter([shipment for shipment in due if self._until(shipment) <= now])

        async def ship_some() -> None:
            for shipment in waiting:
                if self._stopping:
                    return
                await self._ship(shipment)

        await _all(ship_some() for _ in range(AT_ONCE))

    def _until(self, shipment: Shipment) -> float:
        patience = self._patience.get(_attempt(shipment))
        return patience.until if patience else 0.0

    async def _ship(self, shipment: Shipment) -> None:
        verdict = await self._ask(shipment)
        self._leave_alone(shipment, verdict)  # first: a refusal that cannot be recorded is not asked for again at once
        if verdict.outcome == "refused":
            log_line.error(
                "shipment refused", order=shipment.order, paid_event=shipment.paid_event, code=verdict.code, detail=verdict.detail
            )
            await asyncio.to_thread(self._refuse, shipment, verdict)

    def _leave_alone(self, shipment: Shipment, verdict: Verdict) -> None:
        now = asyncio.get_running_loop().time()
        if verdict.outcome != "later":
            self._patience[_attempt(shipment)] = Patience(now + self._silence_seconds)
            return
        before = self._patience.get(_attempt(shipment))
        failures = before.failures + 1 if before else 1
        pause = min(FIRST_PAUSE * 2 ** min(failures - 1, 20), LONGEST_PAUSE)
        self._patience[_attempt(shipment)] = Patience(now + pause, failures)
        log_line.warning("shipment waits", order=shipment.order, code=verdict.code, detail=verdict.detail, again_in=pause)

    async def _ask(self, shipment: Shipment) -> Verdict:
        parcel = parcel_for(shipment)
        try:
            answer = await self._client.post(parcel.path.removeprefix("/"), json=parcel.body, headers=parcel.headers)
        except httpx.HTTPError as error:
            return Verdict("later", "orders-away", str(error) or type(error).__name__)
        return judge(answer.status_code, _json(answer.content), retry_after="retry-after" in answer.headers)

    def _say(self, problem: str) -> None:
        """One line when shipping stops and one when it goes on."""
        if problem and problem != self.problem:
            log_line.error("not shipping", problem=problem)
        elif self.problem and not problem:
            log_line.info("shipping again")
        self.problem = problem


async def _all(work: Iterable[Awaitable[None]]) -> None:
    """Do all side by side; what one raises is raised when all have ended."""
    outcomes: Sequence[BaseException | None] = await asyncio.gather(*work, return_exceptions=True)
    for outcome in outcomes:
        if outcome is not None:
            raise outcome


def _json(content: bytes) -> object:
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
