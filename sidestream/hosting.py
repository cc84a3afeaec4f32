"""Keeps a projection's generations up to date inside an app, and lets queries read the live one.

The sidecar's deliveries ring; a sweep looks at the log anyway. Every ready generation follows the log by itself, in a
thread, so that switching and switching back are moves of one pointer. The generations are looked up again on every
sweep: a rebuild by another process is taken over without a restart.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import msgspec
import structlog

from sidestream.applied import BOOKKEEPING, CHECKPOINTS, PARKED_STREAMS
from sidestream.applying import Outcome, Rule
from sidestream.errors import ConfigurationError, SidestreamError, StoreAway, UnknownGeneration
from sidestream.ports import EventLog, Generation, GenerationInfo, Reader, ReadModels
from sidestream.projection import Projection
from sidestream.projector import Projector
from sidestream.registry import Registry

log_line = structlog.get_logger()

_LONGEST_PAUSE = 10.0


class View(msgspec.Struct, frozen=True):
    """One consistent moment of the live generation.

    Attributes:
        reader: its rows.
        generation: its name.
        applied: topic → position of the last event applied; topics of which nothing was applied are missing.
    """

    reader: Reader
    generation: str
    applied: Mapping[str, str]


class Following(msgspec.Struct):
    """What an app knows of one generation it follows."""

    generation: Generation
    projector: Projector
    total: Outcome
    problem: str = ""
    caught_up: bool = False
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
    ) -> None:
        self.projection = projection
        self.bells = 0
        self.sweeps = 0
        self._rule = Rule(projection, registry)
        self._log = log
        self._read_models = read_models
        self._now = now
        self._sweep_seconds = sweep_seconds
        self._following: dict[str, Following] = {}
        self._live: GenerationInfo | None = None
        self._bells: dict[str, asyncio.Event] = {}
        self._stopping = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> "ProjectionHost":
        """Open the live generation, or make the first one, and begin to follow."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._make_first)
        await self._look_up()
        self._introduce()
        self._keeper = asyncio.create_task(self._keep_looking())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let the running transaction finish, then stop."""
        self._stopping.set()
        self.ring()
        tasks = [self._keeper, *(following.task for following in self._following.values())]
        await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)
        for following in self._following.values():
            following.generation.close()
        self._read_models.close()
        self._log.close()

    def ring(self, topic: str = "") -> None:
        """Read the log now. Safe to call from any thread."""
        self.bells += 1 if topic else 0
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
        live = self._following.get(self._live.name) if self._live else None
        if live is None or self._live is None:
            raise StoreAway(self.not_serving() or "no generation is live yet")
        with live.generation.snapshot() as reader:
            found = reader.read(CHECKPOINTS, [(topic,) for topic in self.projection.topics])
            yield View(reader, self._live.name, {row.topic: row.position for row in found.values()})

    def not_serving(self) -> str:
        """Return why queries cannot be answered, or nothing."""
        if self._live is None:
            return f"{self.projection.name}: no generation is live"
        if self._live.version != self.projection.version:
            return (
                f"{self.projection.name}: generation {self._live.name} was built by version {self._live.version}, "
                f"this program is version {self.projection.version}. Run: sidestream projections rebuild {self.projection.name}"
            )
        return ""

    def not_following(self) -> str:
        """Return why the live generation does not follow the log, or nothing."""
        following = self._following.get(self._live.name) if self._live else None
        return self.not_serving() or (following.problem if following else "")

    @property
    def caught_up(self) -> bool:
        """Whether the live generation has once reached the end of the log since this app started."""
        following = self._following.get(self._live.name) if self._live else None
        return following is not None and following.caught_up

    def totals(self) -> dict[str, Outcome]:
        """Return what became of events since the start, for each generation."""
        return {name: following.total for name, following in self._following.items()}

    # ── generations ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _make_first(self) -> None:
        """The first generation is built live. Two apps that start at once: one makes it, the other waits for it."""
        if any(info.live for info in self._read_models.generations()):
            return
        with contextlib.suppress(SidestreamError), self._read_models.exclusively():
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
        self._live = next((info for info in infos.values() if info.live), None)
        for name in [name for name in self._following if name not in infos]:
            await self._leave(name)

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
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._sweep_seconds)
            try:
                await self._look_up()
            except SidestreamError as error:
                log_line.warning("generations not readable", projection=self.projection.name, problem=str(error))

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
            outcome = await asyncio.to_thread(following.projector.catch_up, self._stopping.is_set)
        except SidestreamError as error:
            self._say(name, following, f"{error.code}: {error}")
            return False
        except Exception as error:  # a fault of ours: follow on after a pause, and be red until then
            log_line.exception("following failed", projection=self.projection.name, generation=name)
            self._say(name, following, f"internal: {type(error).__name__}: {error}")
            return False
        following.total.add(outcome)
        following.caught_up = True
        self._say(name, following, "")
        if outcome.parked:
            log_line.warning("events parked", projection=self.projection.name, generation=name, parked=outcome.parked)
        return True

    def _say(self, name: str, following: Following, problem: str) -> None:
        """One line when following stops and one when it goes on, not one a second."""
        if problem and problem != following.problem:
            log_line.error("not following", projection=self.projection.name, generation=name, problem=problem)
        elif following.problem and not problem:
            log_line.info("following again", projection=self.projection.name, generation=name)
        following.problem = problem

    def _introduce(self) -> None:
        if self._live is None:
            raise ConfigurationError(f"{self.projection.name}: no generation is live, and none could be made")
        following = self._following.get(self._live.name)
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


def open_live(read_models: ReadModels) -> Generation:
    """Open the live generation; raises UnknownGeneration when there is none."""
    for info in read_models.generations():
        if info.live:
            return read_models.open(info.name)
    raise UnknownGeneration("no generation is live. Start the projection once.")
