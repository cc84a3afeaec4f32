"""The next generation beside the live one: verified at one place in the log while events come in, and switched to.

On every read model adapter. What is expected is worked out from what was recorded, not from another run of the rule.
"""

import asyncio
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from sidestream.errors import ReadModelError, UnknownGeneration
from sidestream.ports import ReadModels
from sidestream.rebuilding.building import silent
from sidestream.rebuilding.log_until import after_positions, after_time
from sidestream.rebuilding.rebuild import build_scratch, rebuild_at, verify
from sidestream.rebuilding.switching import switch
from sidestream.rebuilding.verifying import Watch, diff
from tests.contract.rebuilt import UNWATCHED, App, Impure, Web, built, pages, site_of, states

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # a sqlite3 connection of a thread pool's thread is closed with it


def test_the_first_rebuild_has_nothing_to_be_held_against(web: Web, read_models: ReadModels) -> None:
    done = built(web, read_models)
    assert (done.live, done.before, done.comparison) == (True, "", None)
    assert pages(read_models, done.generation) == web.counted


def test_under_live_traffic_the_new_generation_is_verified_and_goes_live(web: Web, read_models: ReadModels) -> None:
    first = built(web, read_models)
    with App(web, read_models, first.generation), web.traffic():
        done = built(web, read_models)
        assert done.live
        assert done.comparison is not None
        assert done.comparison.same
        assert done.comparison.rows >= 50
    last = site_of(web, read_models)
    with closing(read_models.open(done.generation)) as generation:
        last.fill(generation)
    assert pages(read_models, done.generation) == web.counted


def test_it_is_verified_where_the_live_one_stands_though_the_log_goes_on(web: Web, read_models: ReadModels) -> None:
    """The app is down: the live generation is behind the log."""
    built(web, read_models)
    web.record("hits", "/new", "/new")
    done = built(web, read_models)
    assert done.comparison is not None
    assert done.comparison.same
    assert done.outcome.applied == 1800
    assert pages(read_models, done.generation)["/new"] == 2


def test_a_topic_of_which_the_live_one_has_nothing_is_not_read_before_it_is_verified(read_models: ReadModels) -> None:
    web = Web()
    web.record("hits", "/a")
    built(web, read_models)
    web.record("clicks", "/a", "/b")
    done = built(web, read_models)
    assert (done.live, done.outcome.applied) == (True, 1)
    assert pages(read_models, done.generation) == {"/a": 2, "/b": 1}


def test_the_pointer_moves_only_when_the_new_one_has_reached_the_old(web: Web, read_models: ReadModels) -> None:
    first = built(web, read_models)
    site = site_of(web, read_models)
    moves: list[bool] = []
    move = read_models.switch

    def watched(name: str, stale_since: str = "") -> None:
        with closing(read_models.open(first.generation)) as old, closing(read_models.open(name)) as new:
            moves.append(site.is_beyond(site.vector_of(old), site.vector_of(new)))
        move(name, stale_since)

    site.read_models = _Watching(read_models, watched)  # type: ignore[assignment]  # it has every method by delegation
    with App(web, read_models, first.generation), web.traffic():
        rebuild_at(site, UNWATCHED)
    assert moves == [False]


class _Watching:
    def __init__(self, read_models: ReadModels, switch: Callable[[str, str], None]) -> None:
        self._read_models = read_models
        self.switch = switch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._read_models, name)


def test_the_one_before_stays_and_older_ones_are_dropped(web: Web, read_models: ReadModels) -> None:
    first, second, third = (built(web, read_models) for _ in range(3))
    assert states(read_models) == {second.generation: "ready", third.generation: "live"}
    assert third.dropped == (first.generation,)


def test_what_building_took_is_noted(web: Web, read_models: ReadModels) -> None:
    built(web, read_models)
    (info,) = read_models.generations()
    assert info.built_events == 1800
    assert info.built_seconds > 0


# ── beside the pointer ───────────────────────────────────────────────────────────────────────────────────────────────


def test_verifying_on_demand_leaves_nothing_behind(web: Web, read_models: ReadModels) -> None:
    assert verify(site_of(web, read_models), UNWATCHED) is None
    web.record("hits", "/odd")
    first = built(web, read_models, Impure(by=1))
    same = verify(site_of(web, read_models, Impure(by=1)), UNWATCHED)
    other = verify(site_of(web, read_models, Impure(by=2)), UNWATCHED)
    assert same is not None
    assert other is not None
    assert (same.same, other.differing) == (True, 1)
    assert states(read_models) == {first.generation: "live"}


def test_a_scratch_generation_is_as_of_then_and_never_live(web: Web, read_models: ReadModels) -> None:
    live = built(web, read_models).generation
    then = after_positions(web.log, {"hits": "10", "clicks": None})
    made = build_scratch(site_of(web, read_models), then, silent)
    assert made.applied == {"hits": "10", "clicks": "start"}
    assert pages(read_models, made.generation) == {f"/{at}": 1 for at in range(10)}
    assert states(read_models) == {live: "live", made.generation: "scratch"}
    with pytest.raises(ReadModelError, match="made by --until"):
        switch(site_of(web, read_models), made.generation)
    assert made.generation not in built(web, read_models).dropped


def test_a_moment_cuts_the_log_where_it_was(read_models: ReadModels) -> None:
    times = iter(range(1000, 100_000, 1000))
    web = Web(clock_ms=lambda: next(times))
    for page in ("/a", "/b", "/c"):
        web.record("hits", page, page)
    made = build_scratch(site_of(web, read_models), after_time(2500), silent)
    assert pages(read_models, made.generation) == {"/a": 2, "/b": 2}


def test_a_moment_that_is_to_come_is_now_whatever_the_traffic(web: Web, read_models: ReadModels) -> None:
    """An event comes with every step."""
    last, told = web.log.extent("hits").last, 0

    def progress(done: int, total: int) -> None:
        nonlocal told
        told += 1
        assert told < 1000, "it never ends"
        web.record("hits", "/meanwhile")

    made = build_scratch(site_of(web, read_models), after_time(10**15), progress)
    assert made.applied["hits"] == last
    assert "/meanwhile" not in pages(read_models, made.generation)


def test_any_two_generations_can_be_compared(web: Web, read_models: ReadModels) -> None:
    live = built(web, read_models).generation
    scratch = build_scratch(site_of(web, read_models), after_positions(web.log, {"hits": "1499"}), silent).generation
    found = diff(site_of(web, read_models), scratch, live, silent)
    assert (found.differing, found.shown[0].key) == (1, {"page": "/49"})
    assert any("not the same place in the log" in finding for finding in found.findings)
    assert diff(site_of(web, read_models), live, live, silent).same
    with pytest.raises(UnknownGeneration, match="g99"):
        diff(site_of(web, read_models), live, "g99", silent)


async def test_a_rebuild_tells_how_far_it_is_in_events_and_in_rows(web: Web, read_models: ReadModels) -> None:
    events: list[tuple[int, int]] = []
    rows: list[tuple[int, int]] = []
    await asyncio.to_thread(built, web, read_models)
    watch = Watch(lambda done, total: events.append((done, total)), lambda done, total: rows.append((done, total)))
    await asyncio.to_thread(rebuild_at, site_of(web, read_models), watch)
    assert events[-1] == (1800, 1800)
    assert rows[-1] == (50, 50)
