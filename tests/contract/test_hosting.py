"""An app follows the log: bell, sweep, another process's rebuild, a log that is away. On every read model adapter."""

import asyncio
from typing import Any

import msgspec
import pytest

from sidestream.adapters.memory_log import MemoryLog
from sidestream.applying.applied import BOOKKEEPING
from sidestream.errors import HistoryTrimmed, LogUnavailable, ReadModelError, StoreAway
from sidestream.event import Counted, Envelope, NewEvent, encode_event
from sidestream.hosting.host import ProjectionHost
from sidestream.ports import ReadModels
from sidestream.projection import Projection, Rows, Table
from sidestream.rebuilding.rebuild import rebuild
from sidestream.registry import Category, EventType, Registry
from tests.contract.kept_open import kept_open
from tests.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # a sqlite3 connection of a thread pool's thread is closed with it


class Hit(msgspec.Struct, frozen=True):
    page: str


class Page(msgspec.Struct, frozen=True):
    page: str
    hits: int


PAGES = Table(Page, key=("page",))
REGISTRY = Registry([Category("hit", "hits", "/services/web", (EventType("hit.made", Hit, ordered=False),))])


class Hits(Projection):
    name = "hits"
    topics = ("hits",)
    handles = (Hit,)
    tables = (PAGES,)

    def keys(self, event: Hit, envelope: Envelope) -> list[tuple[Table[Any], tuple[str]]]:
        return [(PAGES, (event.page,))]

    def evolve(self, rows: Rows, event: Hit, envelope: Envelope) -> None:
        row = rows.get(PAGES, (event.page,)) or Page(event.page, 0)
        rows.put(PAGES, Page(event.page, row.hits + 1))


class HitsOfNextVersion(Hits):
    version = 2


class AwayNowAndThen(MemoryLog):
    """A log that cannot be read while `away` is set."""

    away = False

    def read(self, topic: str, start: str | None, limit: int) -> Any:
        if self.away:
            raise LogUnavailable("nobody answers")
        return super().read(topic, start, limit)


def wires(first: int, count: int) -> list[bytes]:
    return [
        encode_event(
            NewEvent(topic="hits", id=str(number), source="/services/web", type="hit.made", data=b'{"page":"/"}', subject=f"hit-{number}"),
            Counted("web.1", number),
        )
        for number in range(first, first + count)
    ]


def now() -> str:
    return "now"


def host_of(log: MemoryLog, read_models: ReadModels, sweep_seconds: float = 60.0, projection: Projection | None = None) -> ProjectionHost:
    return ProjectionHost(projection or Hits(), REGISTRY, log, read_models, now=now, sweep_seconds=sweep_seconds)


def hits(host: ProjectionHost) -> int:
    with host.reading() as view:
        row = view.reader.read(PAGES, [("/",)]).get(("/",))
    return row.hits if row else 0


async def test_a_bell_makes_it_read_the_log(read_models: ReadModels) -> None:
    log = MemoryLog()
    async with host_of(log, read_models) as host:
        log.on_delivery("hits", host.ring)
        await asyncio.to_thread(log.record, "hits", wires(1, 3))
        await until(lambda: hits(host) == 3)
        with host.reading() as view:
            assert (view.generation, view.applied) == ("g1", {"hits": "3"})


async def test_without_any_bell_the_sweep_reads_the_log(read_models: ReadModels) -> None:
    log = MemoryLog()
    async with host_of(log, read_models, sweep_seconds=0.02) as host:
        log.record("hits", wires(1, 3))
        await until(lambda: hits(host) == 3)


async def test_it_goes_on_where_it_stopped(read_models: ReadModels) -> None:
    read_models = kept_open(read_models)  # for the second run
    log = MemoryLog()
    log.record("hits", wires(1, 3))
    async with host_of(log, read_models) as host:
        await until(lambda: hits(host) == 3)
    log.record("hits", wires(4, 2))
    async with host_of(log, read_models) as host:
        await until(lambda: hits(host) == 5)
        assert host.totals()["g1"].applied == 2


async def test_a_log_that_is_away_is_waited_for_and_said(read_models: ReadModels) -> None:
    log = AwayNowAndThen()
    log.away = True
    async with host_of(log, read_models, sweep_seconds=0.02) as host:
        await until(lambda: "nobody answers" in host.not_following())
        log.record("hits", wires(1, 3))
        log.away = False
        await until(lambda: hits(host) == 3)
        await until(lambda: host.not_following() == "")


class Faulty(MemoryLog):
    """A log that breaks its promise: it raises what no adapter may."""

    faulty = True

    def read(self, topic: str, start: str | None, limit: int) -> Any:
        if self.faulty:
            raise ZeroDivisionError("a fault of ours")
        return super().read(topic, start, limit)


async def test_a_fault_of_ours_is_red_and_following_goes_on(read_models: ReadModels) -> None:
    log = Faulty()
    async with host_of(log, read_models, sweep_seconds=0.02) as host:
        await until(lambda: "ZeroDivisionError" in host.not_following())
        log.record("hits", wires(1, 3))
        log.faulty = False
        await until(lambda: hits(host) == 3)


