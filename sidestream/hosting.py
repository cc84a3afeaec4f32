"""Keeps a projection's generations up to date inside an app, and lets queries read the live one.

The sidecar's deliveries ring; a sweep looks at the log anyway. Every ready generation follows the log by itself, in a
thread, so that switching and switching back are moves of one pointer. The generations are looked up again on every
sweep: a rebuild by another process is taken over without a restart, and what an operator decided about a dead letter
is met by every generation. Queries that wait for their own writes are woken by the commits of the live generation.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

import msgspec
import structlog

from sidestream.applied import BOOKKEEPING, CHECKPOINTS, PARKED_STREAMS
from sidestream.applying import Outcome, Rule
from sidestream.consistency import Place, Standing, examine
from sidestream.corrections import BESIDE, Corrections, InForce
from sidestream.dead_letters import drain
from sidestream.errors import ConfigurationError, LogUnavailable, SidestreamError, StoreAway, UnknownGeneration
from sidestream.health import Bells, Measured, Measurer, Pace
from sidestream.identifiers import this_process
from sidestream.ports import EventLog, Generation, GenerationInfo, Reader, ReadModels
from sidestream.projection import Projection
from sidestream.projector import Projector
from sidestream.registry import Registry
from sidestream.waiters import Standings, Waiters

log_line = structlog.get_logger()

_LONGEST_PAUSE = 10.0
_CORRECTIONS_AGAIN = 60
"""So many sweeps pass until decisions that were met already are looked at once more: whoever should have met them may have died."""


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


class Following(msgspec.Struct):
    """What an app knows of one generation it follows.

    Attributes:
        problem: why it does not follow now; `away`: because the log cannot be read.
        decisions: the number of the last decision about a dead letter that it has met.
        measured: how far it is behind, as last seen.
    """

    generation: Generation
    projector: Projector
    total: Outcome
    problem: str = ""
    away: bool = False
    caught_up: bool = False
    decisions: int = 0
    measured: Measured = Measured()
    pace: Pace = msgspec.field(default_factory=Pace)
    task: asyncio.Task[None] | None = None


class ProjectionHost:
    """Follows the log with every ready generation of one projection. Use as an async context manager."""

    def __init__(
        self,
        projection: Projection,
        registry: Registry,
        log: EventLog,
        read_models: ReadModels,
        *,
        now: Callable[[], str],
        sweep_seconds: float = 1.0,
        still_seconds: float = 30.0,
    ) -> None:
        self.projection = projection
        self.sweeps = 0
        self._heard = Bells(sweep_seconds)
        self._in_force = InForce()
        self._corrections: Corrections | None = None
        self._rule = Rule(projection, registry, self._in_force)
        self._measurer = Measurer(log, projection.topics, still_seconds)
        self._waiters = Waiters(self._examine)
        self._log = log
        self._read_models = read_models
        self._now = now
        self._sweep_seconds = sweep_seconds
        self._following: dict[str, Following] = {}
        self._live: GenerationInfo | None = None
        self._stale: Generation | None = None
        self._bells: dict[str, asyncio.Event] = {}
        self._stopping = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._measuring: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> "ProjectionHost":
        """Open the live generation, or make the first one, and begin to follow."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._make_first)
        await asyncio.to_thread(self._open_corrections)
        await self._look_up()
        self._introduce()
        self._keeper = asyncio.create_task(self._keep_looking())
        self._measuring = asyncio.create_task(self._keep_measuring())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let the running transaction finish, then stop."""
        self._stopping.set()
        self.ring()
        tasks = [self._keeper, self._measuring, *(following.task for following in self._following.values())]
        await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)
        for following in self._following.values():
            following.generation.close()
        if self._stale is not None:
            self._stale.close()
        if self._corrections is not None:
            self._corrections.close()
        self._read_models.close()
        self._log.close()

    def ring(self, topic: str = "") -> None:
        """Read the log now. Safe to call from any thread."""
        if topic:
            self._heard.ring()
        if self._loop is None or self._loop.is_closed():
            return
        for bell in tuple(self._bells.values()):
            self._loop.call_soon_threadsafe(bell.set)

    # ── queries ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def reading(self) -> Iterator[View]:
        """Read the live generation in one consistent moment. For a thread, not for the event loop.

        Raises:
            StoreAway: there is no generation that this program can serve.
        """
        live, stale = self._live, self._stale
        following = self._following.get(live.name) if live else None
        generation = following.generation if following else stale
        if generation is None or live is None or generation.name != live.name:
            raise StoreAway(self.not_serving() or "no generation is live yet")
        with generation.snapshot() as reader:
            found = reader.read(CHECKPOINTS, [(topic,) for topic in self.projection.topics])
            applied = {row.topic: row.position for row in found.values()}
            yield View(reader, live.name, applied, "" if following else live.stale_since)

    async def wait_for(self, places: tuple[Place, ...], seconds: float) -> Standings:
        """Return as soon as the live generation has applied these, or cannot, or the time is over; and how they stand then.

        Raises:
            StoreAway: there is no generation that this program can serve.
        """
        self.ring()
        return await self._waiters.wait(places, seconds)

    @property
    def waiting(self) -> int:
        """How many queries wait for their writes."""
        return len(self._waiters)

    def _examine(self, places: Collection[Place]) -> Mapping[Place, Standing]:
        with self.reading() as view:
            return examine(view.reader, places)

    def not_serving(self) -> str:
        """Return why queries cannot be answered, or nothing."""
        if self._live is None:
            return f"{self.projection.name}: no generation is live"
        if self._live.version != self.projection.version and not self._live.stale_since:
            return (
                f"{self.projection.name}: generation {self._live.name} was built by version {self._live.version}, "
                f"this program is version {self.projection.version}. Run: sidestream projections rebuild {self.projection.name}"
            )
        return ""

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
        return f"{self.projection.name}: wedged: {events} events behind, checkpoint still for {still:.0f} s. Restart this app."

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

    def _open_corrections(self) -> None:
        self._corrections = Corrections(self._read_models.beside(BESIDE))
        self._in_force.follow(self._corrections)

    # ── generations ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _make_first(self) -> None:
        """The first generation is built live. Two apps that start at once: one makes it, the other waits for it."""
        if any(info.live for info in self._read_models.generations()):
            return
        with contextlib.suppress(SidestreamError), self._read_models.exclusively(this_process()):
            if not any(info.live for info in self._read_models.generations()):
                name = self._read_models.create(self.projection.version, (*BOOKKEEPING, *self.projection.tables), self._now())
                self._read_models.mark_ready(name)
                self._read_models.switch(name)

    async def _look_up(self) -> None:
        """Follow what is ready, leave what was dropped, and point queries to the live one."""
        infos = {info.name: info for info in await asyncio.to_thread(self._read_models.generations)}
        wanted = [info for info in infos.values() if info.state == "ready" and info.version == self.projection.version]
        for info in wanted:
            if info.name not in self._following:
                await self._follow(info)
        await self._serve(served_by(self.projection.version, infos.values()))
        self._waiters.wake()
        for name in [name for name in self._following if name not in infos]:
            await self._leave(name)

    async def _serve(self, live: GenerationInfo | None) -> None:
        """Point queries to a generation. Where nobody follows it, it is opened before and closed after, so that none fails."""
        wanted = live.name if live and live.stale_since and live.name not in self._following else ""
        before = self._stale if self._stale is not None and self._stale.name != wanted else None
        if wanted and (self._stale is None or before is not None):
            self._stale = await asyncio.to_thread(self._read_models.open, wanted)
            log_line.warning("stale", projection=self.projection.name, generation=wanted, since=live.stale_since if live else "")
        self._live = live
        if before is not None:
            self._stale = self._stale if wanted else None
            await asyncio.to_thread(before.close)

    async def _follow(self, info: GenerationInfo) -> None:
        generation = await asyncio.to_thread(self._read_models.open, info.name)
        projector = Projector(self._rule, self._log, generation, self._now)
        following = Following(generation, projector, Outcome())
        self._bells[info.name] = asyncio.Event()
        self._following[info.name] = following
        following.task = asyncio.create_task(self._run(info.name, following))

    async def _leave(self, name: str) -> None:
        following = self._following.pop(name)
        if following.task is not None:
            following.task.cancel()
            await asyncio.gather(following.task, return_exceptions=True)
        self._bells.pop(name, None)
        await asyncio.to_thread(following.generation.close)

    async def _keep_looking(self) -> None:
        sweeps = 0
        while not await self._stops_within(self._sweep_seconds):
            sweeps += 1
            try:
                await self._look_up()
                await self._meet_decisions(again=sweeps % _CORRECTIONS_AGAIN == 0)
            except SidestreamError as error:
                log_line.warning("generations not readable", projection=self.projection.name, problem=str(error))
            except Exception:  # a fault of ours must not end the looking in silence
                log_line.exception("looking for generations failed", projection=self.projection.name)

    async def _stops_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return self._stopping.is_set()

    async def _meet_decisions(self, *, again: bool) -> None:
        """Wake generations that have not met every decision; each meets them between two batches of its own."""
        latest = await asyncio.to_thread(self._in_force.refresh)
        for name, following in self._following.items():
            following.decisions = 0 if again else following.decisions
            if following.decisions < latest:
                self._bells[name].set()

    async def _keep_measuring(self) -> None:
        """Look how far each generation is; a task of its own, so that nothing else waits for a log or database that hangs."""
        stops = False
        while not stops:
            for following in tuple(self._following.values()):
                with contextlib.suppress(SidestreamError):  # away: whoever follows says so
                    following.measured = await asyncio.to_thread(self._measurer.measure, following.generation, following.measured)
                following.pace.note(following.total.counted, asyncio.get_running_loop().time())
            stops = await self._stops_within(self._sweep_seconds)

    # ── following ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self, name: str, following: Following) -> None:
        """Follow the log until stopped: on a bell, on a sweep, and after a failure with growing pauses."""
        pause = self._sweep_seconds
        while not self._stopping.is_set():
            bell = self._bells[name]
            bell.clear()
            well = await self._catch_up(name, following)
            pause = self._sweep_seconds if well else min(pause * 2, _LONGEST_PAUSE)
            await self._wait(bell, pause)

    async def _wait(self, bell: asyncio.Event, pause: float) -> None:
        try:
            await asyncio.wait_for(bell.wait(), pause)
        except TimeoutError:
            self.sweeps += 1

    async def _catch_up(self, name: str, following: Following) -> bool:
        try:
            outcome = await asyncio.to_thread(self._follow_on, following)
        except SidestreamError as error:
            self._say(name, following, f"{error.code}: {error}", away=isinstance(error, LogUnavailable))
            return False
        except Exception as error:  # a fault of ours: follow on after a pause, and be red until then
            log_line.exception("following failed", projection=self.projection.name, generation=name)
            self._say(name, following, f"internal: {type(error).__name__}: {error}")
            return False
        following.caught_up = True
        self._say(name, following, "")
        self._waiters.wake()  # another replica may have committed
        if outcome != Outcome() and name == self.live:
            self._heard.found(asyncio.get_running_loop().time())
        if outcome.parked:
            log_line.warning("events parked", projection=self.projection.name, generation=name, parked=outcome.parked)
        return True

    def _follow_on(self, following: Following) -> Outcome:
        """Meet decisions, then apply whatever the log holds. In a thread; wakes who waits after every commit."""
        self._meet(following)
        found = Outcome()
        while not self._stopping.is_set() and (outcome := following.projector.step()) is not None:
            following.total.add(outcome)
            found.add(outcome)
            self._committed()
        return found

    def _meet(self, following: Following) -> None:
        news, latest = self._in_force.since(following.decisions), self._in_force.latest
        if news:
            done = drain(self._rule, following.generation, self._now, news)
            following.total.released += done.applied
            self._committed()
        following.decisions = latest

    def _committed(self) -> None:
        if self._loop is not None and len(self._waiters):
            self._loop.call_soon_threadsafe(self._waiters.wake)

    def _say(self, name: str, following: Following, problem: str, *, away: bool = False) -> None:
        """One line when following stops and one when it goes on, not one a second."""
        if problem and problem != following.problem:
            log_line.error("not following", projection=self.projection.name, generation=name, problem=problem)
        elif following.problem and not problem:
            log_line.info("following again", projection=self.projection.name, generation=name)
        following.problem = problem
        following.away = away

    def _introduce(self) -> None:
        if self._live is None:
            raise ConfigurationError(f"{self.projection.name}: no generation is live, and none could be made")
        following = self._following.get(self._live.name)
        if following is None and self._stale is not None:
            return  # said when it was opened
        if following is None:
            log_line.error("not serving", projection=self.projection.name, problem=self.not_serving())
            return
        with following.generation.snapshot() as reader:
            parked = reader.count(PARKED_STREAMS)
        log_line.info(
            "projection",
            projection=self.projection.name,
            version=self.projection.version,
            generation=self._live.name,
            topics=self.projection.topics,
            handles=[model.__name__ for model in self.projection.handles] or "every event",
            checkpoints={topic: row.position if row else "start" for topic, row in following.projector.checkpoints.items()},
            parked_streams=parked,
        )


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


def open_live(read_models: ReadModels) -> Generation:
    """Open the live generation; raises UnknownGeneration when there is none."""
    for info in read_models.generations():
        if info.live:
            return read_models.open(info.name)
    raise UnknownGeneration("no generation is live. Start the projection once.")
