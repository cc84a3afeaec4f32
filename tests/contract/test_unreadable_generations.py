"""A generation whose file or schema is gone or broken: the app goes on without it, says it, and opening makes none."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sidestream.adapters.memory_log import MemoryLog
from sidestream.adapters.sqlite_read_model import SqliteReadModels
from sidestream.applying.applied import BOOKKEEPING, HEADS
from sidestream.errors import StoreAway, UnreadableGeneration
from sidestream.hosting.unreadable import Readable
from sidestream.ports import Generation, ReadModels
from sidestream.rebuilding.rebuild import rebuild
from tests.contract.taking_away import Take, everywhere, file_of, remove, taken_away
from tests.contract.test_hosting import REGISTRY, Hits, HitsOfNextVersion, hits, host_of, now, wires
from tests.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # a sqlite3 connection of a thread pool's thread is closed with it


def three(read_models: ReadModels, log: MemoryLog) -> None:
    """Generations g1 and g2; g2 is live."""
    log.record("hits", wires(1, 3))
    for _ in range(2):
        rebuild(Hits(), REGISTRY, log, read_models, now)


# ── the app ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@everywhere
async def test_one_that_is_not_live_stops_nothing_and_is_said_with_what_to_run(kept: tuple[ReadModels, Take]) -> None:
    read_models, take = kept
    log = MemoryLog()
    three(read_models, log)
    take("g1")
    async with host_of(log, read_models, sweep_seconds=0.02) as host:
        assert host.unreadable()["g1"].endswith("Run: sidestream projections drop hits g1")
        log.record("hits", wires(4, 2))
        await until(lambda: hits(host) == 5 and host.not_ready() == "")
        assert set(host.unreadable()) == {"g1"}
        await asyncio.to_thread(read_models.drop, "g1")
        await until(lambda: not host.unreadable())


@everywhere
async def test_an_app_whose_live_one_cannot_be_read_starts_refuses_and_takes_over_a_rebuilt_one(kept: tuple[ReadModels, Take]) -> None:
    read_models, take = kept
    log = MemoryLog()
    three(read_models, log)
    take("g2")
    async with host_of(log, read_models, sweep_seconds=0.02) as host:
        assert "Run: sidestream projections rebuild hits" in host.not_ready()
        with pytest.raises(StoreAway, match="g2 cannot be read.*sidestream projections rebuild hits"):
            hits(host)
        rebuilt = await asyncio.to_thread(rebuild, Hits(), REGISTRY, log, read_models, now)
        assert (rebuilt.generation, rebuilt.live) == ("g3", True)
        await until(lambda: host.live == "g3" and host.not_ready() == "" and "drop hits g2" in host.unreadable()["g2"])
        assert hits(host) == 3


@taken_away
async def test_a_live_one_that_is_taken_away_under_a_running_app_is_answered_from_no_more(kept: tuple[ReadModels, Take]) -> None:
    read_models, take = kept
    log = MemoryLog()
    three(read_models, log)
    async with host_of(log, read_models, sweep_seconds=0.02) as host:
        await until(lambda: hits(host) == 3 and host.not_ready() == "")
        await asyncio.to_thread(take, "g2")
        await until(lambda: "g2 cannot be read" in host.not_serving() and "g2 cannot be read" in host.not_ready())
        with pytest.raises(StoreAway, match="sidestream projections rebuild hits"):
            hits(host)
        await asyncio.to_thread(rebuild, Hits(), REGISTRY, log, read_models, now)
        log.record("hits", wires(4, 1))
        await until(lambda: host.live == "g3" and host.not_ready() == "" and hits(host) == 4)


async def test_a_file_put_back_is_answered_from_again_and_goes_on_from_its_place(tmp_path: Path) -> None:
    folder, log = tmp_path / "hits", MemoryLog()
    read_models = SqliteReadModels(folder)
    three(read_models, log)
    with closing(sqlite3.connect(file_of(folder, "g2"))) as live, closing(sqlite3.connect(tmp_path / "copy")) as copy:
        live.backup(copy)
    async with host_of(log, read_models, sweep_seconds=0.02) as host:
        await until(lambda: hits(host) == 3)
        await asyncio.to_thread(remove, folder, "g2")
        await until(lambda: "found none" in host.not_serving())
        log.record("hits", wires(4, 2))
        (tmp_path / "copy").rename(file_of(folder, "g2"))
        await until(lambda: host.not_ready() == "" and hits(host) == 5)


async def test_one_that_was_dropped_is_no_fault(tmp_path: Path) -> None:
    log, read_models = MemoryLog(), SqliteReadModels(tmp_path / "hits")
    three(read_models, log)
    async with host_of(log, read_models, sweep_seconds=0.02) as host:
        await until(lambda: set(host.totals()) == {"g1", "g2"})
        await asyncio.to_thread(read_models.drop, "g1")
        await until(lambda: set(host.totals()) == {"g2"})
        assert host.unreadable() == {}


async def test_one_that_serves_without_its_code_is_left_as_well(tmp_path: Path) -> None:
    log, read_models = MemoryLog(), SqliteReadModels(tmp_path / "hits")
    three(read_models, log)
    read_models.switch("g1", "2026-11-20T09:00:00Z")
    async with host_of(log, read_models, sweep_seconds=0.02, projection=HitsOfNextVersion()) as host:
        assert (hits(host), host.not_ready()) == (3, "")
        await asyncio.to_thread(remove, tmp_path / "hits", "g1")
        await until(lambda: "found none" in host.not_ready())
        with pytest.raises(StoreAway, match="found none"):
            hits(host)


class DroppedWhileLookedAt:
    """A generation that somebody switches away from and drops just before it is checked."""

    def __init__(self, generation: Generation, read_models: ReadModels) -> None:
        self._generation = generation
        self._read_models = read_models

    def check(self) -> None:
        self._read_models.switch("g2")
        self._read_models.drop("g1")
        self._generation.check()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generation, name)


def test_one_that_is_dropped_while_it_is_looked_at_is_not_lost(tmp_path: Path) -> None:
    log, read_models = MemoryLog(), SqliteReadModels(tmp_path / "hits")
    three(read_models, log)
    read_models.switch("g1")
    listed = {info.name: info for info in read_models.generations()}
    readable = Readable(Hits(), read_models)
    with closing(read_models.open("g1")) as generation:
        looked_at: Any = DroppedWhileLookedAt(generation, read_models)
        assert not readable.lost(listed["g1"], looked_at)
    assert readable.problems == {}
    assert readable.open(listed["g1"]) is None
    assert readable.problems == {}


# ── opening ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_opening_makes_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "hits"
    read_models = SqliteReadModels(folder)
    name = read_models.create(1, BOOKKEEPING, "")
    remove(folder, name)
    with pytest.raises(UnreadableGeneration, match="expected the file of generation g1, found none"):
        read_models.open(name)
    assert list(folder.glob("g1*")) == []


def test_an_open_one_makes_no_file_when_it_needs_another_connection(tmp_path: Path) -> None:
    folder = tmp_path / "hits"
    read_models = SqliteReadModels(folder)
    with closing(read_models.open(read_models.create(1, BOOKKEEPING, ""))) as generation:
        remove(folder, "g1")
        with pytest.raises(UnreadableGeneration, match="found none"), generation.snapshot():
            pass
        assert not file_of(folder, "g1").exists()


@everywhere
def test_it_is_said_whatever_is_done_with_it(kept: tuple[ReadModels, Take]) -> None:
    read_models, take = kept
    name = read_models.create(1, BOOKKEEPING, "")
    take(name)
    with pytest.raises(UnreadableGeneration, match="g1"):
        read_models.open(name)


@taken_away
def test_an_open_one_knows_that_it_was_taken_away(kept: tuple[ReadModels, Take]) -> None:
    read_models, take = kept
    with closing(read_models.open(read_models.create(1, BOOKKEEPING, ""))) as generation:
        generation.check()
        take("g1")
        with pytest.raises(UnreadableGeneration, match="g1"):
            generation.check()


def test_a_folder_with_signs_of_an_address_in_its_name_is_no_trouble(tmp_path: Path) -> None:
    read_models = SqliteReadModels(tmp_path / "a ?mode=ro#50%")
    with closing(read_models.open(read_models.create(1, BOOKKEEPING, ""))) as generation, generation.snapshot() as reader:
        assert reader.count(HEADS) == 0
