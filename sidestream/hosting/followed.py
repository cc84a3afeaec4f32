"""One generation that an app follows: reads the log on a bell, on a sweep, and after a failure with growing pauses.

Its projector runs in a thread, one step after another; between two steps it meets what operators decided about dead
letters. It never ends by itself: what goes wrong is a problem that it tells, until it goes on.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import structlog

from sidestream.applying.batch import Outcome
from sidestream.applying.corrections import InForce
from sidestream.applying.dead_letters import drain
from sidestream.applying.decoding import Rule
from sidestream.applying.projector import Projector, Spans
from sidestream.errors import LogUnavailable, SidestreamError
from sidestream.hosting.health import Measured, Pace
from sidestream.ports import EventLog, Generation

log_line = structlog.get_logger()

_LONGEST_PAUSE: Final = 10.0


class Errand(msgspec.Struct, frozen=True):
    """What every generation of an app follows with, and whom it tells.

    Attributes:
        swept: a sweep begins to look at the log.
        committed: rows were committed; called in a thread.
        caught_up: this generation has reached the end of the log; with its name and what became of the events.
        spans: notes every batch that is applied; None: nobody wants to know.
    """

    rule: Rule
    log: EventLog
    in_force: InForce
    now: Callable[[], str]
    sweep_seconds: float
    stopping: asyncio.Event
    swept: Callable[[], None]
    committed: Callable[[], None]
    caught_up: Callable[[str, Outcome], None]
    spans: Spans | None = None


class Following:
    """What an app knows of one generation it follows.

    Attributes:
        applied: topic → position up to which it has applied for certain; another process may have gone further.
        problem: why it does not follow now; `away`: because the log cannot be read.
        decisions: the number of the last decision about a dead letter that it has met.
        measured: how far it is behind, as last seen.
    """

    def __init__(self, errand: Errand, generation: Generation) -> None:
        self.generation = generation
        self.projector = Projector(errand.rule, errand.log, generation, errand.now, spans=errand.spans)
        self.total = Outcome()
        self.applied: Mapping[str, str] = {}
        self.problem = ""
        self.away = False
        self.caught_up = False
        self.decisions = 0
        self.measured = Measured()
        self.pace = Pace()
        self.bell = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self._left = False
        self._errand = errand
        self._projection = errand.rule.projection.name

    def start(self) -> None:
        """Begin to follow."""
        self.task = asyncio.create_task(self._run())

    async def leave(self) -> None:
        """Stop following, and close the generation."""
        self._left = True  # a cancellation that comes together with the bell is lost in Python 3.11's `wait_for`
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        await asyncio.to_thread(self.generation.close)

    async def _run(self) -> None:
        """Follow the log until stopped: on a bell, on a sweep, and after a failure with growing pauses."""
        pause = self._errand.sweep_seconds
        while not self._ends:
            self.bell.clear()
            well = await self._catch_up()
            pause = self._errand.sweep_seconds if well else min(pause * 2, _LONGEST_PAUSE)
            await self._wait(pause)

    @property
    def _ends(self) -> bool:
        return self._left or self._errand.stopping.is_set()

    async def _wait(self, pause: float) -> None:
        try:
            await asyncio.wait_for(self.bell.wait(), pause)
        except TimeoutError:
            self._errand.swept()

    async def _catch_up(self) -> bool:
        try:
            outcome = await asyncio.to_thread(self._follow_on)
        except SidestreamError as error:
            self._say(f"{error.code}: {error}", away=isinstance(error, LogUnavailable))
            return False
        except Exception as error:  # a fault of ours: follow on after a pause, and be red until then
            log_line.exception("following failed", projection=self._projection, generation=self.generation.name)
            self._say(f"internal: {type(error).__name__}: {error}")
            return False
        self.caught_up = True
        self._say("")
        self._errand.caught_up(self.generation.name, outcome)
        if outcome.parked:
            log_line.warning("events parked", projection=self._projection, generation=self.generation.name, parked=outcome.parked)
        return True

    def _follow_on(self) -> Outcome:
        """Meet decisions, then apply whatever the log holds. In a thread; tells after every commit."""
        self._meet()
        self._note_applied()
        found = Outcome()
        while not self._ends and (outcome := self.projector.step()) is not None:
            self.total.add(outcome)
            found.add(outcome)
            self._note_applied()
            self._errand.committed()
        return found

    def _note_applied(self) -> None:
        self.applied = {topic: at.position for topic, at in self.projector.checkpoints.items() if at is not None}

    def _meet(self) -> None:
        in_force = self._errand.in_force
        latest = in_force.latest  # read first: what is taken over between the two reads is met twice, never left out
        news = in_force.since(self.decisions)
        if news:
            done = drain(self._errand.rule, self.generation, self._errand.now, news)
            self.total.released += done.applied
            self._errand.committed()
        self.decisions = latest

    def _say(self, problem: str, *, away: bool = False) -> None:
        """One line when following stops and one when it goes on, not one a second."""
        if problem and problem != self.problem:
            log_line.error("not following", projection=self._projection, generation=self.generation.name, problem=problem)
        elif self.problem and not problem:
            log_line.info("following again", projection=self._projection, generation=self.generation.name)
        self.problem = problem
        self.away = away
