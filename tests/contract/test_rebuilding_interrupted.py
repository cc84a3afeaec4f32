"""Rebuilds that die, meet each other or find a trimmed log: nothing half-built serves. On every read model adapter."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from sidestream.adapters.memory_log import MemoryLog
from sidestream.adapters.sqlite_read_model import SqliteReadModels
from sidestream.applying.applied import BOOKKEEPING
from sidestream.errors import HistoryTrimmed, LogUnavailable, ReadModelError, StoreAway
from sidestream.ports import Generation, LogEntry, ReadModels
from sidestream.rebuilding.building import Site, silent
from sidestream.rebuilding.log_until import after_positions, after_time
from sidestream.rebuilding.rebuild import build_scratch, rebuild_at, verify
from sidestream.rebuilding.switching import drop, roll_back, switch
from tests.contract.rebuilt import PAGES, UNWATCHED, Impure, SameInNextVersion, Web, built, now, pages, site_of, states


def test_the_second_is_refused_with_the_name_of_the_first(web: Web, read_models: ReadModels) -> None:
    built(web, read_models)
    with read_models.exclusively("host a, process 7, since noon"):
        for verb in (built, lambda *_: roll_back(site_of(web, read_models)), lambda *_: drop(site_of(web, read_models), "g1")):
            with pytest.raises(ReadModelError, match="host a, process 7, since noon"):
                verb(web, read_models)
    assert not built(web, read_models).resumed


class Dying(MemoryLog):
    """Stops answering after so many reads."""

    reads = 1_000_000

    def read(self, topic: str, start: str | None, limit: int) -> list[LogEntry]:
        self.reads -= 1
        if self.reads < 0:
            raise LogUnavailable("gone")
        return list(super().read(topic, start, min(limit, 200)))


def dying() -> Web:
    web = Web()
    web.log = Dying()
    web.record("hits", *(f"/{at % 50}" for at in range(3000)))
    return web


def test_a_rebuild_that_died_never_serves_and_the_next_one_is_whole(read_models: ReadModels) -> None:
    web = dying()
    assert isinstance(web.log, Dying)
    first = built(web, read_models)
    web.log.reads = 12
    with pytest.raises(LogUnavailable):
        built(web, read_models)
    assert states(read_models) == {first.generation: "live", "g2": "building"}
    web.log.reads = 1_000_000
    done = built(web, read_models)
    assert (done.generation, done.live) == ("g2", True)
    assert pages(read_models, done.generation) == web.counted


def test_what_one_that_died_had_written_is_gone_on_with(web: Web, read_models: ReadModels) -> None:
    built(web, read_models)
    left = read_models.create(1, (*BOOKKEEPING, PAGES), now())
    with closing(read_models.open(left)) as generation:
        site_of(web, read_models).fill(generation, after_positions(web.log, {"hits": "1000", "clicks": "100"}))
    done = built(web, read_models)
    assert (done.generation, done.resumed, done.live, done.outcome.applied) == (left, True, True, 700)
    assert pages(read_models, done.generation) == web.counted


def test_what_another_version_left_is_not_gone_on_with(read_models: ReadModels) -> None:
    web = dying()
    assert isinstance(web.log, Dying)
    web.log.reads = 10
    with pytest.raises(LogUnavailable):
        built(web, read_models)
    web.log.reads = 1_000_000
    done = built(web, read_models, SameInNextVersion())
    assert (done.resumed, done.dropped) == (False, ("g1",))


def test_what_is_beyond_the_live_one_is_not_gone_on_with(web: Web, read_models: ReadModels) -> None:
    built(web, read_models)
    web.record("hits", "/new")
    beyond = read_models.create(1, (*BOOKKEEPING, PAGES), now())
    with closing(read_models.open(beyond)) as generation:
        site_of(web, read_models).fill(generation)
    done = built(web, read_models)
    assert (done.resumed, done.dropped, done.live) == (False, (beyond,), True)


def test_a_trimmed_log_is_refused_before_anything_is_made(web: Web, read_models: ReadModels) -> None:
    web.log.trim("hits", "5")
    with pytest.raises(HistoryTrimmed, match="trimmed up to 5"):
        built(web, read_models)
    assert not read_models.generations()


# ── at the switch ────────────────────────────────────────────────────────────────────────────────────────────────────


def interrupted(site: Site, interruption: BaseException) -> Site:
    """A site that is interrupted between the comparison and the move of the pointer."""

    def meet(generation: Generation) -> None:
        raise interruption

    site.meet = meet  # type: ignore[method-assign]  # as a database that goes away or a Ctrl-C would
    return site


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), StoreAway("gone")], ids=["Ctrl-C", "away"])
def test_what_was_held_is_held_still_where_its_switch_was_interrupted(
    web: Web, read_models: ReadModels, interruption: BaseException
) -> None:
    web.record("hits", "/odd")
    built(web, read_models, Impure(by=1))
    assert not built(web, read_models, Impure(by=5)).live
    with pytest.raises(type(interruption)):
        switch(interrupted(site_of(web, read_models, Impure(by=5)), interruption), "g2", accept=True)
    assert states(read_models) == {"g1": "live", "g2": "held"}
    with pytest.raises(ReadModelError, match="--accept"):
        switch(site_of(web, read_models, Impure(by=5)), "g2")


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), StoreAway("gone")], ids=["Ctrl-C", "away"])
def test_a_rebuild_that_was_interrupted_at_its_switch_is_gone_on_with(
    web: Web, read_models: ReadModels, interruption: BaseException
) -> None:
    built(web, read_models)
    with pytest.raises(type(interruption)):
        rebuild_at(interrupted(site_of(web, read_models), interruption), UNWATCHED)
    assert states(read_models) == {"g1": "live", "g2": "building"}
    done = built(web, read_models)
    assert (done.generation, done.resumed, done.live, done.outcome.applied) == ("g2", True, True, 0)


# ── beside one that is unfinished ────────────────────────────────────────────────────────────────────────────────────


def unfinished(web: Web, read_models: ReadModels) -> str:
    """Leave a generation as a rebuild does that dies after 1,000 hits."""
    site = site_of(web, read_models)
    name = site.create()
    with closing(read_models.open(name)) as generation:
        site.fill(generation, after_positions(web.log, {"hits": "1000", "clicks": "100"}))
    return name


@pytest.mark.parametrize(
    "verb",
    [lambda site: verify(site, UNWATCHED), lambda site: build_scratch(site, after_time(0), silent)],
    ids=["verify", "until"],
)
def test_what_is_unfinished_is_left_for_the_rebuild_that_goes_on_with_it(
    verb: Callable[[Site], object], web: Web, read_models: ReadModels
) -> None:
    built(web, read_models)
    left = unfinished(web, read_models)
    verb(site_of(web, read_models))
    assert states(read_models)[left] == "building"
    done = built(web, read_models)
    assert (done.generation, done.resumed, done.outcome.applied) == (left, True, 700)


def test_what_has_read_strangers_only_is_gone_on_with_and_it_is_said(read_models: ReadModels) -> None:
    web = Web()
    web.log.record("hits", [b'{"specversion":"1.0","id":"1","source":"/x","type":"hit.made","data":{"page":"/plain"}}'])
    site = site_of(web, read_models)
    with closing(read_models.open(site.create())) as generation:
        site.fill(generation)
    done = built(web, read_models)
    assert (done.generation, done.resumed, done.outcome.counted) == ("g1", True, 0)


def test_of_several_that_are_unfinished_the_one_is_gone_on_with_that_has_come_furthest(web: Web, read_models: ReadModels) -> None:
    """A verify was killed after the rebuild."""
    built(web, read_models)
    left, empty = unfinished(web, read_models), site_of(web, read_models).create()
    done = built(web, read_models)
    assert (done.generation, done.resumed) == (left, True)
    assert empty in done.dropped


# ── the right to build ───────────────────────────────────────────────────────────────────────────────────────────────


def a_folder(lock: Path) -> None:
    """Stands for whatever lets no file be made: a disk that is mounted read-only."""
    lock.mkdir()


def a_full_disk(lock: Path) -> None:
    lock.symlink_to("/dev/full")


@pytest.mark.parametrize("disk", [a_folder, a_full_disk])
def test_a_disk_on_which_nobody_can_say_that_he_is_building_is_said_in_a_sentence(disk: Callable[[Path], None], tmp_path: Path) -> None:
    web, read_models = Web(), SqliteReadModels(tmp_path / "hits")
    disk(tmp_path / "hits" / "rebuild.lock")
    with pytest.raises(StoreAway, match=r"rebuild\.lock: .*nothing was changed"):
        built(web, read_models)
    assert states(read_models) == {}
