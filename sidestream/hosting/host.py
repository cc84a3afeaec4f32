"""Keeps a projection's generations up to date inside an app, and lets queries read the live one.

The sidecar's deliveries ring; a sweep looks at the log anyway. Every ready generation follows the log by itself, in a
thread, so that switching and switching back are moves of one pointer. The generations are looked up again on every
sweep: a rebuild by another process is taken over without a restart, and what an operator decided about a dead letter
is met by every generation; one that cannot be read stops only itself. Commits wake queries that wait for their writes.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import CancelledError
from math import ceil
from threading import get_ident

import structlog

from sidestream.applying.applied import BOOKKEEPING, PARKED_STREAMS
from sidestream.applying.batch import Outcome
from sidestream.applying.consistency import Place, Standing, examine
from sidestream.applying.corrections import BESIDE, Corrections, InForce
from sidestream.applying.decoding import Rule
from sidestream.applying.projector import Spans
from sidestream.applying.waiters import Standings, Waiters
from sidestream.errors import ReadModelError, SidestreamError
from sidestream.hosting.answering import Answering
from sidestream.hosting.followed import Errand, Following
from sidestream.hosting.health import Bells, Measurer
from sidestream.hosting.serving import served_by
from sidestream.hosting.unreadable import Readable
from sidestream.identifiers import this_process
from sidestream.ports import EventLog, GenerationInfo, ReadModels
from sidestream.projection import Projection
from sidestream.registry import Registry

log_line = structlog.get_logger()

_LOOK_SECONDS = 10.0
"""So long does a query wait for a look where the pointer is."""
_CORRECTIONS_AGAIN = 60
"""So many sweeps pass until decisions that were met already are looked at once more: whoever should have met them may have died."""


class ProjectionHost(Answering):
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
        spans: Spans | None = None,
    ) -> None:
        readable = Readable(projection, read_models)
        bells, measurer = Bells(sweep_seconds), Measurer(log, projection.topics, still_seconds)
        super().__init__(projection, bells, measurer, readable, log=log, patience=max(ceil(still_seconds / sweep_seconds), 2))
        self.sweeps = 0
        self.when_committed: Callable[[], object] | None = None
        self._in_force = InForce()
        self._corrections: Corrections | None = None
        self._waiters = Waiters(self._examine)
        self._read_models = read_models
        self._now = now
        self._sweep_seconds = sweep_seconds
        self._stopping = asyncio.Event()
        self._looking = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None
        self._measuring: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0
        self._errand = Errand(
            rule=Rule(projection, registry, self._in_force),
            log=log,
            in_force=self._in_force,
            now=now,
            sweep_seconds=sweep_seconds,
            stopping=self._stopping,
            swept=self._swept,
            committed=self._committed,
            caught_up=self._reached_the_end,
            spans=spans,
        )

    async def __aenter__(self) -> "ProjectionHost":
        """Open the live generation, or make the first one, and begin to follow."""
        self._loop, self._loop_thread = asyncio.get_running_loop(), get_ident()
        await asyncio.to_thread(self._open_corrections)
        await self._look_up_next()
        self._introduce()
        self._keeper = asyncio.create_task(self._keep_looking())
        self._measuring = asyncio.create_task(self._keep_measuring())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let the running transaction finish, then stop."""
        self._stopping.set()
        self.ring()
        async with self._looking:  # what is looked up meanwhile may begin to follow one more
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
        for following in tuple(self._following.values()):
            self._loop.call_soon_threadsafe(following.bell.set)

    # ── queries ──────────────────────────────────────────────────────────────────────────────────────────────────────

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

    def _open_corrections(self) -> None:
        self._corrections = Corrections(self._read_models.beside(BESIDE))
        self._in_force.follow(self._corrections)

    # ── generations ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _make_first(self) -> None:
        """The first generation is built live. Two apps that start at once: one makes it, the other waits for it.

        Where a rebuild makes it, its switch is waited for: every sweep looks again, and makes it if that rebuild died.
        """
        if any(info.live for info in self._read_models.generations()):
            return
        with contextlib.suppress(ReadModelError), self._read_models.exclusively(this_process()):
            if not any(info.live for info in self._read_models.generations()):
                name = self._read_models.create(self.projection.version, (*BOOKKEEPING, *self.projection.tables), self._now())
                self._read_models.mark_ready(name)
                self._read_models.switch(name)

    async def _look_up_next(self, unless_moved_from: str | None = None) -> None:
        """Look up, one after another; with a name: unless another generation has become live by then."""
        async with self._looking:
            if not self._stopping.is_set() and unless_moved_from in (None, self.live):
                await self._look_up()

    def _look_again(self, live: GenerationInfo) -> bool:
        """Look where the pointer is if this generation was dropped since the last sweep; return whether that was done.

        For a query's thread: on the event loop itself nobody can wait for the loop.
        """
        if any(info.name == live.name for info in self._read_models.generations()):
            return False
        loop = self._loop
        if loop is None or loop.is_closed() or self._stopping.is_set() or get_ident() == self._loop_thread:
            return False
        looking = asyncio.run_coroutine_threadsafe(self._look_up_next(live.name), loop)
        try:
            looking.result(_LOOK_SECONDS)
        except (TimeoutError, CancelledError, SidestreamError):
            return False
        return True

    async def _look_up(self) -> None:
        """Follow what is ready, leave what was dropped, and point queries to the live one."""
        if self._live is None:
            await asyncio.to_thread(self._make_first)
        infos = {info.name: info for info in await asyncio.to_thread(self._read_models.generations)}
        await self._leave_lost(infos)
        wanted = [info for info in infos.values() if info.state == "ready" and info.version == self.projection.version]
        for info in wanted:
            if info.name not in self._following:
                await self._follow(info)
        live = served_by(self.projection.version, infos.values())
        if not await self._hand_over(live, infos):
            await self._serve(live)
        self._waiters.wake()
        for name in [name for name in self._following if name not in infos]:
            await self._following.pop(name).leave()
        self._readable.forget(infos)

    async def _leave_lost(self, infos: Mapping[str, GenerationInfo]) -> None:
        """Follow and answer from nothing whose file or tables were taken away: what is read there is not what others see."""
        for name, following in tuple(self._following.items()):
            if name in infos and await asyncio.to_thread(self._readable.lost, infos[name], following.generation):
                await self._following.pop(name).leave()
        stale = self._stale
        if stale is not None and stale.name in infos and await asyncio.to_thread(self._readable.lost, infos[stale.name], stale):
            self._stale = None
            await asyncio.to_thread(stale.close)

    async def _follow(self, info: GenerationInfo) -> None:
        if (opened := await asyncio.to_thread(self._readable.open, info)) is not None:
            self._following[info.name] = Following(self._errand, opened)
            self._following[info.name].start()

    async def _keep_looking(self) -> None:
        sweeps = 0
        while not await self._stops_within(self._sweep_seconds):
            sweeps += 1
            try:
                await self._look_up_next()
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
        for following in self._following.values():
            following.decisions = 0 if again else following.decisions
            if following.decisions < latest:
                following.bell.set()

    async def _keep_measuring(self) -> None:
        """Look how far each generation is; a task of its own, so that nothing else waits for a log or database that hangs."""
        stops = False
        while not stops:
            for following in tuple(self._following.values()):
                with contextlib.suppress(SidestreamError):  # away: whoever follows says so
                    following.measured = await asyncio.to_thread(self._measurer.measure, following.generation, following.measured)
                following.pace.note(following.total.counted, asyncio.get_running_loop().time())
            stops = await self._stops_within(self._sweep_seconds)

    # ── what generations tell ────────────────────────────────────────────────────────────────────────────────────────

    def _swept(self) -> None:
        self.sweeps += 1

    def _committed(self) -> None:
        """Wake who waits; called in a thread."""
        if self._loop is not None and len(self._waiters):
            self._loop.call_soon_threadsafe(self._waiters.wake)
        if self._loop is not None and self.when_committed is not None:
            self._loop.call_soon_threadsafe(self.when_committed)

    def _reached_the_end(self, name: str, outcome: Outcome) -> None:
        self._waiters.wake()  # another replica may have committed
        self._end_handover_if_reached()
        if outcome != Outcome() and name == self.live:
            self._heard.found(asyncio.get_running_loop().time())

    def _introduce(self) -> None:
        if self._live is None:
            log_line.warning("not serving", projection=self.projection.name, problem=self.not_serving())
            return
        following = self._following.get(self._live.name)
        if (following is None and self._stale is not None) or self._readable.problem(self._live.name):
            return  # said when it was opened
        if following is None:
            log_line.error("not serving", projection=self.projection.name, problem=self.not_serving())
            return
        with contextlib.suppress(ReadModelError):  # whoever follows says so
            self._say_what_is_live(self._live, following)

    def _say_what_is_live(self, live: GenerationInfo, following: Following) -> None:
        with following.generation.snapshot() as reader:
            parked = reader.count(PARKED_STREAMS)
        log_line.info(
            "projection",
            projection=self.projection.name,
            version=self.projection.version,
            generation=live.name,
            topics=self.projection.topics,
            handles=[model.__name__ for model in self.projection.handles] or "every event",
            checkpoints={topic: row.position if row else "start" for topic, row in following.projector.checkpoints.items()},
            parked_streams=parked,
        )
