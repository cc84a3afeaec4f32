"""The pointer moves on and back, and what an app makes of it. On every read model adapter."""

import asyncio

import pytest

from sidestream.errors import ReadModelError, UnknownGeneration
from sidestream.hosting.host import ProjectionHost
from sidestream.ports import ReadModels
from sidestream.projection import Projection
from sidestream.rebuilding.switching import drop, previous, roll_back, switch
from tests.contract.rebuilt import PAGES, REGISTRY, Hits, HitsNow, SameInNextVersion, Web, built, now, pages, site_of
from tests.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # a sqlite3 connection of a thread pool's thread is closed with it


def test_rolling_back_goes_to_the_one_before_and_not_round_in_circles(web: Web, read_models: ReadModels) -> None:
    first, second = built(web, read_models), built(web, read_models)
    site = site_of(web, read_models)
    assert roll_back(site).live == first.generation
    assert previous(site) is None
    with pytest.raises(ReadModelError, match="found none"):
        roll_back(site)
    assert switch(site, second.generation).live == second.generation
    assert roll_back(site).live == first.generation


def test_a_generation_that_was_left_behind_catches_up_before_it_is_live_again(web: Web, read_models: ReadModels) -> None:
    first = built(web, read_models)
    built(web, read_models)
    web.record("hits", "/new")
    roll_back(site_of(web, read_models))
    assert pages(read_models, first.generation)["/new"] == 1


def test_a_version_whose_code_is_gone_is_rolled_back_to_only_as_it_stands(read_models: ReadModels) -> None:
    web = Web(clock_ms=lambda: 1_763_683_200_000)
    web.record("hits", "/a")
    first = built(web, read_models)
    built(web, read_models, SameInNextVersion())
    site = site_of(web, read_models, SameInNextVersion())
    with pytest.raises(ReadModelError, match="Deploy version 1 .* --stale"):
        roll_back(site)
    web.record("hits", "/a")
    moved = roll_back(site, stale=True)
    assert (moved.live, moved.stale_since) == (first.generation, "2025-11-21T00:00:00.000Z")
    assert pages(read_models, first.generation) == {"/a": 1}
    assert read_models.generations()[0].stale_since == moved.stale_since
    switch(site, moved.before)
    assert not any(info.stale_since for info in read_models.generations() if info.live)


def test_what_the_present_code_cannot_read_is_not_served_at_all(web: Web, read_models: ReadModels) -> None:
    built(web, read_models)
    built(web, read_models, HitsNow(), accept=True)
    with pytest.raises(ReadModelError, match=r"lacks page.doubled, day.day"):
        roll_back(site_of(web, read_models, HitsNow()), stale=True)


def test_what_is_live_is_neither_dropped_nor_switched_to(web: Web, read_models: ReadModels) -> None:
    name = built(web, read_models).generation
    site = site_of(web, read_models)
    with pytest.raises(ReadModelError, match="live"):
        drop(site, name)
    with pytest.raises(ReadModelError, match="live already"):
        switch(site, name)
    with pytest.raises(UnknownGeneration, match="g99"):
        switch(site, "g99")


# ── what an app makes of it ──────────────────────────────────────────────────────────────────────────────────────────


def host_of(web: Web, read_models: ReadModels, projection: Projection) -> ProjectionHost:
    return ProjectionHost(projection, REGISTRY, web.log, read_models, now=now, sweep_seconds=0.02)


def seen_by(host: ProjectionHost) -> tuple[str, str, int]:
    with host.reading() as view:
        return view.generation, view.stale_since, view.reader.count(PAGES)


async def test_an_older_program_goes_on_with_its_own_generation_until_it_is_replaced(web: Web, read_models: ReadModels) -> None:
    async with host_of(web, read_models, Hits()) as host:
        await until(lambda: seen_by(host) == ("g1", "", 50))
        done = await asyncio.to_thread(built, web, read_models, SameInNextVersion())
        assert done.live
        web.record("hits", "/new")
        await until(lambda: seen_by(host) == ("g1", "", 51))
        assert host.not_serving() == ""


async def test_a_stale_generation_is_served_as_it_stands_and_says_so(read_models: ReadModels) -> None:
    web = Web(clock_ms=lambda: 1_763_683_200_000)
    web.record("hits", "/a")
    await asyncio.to_thread(built, web, read_models)
    await asyncio.to_thread(built, web, read_models, SameInNextVersion())
    site = site_of(web, read_models, SameInNextVersion())
    async with host_of(web, read_models, SameInNextVersion()) as host:
        await until(lambda: seen_by(host) == ("g2", "", 1))
        web.record("hits", "/b")
        await until(lambda: seen_by(host) == ("g2", "", 2))
        await asyncio.to_thread(roll_back, site, stale=True)
        await until(lambda: seen_by(host) == ("g1", "2025-11-21T00:00:00.000Z", 1))
        assert (host.not_serving(), host.not_ready()) == ("", "")
        await asyncio.to_thread(switch, site, "g2")
        await until(lambda: seen_by(host) == ("g2", "", 2))
