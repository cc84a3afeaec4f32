"""Which generations a rebuild leaves: what a program of an older version answers from, until somebody drops it.

Rebuild first, deploy after: between the two the old program runs, and nobody knows for how many rebuilds. On every read
model adapter.
"""

import asyncio
from contextlib import AsyncExitStack

import pytest

from sidestream.errors import ReadModelError, StoreAway
from sidestream.hosting.host import ProjectionHost
from sidestream.ports import ReadModels
from sidestream.projection import Projection
from sidestream.rebuilding.keeping import kept_for_programs, why_kept
from sidestream.rebuilding.rebuild import Rebuilt
from sidestream.rebuilding.switching import drop, roll_back
from tests.contract.kept_open import kept_open
from tests.contract.rebuilt import REGISTRY, Hits, HitsNow, SameInNextVersion, Web, built, now, site_of, states
from tests.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # a sqlite3 connection of a thread pool's thread is closed with it


class SameInThirdVersion(Hits):
    version = 3


def host_of(web: Web, read_models: ReadModels, projection: Projection) -> ProjectionHost:
    return ProjectionHost(projection, REGISTRY, web.log, kept_open(read_models), now=now, sweep_seconds=0.02)


async def rebuilt(web: Web, read_models: ReadModels, projection: Projection) -> Rebuilt:
    return await asyncio.to_thread(built, web, read_models, projection, accept=True)


def seen_by(host: ProjectionHost) -> tuple[str, str, str]:
    with host.reading() as view:
        return view.generation, view.applied.get("hits", ""), host.not_ready()


async def answers(host: ProjectionHost, generation: str, web: Web) -> None:
    """Wait until what is recorded now is answered from this generation, by a program that is ready."""
    web.record("hits", "/new")
    last = web.log.extent("hits").last
    await until(lambda: seen_by(host) == (generation, last, ""), seconds=60)


async def test_a_program_answers_on_though_the_next_version_is_rebuilt_twice_before_it_is_deployed(
    web: Web, read_models: ReadModels
) -> None:
    async with host_of(web, read_models, Hits()) as old:
        await answers(old, "g1", web)
        for _ in range(2):
            await rebuilt(web, read_models, HitsNow())
        assert states(read_models) == {"g1": "ready", "g2": "ready", "g3": "live"}
        await answers(old, "g1", web)


async def test_every_version_that_may_run_answers_though_a_third_one_is_rebuilt(web: Web, read_models: ReadModels) -> None:
    async with AsyncExitStack() as running:
        old = await running.enter_async_context(host_of(web, read_models, Hits()))
        await answers(old, "g1", web)
        await rebuilt(web, read_models, SameInNextVersion())
        middle = await running.enter_async_context(host_of(web, read_models, SameInNextVersion()))
        for _ in range(2):
            await rebuilt(web, read_models, SameInThirdVersion())
        assert states(read_models) == {"g1": "ready", "g2": "ready", "g3": "ready", "g4": "live"}
        new = await running.enter_async_context(host_of(web, read_models, SameInThirdVersion()))
        for host, generation in ((old, "g1"), (middle, "g2"), (new, "g4")):
            await answers(host, generation, web)


def test_of_each_version_one_is_kept_and_of_the_live_one_the_way_back(web: Web, read_models: ReadModels) -> None:
    for projection in (Hits(), SameInNextVersion(), SameInThirdVersion()):
        for _ in range(3):
            done = built(web, read_models, projection)
    assert states(read_models) == {"g3": "ready", "g6": "ready", "g8": "ready", "g9": "live"}
    assert done.kept == {"g3": 1, "g6": 2}
    assert kept_for_programs(read_models.generations()) == done.kept


def test_what_is_kept_is_said_with_the_verb_that_ends_it_and_that_verb_ends_it(web: Web, read_models: ReadModels) -> None:
    built(web, read_models)
    built(web, read_models, SameInNextVersion())
    assert why_kept("hits", "g1", 1).endswith("sidestream projections drop hits g1")
    drop(site_of(web, read_models, SameInNextVersion()), "g1")
    assert kept_for_programs(read_models.generations()) == {}
    assert built(web, read_models, SameInNextVersion()).kept == {}
    assert states(read_models) == {"g2": "ready", "g3": "live"}


def test_of_one_version_nothing_is_kept_but_the_way_back(web: Web, read_models: ReadModels) -> None:
    for _ in range(3):
        done = built(web, read_models)
    assert (done.kept, done.dropped) == ({}, ("g1",))


def test_what_a_program_was_rolled_back_from_is_kept_for_nobody(web: Web, read_models: ReadModels) -> None:
    built(web, read_models)
    built(web, read_models, SameInNextVersion())
    roll_back(site_of(web, read_models))
    assert kept_for_programs(read_models.generations()) == {}


# ── what a program is told that has none ─────────────────────────────────────────────────────────────────────────────


async def test_a_program_older_than_what_is_live_is_told_to_be_deployed_and_not_to_rebuild(web: Web, read_models: ReadModels) -> None:
    built(web, read_models, SameInThirdVersion())
    async with host_of(web, read_models, Hits()) as host:
        said = host.not_ready()
        assert "g1 was built by version 3, this program is version 1" in said
        assert said.endswith("Deploy version 3.")
        with pytest.raises(StoreAway, match=r"Deploy version 3\.$"), host.reading():
            pass


async def test_a_program_newer_than_what_is_live_is_told_to_rebuild(web: Web, read_models: ReadModels) -> None:
    built(web, read_models)
    async with host_of(web, read_models, SameInThirdVersion()) as host:
        assert host.not_ready().endswith("Run: sidestream projections rebuild hits")


async def test_when_its_generation_is_dropped_an_older_program_says_what_to_deploy(web: Web, read_models: ReadModels) -> None:
    async with host_of(web, read_models, Hits()) as host:
        await answers(host, "g1", web)
        await rebuilt(web, read_models, SameInNextVersion())
        await asyncio.to_thread(drop, site_of(web, read_models, SameInNextVersion()), "g1")
        await until(lambda: host.not_ready().endswith("Deploy version 2."), seconds=60)


def test_older_code_takes_nobody_back_unless_that_is_accepted(web: Web, read_models: ReadModels) -> None:
    web.record("hits", "/a")
    built(web, read_models, SameInNextVersion())
    before = states(read_models)
    with pytest.raises(ReadModelError, match=r"the code is of version 1, and g1 of version 2 is live: .* or say --accept\."):
        built(web, read_models, Hits())
    assert states(read_models) == before
    assert built(web, read_models, Hits(), accept=True).live
