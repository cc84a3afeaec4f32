"""A live generation that is gone or broken is left by a rebuild, a switch, and dropped then. On both databases."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sidestream.adapters.sqlite_read_model import SqliteReadModels
from sidestream.errors import ReadModelError
from sidestream.ports import ReadModels
from sidestream.rebuilding.building import silent
from sidestream.rebuilding.rebuild import rebuild_at, verify
from sidestream.rebuilding.switching import drop, roll_back, switch
from sidestream.rebuilding.verifying import Watch
from tests.contract.rebuilt import UNWATCHED, HitsNow, Web, built, pages, site_of, states
from tests.contract.taking_away import Take, everywhere, file_of, in_a_file, taken_away


@everywhere
def test_a_rebuild_has_nothing_to_compare_with_and_switches_and_the_broken_one_is_dropped(kept: tuple[ReadModels, Take], web: Web) -> None:
    read_models, take = kept
    broken = built(web, read_models).generation
    take(broken)
    done = built(web, read_models)
    assert (done.live, done.before) == (True, broken)
    assert done.comparison is not None
    assert done.comparison.unreadable
    assert pages(read_models, done.generation) == dict(web.counted)
    drop(site_of(web, read_models), broken)
    assert states(read_models) == {done.generation: "live"}


@everywhere
def test_where_nothing_could_be_compared_nothing_that_was_ever_live_is_dropped(kept: tuple[ReadModels, Take], web: Web) -> None:
    """It may hold what the log has lost."""
    read_models, take = kept
    first, second = built(web, read_models).generation, built(web, read_models).generation
    counted = pages(read_models, first)
    take(second)
    web.log.flush("clicks")
    done = built(web, read_models)
    assert (done.live, done.dropped) == (True, ())
    assert pages(read_models, first) == counted


@taken_away
def test_where_nothing_could_be_compared_what_was_rolled_back_from_stays_too(kept: tuple[ReadModels, Take], web: Web) -> None:
    """It was live, though no `rollback` goes to it any more; and its rows were compared with nothing."""
    read_models, take = kept
    for _ in range(2):
        built(web, read_models)
    roll_back(site_of(web, read_models))
    take("g1")
    assert built(web, read_models).dropped == ()
    assert states(read_models) == {"g1": "ready", "g2": "ready", "g3": "live"}


@everywhere
def test_a_new_version_needs_no_accept_either(kept: tuple[ReadModels, Take], web: Web) -> None:
    read_models, take = kept
    take(built(web, read_models).generation)
    assert built(web, read_models, HitsNow()).live


@everywhere
def test_switching_leaves_a_broken_one_as_well(kept: tuple[ReadModels, Take], web: Web) -> None:
    read_models, take = kept
    first, second = built(web, read_models).generation, built(web, read_models).generation
    take(second)
    web.record("hits", "/later")
    switch(site_of(web, read_models), first)
    assert states(read_models) == {first: "live", second: "ready"}
    assert pages(read_models, first)["/later"] == 1


@in_a_file
def test_the_pointer_moves_to_nothing_that_was_taken_away_while_it_was_compared(kept: tuple[ReadModels, Take], web: Web) -> None:
    read_models, take = kept
    first = built(web, read_models).generation
    taken: list[str] = []

    def rows(done: int, total: int) -> None:
        if done and not taken:
            taken.append("g2")
            take("g2")

    with pytest.raises(ReadModelError):
        rebuild_at(site_of(web, read_models), Watch(silent, rows))
    assert states(read_models) == {first: "live", "g2": "building"}
    done = built(web, read_models)
    assert (done.generation, done.live, done.dropped) == ("g3", True, ("g2",))


@everywhere
def test_verifying_says_that_there_is_nothing_to_verify(kept: tuple[ReadModels, Take], web: Web) -> None:
    read_models, take = kept
    broken = built(web, read_models).generation
    take(broken)
    found = verify(site_of(web, read_models), UNWATCHED)
    assert found is not None
    assert (found.same, bool(found.unreadable)) == (False, True)
    assert states(read_models) == {broken: "live"}


def test_one_that_is_broken_in_the_middle_is_found_by_the_comparison(tmp_path: Path) -> None:
    web, read_models = Web(), SqliteReadModels(tmp_path / "hits")
    web.record("hits", *(f"/{at:05}" for at in range(3000)))
    broken = built(web, read_models).generation
    path = file_of(tmp_path / "hits", broken)
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        root = file.execute("SELECT rootpage FROM sqlite_master WHERE name = 'page'").fetchone()[0]
        size = file.execute("PRAGMA page_size").fetchone()[0]
    with path.open("r+b") as raw:
        raw.seek((root - 1) * size)
        raw.write(b"\xff" * size)
    done = built(web, read_models)
    assert done.live
    assert done.comparison is not None
    assert "broken file" in done.comparison.unreadable


def test_what_another_program_wrote_is_never_left_by_itself(tmp_path: Path) -> None:
    """A newer release may be answering from it: it is a finding, and somebody decides."""
    web, read_models = Web(), SqliteReadModels(tmp_path / "hits")
    web.record("hits", "/a")
    first = built(web, read_models).generation
    with closing(sqlite3.connect(file_of(tmp_path / "hits", first))) as file:
        file.execute("PRAGMA user_version = 99")
    failed = built(web, read_models)
    assert not failed.live
    assert failed.comparison is not None
    assert "found version 99" in failed.comparison.findings[0]
    with pytest.raises(ReadModelError, match="--accept"):
        switch(site_of(web, read_models), failed.generation)
