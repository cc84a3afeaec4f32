"""A generation that differs from the live one: what is found, what is shown, and who may accept it. On every adapter."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sidestream.adapters.sqlite_read_model import SqliteReadModels
from sidestream.errors import ReadModelError
from sidestream.event import Envelope
from sidestream.ports import ReadModels
from sidestream.projection import Column, Rows
from sidestream.rebuilding.comparing import read_as
from sidestream.rebuilding.switching import switch
from tests.contract.rebuilt import PAGES, Hits, HitsNow, Impure, Page, Picky, SameInNextVersion, Web, built, pages, site_of, states, wire


def test_a_rule_that_is_not_pure_fails_the_rebuild_and_the_row_is_shown(web: Web, read_models: ReadModels) -> None:
    web.record("hits", "/odd", "/odd")
    first = built(web, read_models, Impure(by=1))
    failed = built(web, read_models, Impure(by=5))
    assert (failed.live, failed.before) == (False, first.generation)
    assert failed.comparison is not None
    assert failed.comparison.differing == 1
    (row,) = failed.comparison.shown
    assert (row.key, row.left, row.right) == ({"page": "/odd"}, {"page": "/odd", "hits": 2}, {"page": "/odd", "hits": 10})
    assert states(read_models) == {first.generation: "live", failed.generation: "held"}


def test_a_generation_of_an_older_release_whose_key_was_declared_as_maybe_empty_is_read_all_the_same() -> None:
    columns = [Column("page", "text", nullable=True), Column("note", "text", nullable=True), Column("hits", "integer")]
    assert read_as("page", ("page",), columns).columns == (Column("page", "text"), *columns[1:])


def test_accepting_is_for_a_new_version_only(web: Web, read_models: ReadModels) -> None:
    web.record("hits", "/odd")
    built(web, read_models, Impure(by=1))
    assert not built(web, read_models, Impure(by=5), accept=True).live


def test_what_differs_is_dropped_when_nobody_wants_to_look_at_it(web: Web, read_models: ReadModels) -> None:
    web.record("hits", "/odd")
    first = built(web, read_models, Impure(by=1))
    failed = built(web, read_models, Impure(by=5), keep=False)
    assert failed.dropped == (failed.generation,)
    assert states(read_models) == {first.generation: "live"}


def test_a_held_generation_is_switched_to_deliberately_only(web: Web, read_models: ReadModels) -> None:
    web.record("hits", "/odd")
    built(web, read_models, Impure(by=1))
    held = built(web, read_models, Impure(by=5)).generation
    site = site_of(web, read_models, Impure(by=5))
    with pytest.raises(ReadModelError, match="--accept"):
        switch(site, held)
    web.record("hits", "/odd")
    switch(site, held, accept=True)
    assert pages(read_models, held)["/odd"] == 10


def test_the_next_rebuild_sweeps_a_held_one_away(web: Web, read_models: ReadModels) -> None:
    web.record("hits", "/odd")
    built(web, read_models, Impure(by=1))
    held = built(web, read_models, Impure(by=5)).generation
    assert held in built(web, read_models, Impure(by=1)).dropped


def test_all_differences_are_counted_and_the_first_are_shown(read_models: ReadModels) -> None:
    web = Web()
    web.record("hits", *(f"/{at:04}" for at in range(3000)))
    built(web, read_models)
    failed = built(web, read_models, NothingButGhosts())
    assert failed.comparison is not None
    assert (failed.comparison.rows, failed.comparison.differing, len(failed.comparison.shown)) == (6000, 6000, 20)
    assert failed.comparison.shown[0].right is None


class NothingButGhosts(Hits):
    def evolve(self, rows: Rows, event: Any, envelope: Envelope) -> None:
        rows.put(PAGES, Page(f"{event.page} ghost", 1))


def test_keys_with_nul_are_compared_in_any_order(read_models: ReadModels) -> None:
    web = Web()
    web.record("hits", "/a\x00", "/a\x00b", "/ab", "/a", "/\ufdd0", "/é", "/\ufdd0z")
    built(web, read_models)
    failed = built(web, read_models, WithoutAb())
    assert failed.comparison is not None
    assert (failed.comparison.differing, failed.comparison.shown[0].key) == (1, {"page": "/ab"})


class WithoutAb(Hits):
    def evolve(self, rows: Rows, event: Any, envelope: Envelope) -> None:
        if event.page != "/ab":
            super().evolve(rows, event, envelope)


def test_events_that_the_log_has_lost_are_a_finding_of_their_own(web: Web, read_models: ReadModels) -> None:
    built(web, read_models)
    lose(web, 7, 8)
    failed = built(web, read_models)
    assert not failed.live
    assert failed.comparison is not None
    assert any("counted 2 numbers that g2 lacks: 7-8" in finding for finding in failed.comparison.findings)


def test_an_event_that_is_parked_on_one_side_only_is_a_finding(web: Web, read_models: ReadModels) -> None:
    web.record("hits", "/bad")
    built(web, read_models, Picky())
    failed = built(web, read_models)
    assert failed.comparison is not None
    assert any("event hits-1501" in finding and "parked in g1" in finding for finding in failed.comparison.findings)


def test_parked_on_both_sides_is_the_same(web: Web, read_models: ReadModels) -> None:
    web.record("hits", "/bad")
    built(web, read_models, Picky())
    assert built(web, read_models, Picky()).live


# ── a new version ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_version_that_differs_is_reported_and_waits_for_a_yes(web: Web, read_models: ReadModels) -> None:
    first = built(web, read_models)
    report = built(web, read_models, HitsNow())
    assert not report.live
    assert report.comparison is not None
    assert report.comparison.differing == len(web.counted)
    assert report.comparison.not_compared == ["table day: only in g2", "table page: column doubled is not the same on both sides"]
    assert states(read_models)[first.generation] == "live"
    assert built(web, read_models, HitsNow(), accept=True).live


def test_a_new_version_that_makes_the_same_of_it_needs_no_yes(web: Web, read_models: ReadModels) -> None:
    built(web, read_models)
    assert built(web, read_models, SameInNextVersion()).live


class OnlyHitsNow(HitsNow):
    """The next version follows one topic less."""

    topics = ("hits",)


def lose(web: Web, *numbers: int) -> None:
    """Let the log forget some clicks: what is left is recorded anew."""
    web.log.flush("clicks")
    web.log.record("clicks", [wire("clicks", number, f"/{(number - 1) % 7}") for number in range(1, 301) if number not in numbers])


@pytest.mark.parametrize("rule", [HitsNow, SameInNextVersion])
def test_accepting_a_new_version_never_covers_events_that_the_log_has_lost(web: Web, read_models: ReadModels, rule: type[Hits]) -> None:
    first = built(web, read_models)
    lose(web, 7, 8, 300)
    held = built(web, read_models, rule(), accept=True)
    assert (held.live, held.dropped) == (False, ())
    assert held.comparison is not None
    assert held.comparison.lost == 3
    assert states(read_models) == {first.generation: "live", held.generation: "held"}
    again = built(web, read_models, rule(), accept=True)
    assert (again.live, states(read_models)[first.generation]) == (False, "live")


def test_what_lacks_events_is_taken_by_an_act_of_its_own(web: Web, read_models: ReadModels) -> None:
    built(web, read_models)
    lose(web, 7)
    web.record("clicks", "/after")
    held = built(web, read_models, HitsNow(), accept=True).generation
    site = site_of(web, read_models, HitsNow())
    with pytest.raises(ReadModelError, match="--accept"):
        switch(site, held)
    assert switch(site, held, accept=True).live == held


def test_when_the_log_is_restored_the_new_version_is_accepted(web: Web, read_models: ReadModels) -> None:
    built(web, read_models)
    lose(web, 7)
    assert not built(web, read_models, HitsNow(), accept=True).live
    lose(web)
    done = built(web, read_models, HitsNow(), accept=True)
    assert done.live
    assert done.comparison is not None
    assert done.comparison.lost == 0


def test_what_the_log_has_again_and_the_live_one_never_counted_is_not_lost(web: Web, read_models: ReadModels) -> None:
    web.log.flush("clicks")
    web.log.record("clicks", [wire("clicks", 6 if number == 7 else number, f"/{(number - 1) % 7}") for number in range(1, 301)])
    built(web, read_models)
    lose(web)
    done = built(web, read_models, HitsNow(), accept=True)
    assert done.live
    assert done.comparison is not None
    assert done.comparison.lost == 0
    assert any("g2 counted 1 numbers that g1 lacks: 7-7" in finding for finding in done.comparison.findings)


def test_a_stranger_that_the_log_has_lost_is_not_accepted_either(web: Web, read_models: ReadModels) -> None:
    plain = b'{"specversion":"1.0","id":"%d","source":"/x","type":"hit.made","data":{"page":"/plain"}}'
    web.log.record("hits", [plain % 1, plain % 2])
    built(web, read_models)
    web.log.flush("hits")
    web.log.record("hits", [*(wire("hits", number, f"/{(number - 1) % 50}") for number in range(1, 1501)), plain % 2])
    held = built(web, read_models, HitsNow(), accept=True)
    assert held.comparison is not None
    assert (held.live, held.comparison.lost) == (False, 1)


def test_what_came_meanwhile_and_a_topic_that_is_given_up_are_not_lost(web: Web, read_models: ReadModels) -> None:
    built(web, read_models)
    web.record("hits", "/new")
    done = built(web, read_models, OnlyHitsNow(), accept=True)
    assert done.live
    assert done.comparison is not None
    assert done.comparison.lost == 0
    assert any("counted 300 numbers that g2 lacks" in finding for finding in done.comparison.findings)


def test_accepting_does_not_cover_what_could_not_be_compared(tmp_path: Path) -> None:
    """Another release wrote it: nobody knows what it counted."""
    web, read_models = Web(), SqliteReadModels(tmp_path / "hits")
    web.record("hits", "/a")
    first = built(web, read_models).generation
    with closing(sqlite3.connect(tmp_path / "hits" / f"{first}.sqlite")) as file:
        file.execute("PRAGMA user_version = 99")
    held = built(web, read_models, HitsNow(), accept=True)
    assert (held.live, states(read_models)) == (False, {first: "live", held.generation: "held"})
