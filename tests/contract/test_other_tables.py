"""A table that was changed without raising the version: the app says it, applies nothing and loses nothing; no rebuild begins."""

import asyncio
from contextlib import closing
from typing import Any

import msgspec
import pytest

from sidestream.adapters.memory_log import MemoryLog
from sidestream.applying.applied import PARKED_EVENTS
from sidestream.errors import OtherTables, StoreAway
from sidestream.event import Envelope
from sidestream.ports import ReadModels
from sidestream.projection import Projection, Rows, Table
from sidestream.rebuilding.building import Site, silent
from sidestream.rebuilding.log_until import after_positions
from sidestream.rebuilding.rebuild import build_scratch, rebuild, verify
from sidestream.rebuilding.switching import switch
from sidestream.rebuilding.verifying import Watch
from tests.contract.kept_open import kept_open
from tests.contract.test_hosting import REGISTRY, Hit, Hits, HitsOfNextVersion, hits, host_of, now, wires
from tests.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # a sqlite3 connection of a thread pool's thread is closed with it


class WiderPage(msgspec.Struct, frozen=True):
    page: str
    hits: int
    last: str


class TextualPage(msgspec.Struct, frozen=True):
    page: str
    hits: str


class BarePage(msgspec.Struct, frozen=True):
    page: str


def changed(row: type[Any], key: tuple[str, ...] = ("page",), name: str = "page") -> Projection:
    """The same rule by name and version, over another table."""
    table = Table(row, key=key, name=name)

    class Changed(Hits):
        tables = (table,)

        def keys(self, event: Hit, envelope: Envelope) -> list[tuple[Table[Any], tuple[Any, ...]]]:
            raise AssertionError("nothing may be applied")

        def evolve(self, rows: Rows, event: Hit, envelope: Envelope) -> None:
            raise AssertionError("nothing may be applied")

    return Changed()


OTHERS = [
    (changed(WiderPage), "the generation has no column last in table page"),
    (changed(BarePage), "the code has no column hits in table page"),
    (changed(TextualPage), "column hits of table page is integer there and text in the code"),
    (changed(WiderPage, name="pages"), "the code has no table page; the generation has no table pages"),
]


def built(read_models: ReadModels) -> MemoryLog:
    """Three events, all of them in g1, which is live."""
    log = MemoryLog()
    log.record("hits", wires(1, 3))
    rebuild(Hits(), REGISTRY, log, read_models, now)
    return log


def site_of(projection: Projection, log: MemoryLog, read_models: ReadModels) -> Site:
    return Site(projection, REGISTRY, log, read_models, now)


@pytest.mark.parametrize(("projection", "said"), OTHERS)
async def test_the_app_says_what_differs_and_what_to_do_and_applies_nothing(
    read_models: ReadModels, projection: Projection, said: str
) -> None:
    read_models = kept_open(read_models)  # for the second run
    log = built(read_models)
    log.record("hits", wires(4, 2))
    async with host_of(log, read_models, sweep_seconds=0.02, projection=projection) as host:
        assert said in host.not_ready()
        assert host.not_ready().endswith("Raise the version of hits in its code, then run: sidestream projections rebuild hits")
        with pytest.raises(StoreAway, match="both of version 1"):
            hits(host)
        assert host.totals() == {}  # nothing is followed
    with closing(read_models.open("g1")) as generation, generation.snapshot() as reader:
        assert reader.count(PARKED_EVENTS) == 0
    async with host_of(log, read_models, sweep_seconds=0.02) as host:  # the change was taken back
        await until(lambda: hits(host) == 5 and host.not_ready() == "")


def test_nothing_is_built_from_it(read_models: ReadModels) -> None:
    log = built(read_models)
    site = site_of(changed(WiderPage), log, read_models)
    for build in (
        lambda: rebuild(changed(WiderPage), REGISTRY, log, read_models, now, accept=True),
        lambda: verify(site, Watch(silent, silent)),
        lambda: build_scratch(site, after_positions(log, {"hits": "2"}), silent),
    ):
        with pytest.raises(OtherTables, match="hits: generation g1: .*Raise the version of hits"):
            build()
    assert [(info.name, info.live) for info in read_models.generations()] == [("g1", True)]


def test_no_generation_of_other_tables_is_switched_to(read_models: ReadModels) -> None:
    log = built(read_models)
    rebuild(HitsOfNextVersion(), REGISTRY, log, read_models, now)
    with pytest.raises(OtherTables, match="hits: generation g1: "):
        switch(site_of(changed(WiderPage), log, read_models), "g1", accept=True)
    assert [(info.name, info.live) for info in read_models.generations()] == [("g1", False), ("g2", True)]


async def test_a_raised_version_is_rebuilt_and_served(read_models: ReadModels) -> None:
    log = built(read_models)
    rebuilt = await asyncio.to_thread(rebuild, HitsOfNextVersion(), REGISTRY, log, read_models, now)
    assert rebuilt.live
    async with host_of(log, read_models, sweep_seconds=0.02, projection=HitsOfNextVersion()) as host:
        await until(lambda: hits(host) == 3 and host.not_ready() == "")
