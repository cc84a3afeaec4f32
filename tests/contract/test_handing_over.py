"""No answer of an app is older than one before it, whatever the pointer does; nobody is refused. On every read model adapter."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Event, current_thread
from typing import Any, cast

import pytest

from sidestream.adapters.memory_log import MemoryLog
from sidestream.applying.consistency import Place
from sidestream.errors import ForeignPosition, StoreAway
from sidestream.hosting.host import ProjectionHost
from sidestream.ports import Generation, Reader, ReadModels, Unit
from sidestream.rebuilding.rebuild import rebuild
from tests.contract.taking_away import Take
from tests.contract.test_hosting import PAGES, REGISTRY, Hits, hits, now, wires
from tests.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # a sqlite3 connection of a thread pool's thread is closed with it

NEVER = 3600.0
"""Seconds that a test does not reach."""


class Held:
    """A generation that writes when it is let."""

    def __init__(self, generation: Generation, let: Event) -> None:
        self._generation = generation
        self._let = let

    @contextmanager
    def unit(self) -> Iterator[Unit]:
        self._let.wait()
        with self._generation.unit() as unit:
            yield unit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generation, name)


class Slow:
    """A generation in which a query of a slow thread begins, and opens its moment when it is let."""

    def __init__(self, generation: Generation, begun: Event, let: Event) -> None:
        self._generation = generation
        self._begun = begun
        self._let = let

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        if current_thread().name.startswith("slow"):
            self._begun.set()
            self._let.wait()
        with self._generation.snapshot() as reader:
            yield reader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generation, name)


class SeenByApp:
    """Read models of an app that sees what others do with them when it is told; g1 is slow, and g2 writes when it is let."""

    def __init__(self, read_models: ReadModels) -> None:
        self.let = Event()
        self.slow_begun = Event()
        self.slow_let = Event()
        self._read_models = read_models
        self._before: Any = None

    def hide(self) -> None:
        self._before = self._read_models.generations()

    def show(self) -> None:
        self._before = None

    def generations(self) -> Any:
        return self._before or self._read_models.generations()

    def open(self, name: str) -> Any:
        opened = self._read_models.open(name)
        return Held(opened, self.let) if name == "g2" else Slow(opened, self.slow_begun, self.slow_let)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._read_models, name)


class App:
    """An app that has answered 5 hits from g1, when g2, which had 3 of them when it became live, writes nothing yet."""

    def __init__(self, read_models: ReadModels, log: MemoryLog, still_seconds: float = NEVER) -> None:
        self.read_models = read_models
        self.log = log
        self.seen = SeenByApp(read_models)
        seen = cast(ReadModels, self.seen)
        self.host = ProjectionHost(Hits(), REGISTRY, log, seen, now=now, sweep_seconds=0.02, still_seconds=still_seconds)
        self.answers: list[tuple[str, int]] = []
        self.not_ready: set[str] = set()

    async def __aenter__(self) -> "App":
        self.log.record("hits", wires(1, 3))
        await self.host.__aenter__()
        await until(lambda: self.ask() == ("g1", 3) and self.host.not_ready() == "", seconds=60)
        self.seen.hide()
        await asyncio.to_thread(rebuild, Hits(), REGISTRY, self.log, self.read_models, now)
        self.log.record("hits", wires(4, 2))
        await until(lambda: self.ask() == ("g1", 5), seconds=60)
        self.seen.show()
        await until(lambda: "g2" in self.host.totals(), seconds=60)
        return self

    async def __aexit__(self, *error: object) -> None:
        self.seen.slow_let.set()
        self.seen.let.set()  # the end of an app waits for its transactions
        await self.host.__aexit__(*error)

    def ask(self) -> tuple[str, int]:
        """Ask as a client does, and as whoever asks for its readiness."""
        with self.host.reading() as view:
            row = view.reader.read(PAGES, [("/",)]).get(("/",))
            self.answers.append((view.generation, row.hits if row else 0))
        self.not_ready.add(self.host.not_ready())
        return self.answers[-1]

    async def sweeps(self, count: int = 5) -> None:
        """Wait until it has swept so many times, and ask all the time."""
        end = self.host.sweeps + count
        await until(lambda: bool(self.ask()) and self.host.sweeps >= end, seconds=60)

    async def answers_from(self, generation: str) -> None:
        await until(lambda: self.ask()[0] == generation, seconds=60)

    @property
    def totals(self) -> list[int]:
        return [total for _, total in self.answers]


async def test_the_one_before_answers_on_until_the_next_one_has_all_that_was_answered(read_models: ReadModels) -> None:
    async with App(read_models, MemoryLog()) as app:
        app.not_ready.clear()
        await app.sweeps()
        app.log.record("hits", wires(6, 1))
        await until(lambda: app.ask() == ("g1", 6), seconds=60)
        app.seen.let.set()
        await until(lambda: app.ask() == ("g2", 6), seconds=60)
        assert app.totals == sorted(app.totals)
        assert app.not_ready == {""}
        app.log.record("hits", wires(7, 1))
        await until(lambda: app.ask() == ("g2", 7), seconds=60)


async def test_a_query_that_began_before_the_switch_and_comes_to_read_after_it_is_answered_by_the_next_one(read_models: ReadModels) -> None:
    async with App(read_models, MemoryLog()) as app:
        slow = ThreadPoolExecutor(1, thread_name_prefix="slow")
        asked = asyncio.get_running_loop().run_in_executor(slow, app.ask)
        await until(app.seen.slow_begun.is_set, seconds=60)
        app.seen.let.set()
        await until(lambda: app.ask() == ("g2", 5), seconds=60)
        app.seen.let.clear()
        app.log.record("hits", wires(6, 1))
        await until(lambda: app.host.totals()["g1"].applied == 6, seconds=60)
        app.seen.slow_let.set()
        generation, _ = await asked
        slow.shutdown()
        assert generation == "g2"


async def test_totals_never_fall_over_a_rebuild_and_its_switch_under_traffic(read_models: ReadModels) -> None:
    log, totals, recorded = MemoryLog(), [0], 0

    def record_and_ask(host: ProjectionHost) -> str:
        nonlocal recorded
        if recorded - totals[-1] < 200:  # no more than it can take
            log.record("hits", wires(recorded + 1, 20))
            recorded += 20
        host.ring("hits")
        with host.reading() as view:
            row = view.reader.read(PAGES, [("/",)]).get(("/",))
            totals.append(row.hits if row else 0)
            return view.generation

    async with ProjectionHost(Hits(), REGISTRY, log, read_models, now=now, sweep_seconds=0.3) as host:
        for generation in ("g2", "g3"):
            rebuilding = asyncio.create_task(asyncio.to_thread(rebuild, Hits(), REGISTRY, log, read_models, now))
            await until(lambda at=generation: record_and_ask(host) == at, seconds=120)
            await rebuilding
    assert totals == sorted(totals)


async def test_who_waits_for_its_write_is_answered_and_finds_it_in_the_rows(read_models: ReadModels) -> None:
    async with App(read_models, MemoryLog()) as app:
        app.log.record("hits", wires(6, 1))
        (standing,) = await app.host.wait_for((Place("hits", "web.1", 6),), 30)
        assert standing.applied
        app.seen.let.set()
        await until(lambda: app.ask() == ("g2", 6), seconds=60)
        assert app.totals == sorted(app.totals)


async def test_a_switch_back_in_between_ends_it(read_models: ReadModels) -> None:
    async with App(read_models, MemoryLog()) as app:
        await asyncio.to_thread(read_models.switch, "g1")
        app.seen.let.set()
        app.log.record("hits", wires(6, 1))
        await until(lambda: app.ask() == ("g1", 6) and app.host.totals()["g2"].applied == 3, seconds=60)
        await app.sweeps()
        assert app.ask() == ("g1", 6)
        await asyncio.to_thread(read_models.switch, "g2")
        await app.answers_from("g2")
        assert app.totals == sorted(app.totals)


# ── what is not waited for ───────────────────────────────────────────────────────────────────────────────────────────


async def test_a_next_one_that_stands_still_answers_in_the_end(read_models: ReadModels) -> None:
    async with App(read_models, MemoryLog(), still_seconds=0.2) as app:
        await app.answers_from("g2")


async def test_when_the_one_before_is_dropped_the_next_one_answers_at_once(read_models: ReadModels) -> None:
    async with App(read_models, MemoryLog()) as app:
        await app.sweeps()
        await asyncio.to_thread(read_models.drop, "g1")
        await app.answers_from("g2")


@pytest.mark.parametrize("kept", ["missing", "postgres"], indirect=True)
async def test_when_the_one_before_is_taken_away_the_next_one_answers_and_nobody_is_refused(kept: tuple[ReadModels, Take]) -> None:
    read_models, take = kept
    async with App(read_models, MemoryLog()) as app:
        await app.sweeps()
        await asyncio.to_thread(take, "g1")
        await app.answers_from("g2")


class OfAnotherKind(MemoryLog):
    """A log whose positions are none that were noted before."""

    moved = False

    def compare(self, left: str, right: str) -> int:
        if self.moved:
            raise ForeignPosition("of another kind of log")
        return super().compare(left, right)


async def test_positions_of_another_kind_of_log_are_not_waited_for(read_models: ReadModels) -> None:
    log = OfAnotherKind()
    async with App(read_models, log) as app:
        await app.sweeps()
        assert app.ask() == ("g1", 5)
        log.moved = True
        await app.answers_from("g2")


async def test_a_place_in_a_log_that_began_anew_is_not_waited_for(read_models: ReadModels) -> None:
    async with App(read_models, MemoryLog()) as app:
        await app.sweeps()
        assert app.ask() == ("g1", 5)
        app.log.flush("hits")
        app.log.record("hits", wires(6, 1))
        await app.answers_from("g2")


# ── dropped between two sweeps ───────────────────────────────────────────────────────────────────────────────────────


def that_never_sweeps(log: MemoryLog, read_models: ReadModels) -> ProjectionHost:
    return ProjectionHost(Hits(), REGISTRY, log, read_models, now=now, sweep_seconds=NEVER)


def four_at_once(host: ProjectionHost) -> list[int]:
    with ExitStack() as opened:
        readers = [opened.enter_context(host.reading()).reader for _ in range(4)]
        return [reader.read(PAGES, [("/",)])[("/",)].hits for reader in readers]


async def asked_by_many(host: ProjectionHost) -> list[int]:
    """Ask from ten threads, and then so that four answers are read at once."""
    with ThreadPoolExecutor(10) as clients:
        ask = asyncio.get_running_loop().run_in_executor
        return [*await asyncio.gather(*(ask(clients, hits, host) for _ in range(10))), *await ask(clients, four_at_once, host)]


async def test_nobody_is_refused_when_one_rolls_back_and_drops(read_models: ReadModels) -> None:
    log = MemoryLog()
    log.record("hits", wires(1, 3))
    for _ in range(2):
        rebuild(Hits(), REGISTRY, log, read_models, now)
    async with that_never_sweeps(log, read_models) as host:
        await until(lambda: host.live == "g2" and hits(host) == 3, seconds=60)
        await asyncio.to_thread(read_models.roll_back, "g1")
        await asyncio.to_thread(read_models.drop, "g2")
        assert await asked_by_many(host) == [3] * 14
        log.record("hits", wires(4, 1))
        host.ring("hits")
        await until(lambda: hits(host) == 4, seconds=60)


async def test_nobody_is_refused_when_one_rebuilds_twice(read_models: ReadModels) -> None:
    log = MemoryLog()
    log.record("hits", wires(1, 3))
    async with that_never_sweeps(log, read_models) as host:
        await until(lambda: host.live == "g1" and hits(host) == 3, seconds=60)
        for _ in range(2):
            await asyncio.to_thread(rebuild, Hits(), REGISTRY, log, read_models, now)
        assert [info.name for info in read_models.generations()] == ["g2", "g3"]
        assert await asked_by_many(host) == [3] * 14


async def test_on_the_event_loop_itself_one_that_was_dropped_is_refused_and_nothing_hangs(
    read_models: ReadModels, request: pytest.FixtureRequest
) -> None:
    if "memory" in request.node.name:
        return  # what was dropped there is read on until the next sweep
    log = MemoryLog()
    log.record("hits", wires(1, 3))
    for _ in range(2):
        rebuild(Hits(), REGISTRY, log, read_models, now)
    async with that_never_sweeps(log, read_models) as host:
        read_models.switch("g1")
        read_models.drop("g2")
        with pytest.raises(StoreAway, match="g2 cannot be read"):
            four_at_once(host)