async def test_a_rebuild_is_taken_over_while_it_runs_and_both_generations_follow(read_models: ReadModels) -> None:
    log = MemoryLog()
    log.record("hits", wires(1, 30))
    async with host_of(log, read_models, sweep_seconds=0.02) as host:
        await until(lambda: hits(host) == 30)
        done = await asyncio.to_thread(rebuild, Hits(), REGISTRY, log, read_models, now)
        assert (done.generation, done.before, done.outcome.applied) == ("g2", "g1", 30)
        log.record("hits", wires(31, 5))
        await until(lambda: _generation_of(host) == "g2" and hits(host) == 35)
        await asyncio.to_thread(read_models.switch, "g1")
        await until(lambda: _generation_of(host) == "g1" and hits(host) == 35)


def _generation_of(host: ProjectionHost) -> str:
    with host.reading() as view:
        return view.generation


async def test_a_rebuild_by_a_newer_rule_waits_for_the_newer_program(read_models: ReadModels) -> None:
    log = MemoryLog()
    async with host_of(log, read_models, projection=HitsOfNextVersion(), sweep_seconds=0.02) as host:
        log.record("hits", wires(1, 3))
        await until(lambda: hits(host) == 3)
        await asyncio.to_thread(rebuild, Hits(), REGISTRY, log, read_models, now, accept=True)
        await until(lambda: host.not_serving() != "")
        assert "was built by version 1, this program is version 2" in host.not_serving()
        with pytest.raises(StoreAway, match="sidestream projections rebuild hits"), host.reading():
            pass


def test_a_rebuild_that_died_never_serves_and_is_swept_away(read_models: ReadModels) -> None:
    log = MemoryLog()
    log.record("hits", wires(1, 3))
    left = read_models.create(1, (), "half-way")
    done = rebuild(Hits(), REGISTRY, log, read_models, now)
    assert done.dropped == (left,)
    assert [(info.name, info.live) for info in read_models.generations()] == [(done.generation, True)]


def test_a_second_rebuild_is_refused_while_one_runs(read_models: ReadModels) -> None:
    with read_models.exclusively(), pytest.raises(ReadModelError, match="another rebuild"):
        rebuild(Hits(), REGISTRY, MemoryLog(), read_models, now)


def test_a_trimmed_history_is_not_rebuilt_silently(read_models: ReadModels) -> None:
    log = MemoryLog()
    log.record("hits", wires(1, 3))
    log.trim("hits", "1")
    with pytest.raises(HistoryTrimmed, match="trimmed up to 1"):
        rebuild(Hits(), REGISTRY, log, read_models, now)
    assert not read_models.generations()


def test_a_rebuild_tells_how_far_it_is(read_models: ReadModels) -> None:
    log = MemoryLog()
    log.record("hits", wires(1, 1200))
    told: list[tuple[int, int]] = []
    rebuild(Hits(), REGISTRY, log, read_models, now, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (1200, 1200)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


async def test_an_app_that_starts_during_the_very_first_rebuild_waits_for_it(read_models: ReadModels) -> None:
    log = MemoryLog()
    log.record("hits", wires(1, 3))
    with read_models.exclusively("a rebuild"):
        async with host_of(log, read_models, sweep_seconds=0.02) as host:
            assert "being built" in host.not_ready()
            with pytest.raises(StoreAway, match="being built"):
                hits(host)
            name = read_models.create(1, (*BOOKKEEPING, *Hits.tables), "")
            read_models.mark_ready(name)
            read_models.switch(name)
            await until(lambda: host.not_ready() == "" and hits(host) == 3)
            assert [info.name for info in read_models.generations()] == [name]


async def test_the_first_generation_is_made_when_the_rebuild_that_was_to_make_it_has_died(read_models: ReadModels) -> None:
    log = MemoryLog()
    log.record("hits", wires(1, 3))
    rebuilding = read_models.exclusively("a rebuild")
    rebuilding.__enter__()
    async with host_of(log, read_models, sweep_seconds=0.02) as host:
        assert host.not_ready()
        rebuilding.__exit__(None, None, None)
        await until(lambda: host.not_ready() == "" and hits(host) == 3)


async def test_a_generation_that_is_dropped_while_it_is_followed_is_left_and_harms_nobody(read_models: ReadModels) -> None:
    log = MemoryLog()
    log.record("hits", wires(1, 3))
    async with host_of(log, read_models, sweep_seconds=0.02) as host:
        await until(lambda: hits(host) == 3)
        await asyncio.to_thread(rebuild, Hits(), REGISTRY, log, read_models, now)
        await until(lambda: set(host.totals()) == {"g1", "g2"})
        await asyncio.to_thread(read_models.drop, "g1")
        log.record("hits", wires(4, 2))
        await until(lambda: set(host.totals()) == {"g2"} and hits(host) == 5)
