"""Decisions that an unfinished generation, or one that is being built, has done without: never live, and never "the same".

On every read model adapter. `/bad` fails in the rule of version 1 and is applied by that of version 2.
"""

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from sidestream.applying.corrections import BESIDE, Corrections, with_data
from sidestream.applying.dead_letters import Letter, letters_about
from sidestream.errors import ReadModelError
from sidestream.event import Envelope
from sidestream.ports import ReadModels
from sidestream.projection import Rows
from sidestream.rebuilding.building import silent
from sidestream.rebuilding.rebuild import Rebuilt, rebuild_at
from sidestream.rebuilding.switching import switch
from sidestream.rebuilding.verifying import Watch
from tests.contract.rebuilt import Hits, SameInNextVersion, Web, built, now, pages, site_of, states

BAD = "hits-101"
Once = Callable[[int, int], None]


class Picky(Hits):
    """Refuses every bad page."""

    def evolve(self, rows: Rows, event: Any, envelope: Envelope) -> None:
        if event.page.startswith("/bad"):
            raise ValueError("bad")
        super().evolve(rows, event, envelope)


class Operator:
    """Decides about the event that fails, and lets the live generation g1 meet that or not."""

    def __init__(self, web: Web, read_models: ReadModels) -> None:
        self._site = site_of(web, read_models, Picky())
        self._letter = self._look()

    def _look(self) -> Letter:
        with closing(self._site.read_models.open("g1")) as generation:
            (letter,) = letters_about(generation, BAD)
        return letter

    def edit(self, page: bytes) -> None:
        self.decide("edit", with_data(self._letter.original, b'{"page":"%s"}' % page))

    def decide(self, kind: str, instead: bytes = b"") -> None:
        self.record(kind, instead)
        with closing(self._site.read_models.open("g1")) as generation:
            self._site.meet(generation)

    def record(self, kind: str, instead: bytes = b"") -> None:
        with closing(Corrections(self._site.read_models.beside(BESIDE))) as corrections:
            draft = self._letter.correction(kind, instead, who="ann", why="typo", at=now())  # type: ignore[arg-type]  # words of the tests
            corrections.record(draft)


@pytest.fixture
def web() -> Web:
    web = Web()
    web.record("hits", *(f"/{at % 5}" for at in range(100)))
    web.record("hits", "/bad", *(f"/{at % 5}" for at in range(3000)))
    return web


@pytest.fixture
def operator(web: Web, read_models: ReadModels) -> Operator:
    built(web, read_models, Picky())
    return Operator(web, read_models)


def killed(done: int, total: int) -> None:
    raise KeyboardInterrupt


def once(act: Callable[[], None], after: int = 101) -> Once:
    """Act when it is told that this has been done; a fold has committed nothing then, and has read far beyond the event."""
    acts = [act]

    def told(done: int, total: int) -> None:
        if acts and done > after:
            acts.pop()()

    return told


def rebuilt_while(web: Web, read_models: ReadModels, act: Callable[[], None], projection: Hits) -> Rebuilt:
    return rebuild_at(site_of(web, read_models, projection), Watch(once(act), silent), accept=True)


def test_what_is_undone_after_a_rebuild_was_killed_is_not_in_the_next_one(web: Web, read_models: ReadModels, operator: Operator) -> None:
    operator.edit(b"/wrong")
    with pytest.raises(KeyboardInterrupt):
        rebuild_at(site_of(web, read_models, Picky()), Watch(silent, killed))
    assert states(read_models) == {"g1": "live", "g2": "building"}
    operator.record("undo")
    done = built(web, read_models, Picky())
    assert (done.resumed, done.dropped, done.live) == (False, ("g2",), False)
    assert "/wrong" not in pages(read_models, done.generation)
    assert done.parked == 1


def test_what_is_undone_while_it_folds_holds_it(web: Web, read_models: ReadModels, operator: Operator) -> None:
    operator.edit(b"/wrong")
    done = rebuilt_while(web, read_models, lambda: operator.record("undo"), Picky())
    assert (done.live, states(read_models)) == (False, {"g1": "live", "g2": "held"})
    assert done.comparison is not None
    assert (done.comparison.late, len(done.comparison.findings)) == (1, 1)
    assert done.comparison.findings[0].startswith(f"undo of {BAD} by ann")


def test_what_a_mended_rule_applied_before_it_was_skipped_holds_it_and_the_next_one_skips_it(
    web: Web, read_models: ReadModels, operator: Operator
) -> None:
    done = rebuilt_while(web, read_models, lambda: operator.decide("skip"), SameInNextVersion())
    assert pages(read_models, "g2")["/bad"] == 1
    assert (done.live, states(read_models)) == (False, {"g1": "live", "g2": "held"})
    assert done.comparison is not None
    assert [finding.endswith("rebuild again") for finding in done.comparison.findings].count(True) == 1
    with pytest.raises(ReadModelError, match="--accept"):
        switch(site_of(web, read_models, SameInNextVersion()), "g2")
    again = built(web, read_models, SameInNextVersion(), accept=True)
    assert (again.live, "/bad" in pages(read_models, again.generation)) == (True, False)
    assert built(web, read_models, SameInNextVersion()).live


def test_what_was_skipped_by_a_verb_that_died_while_it_folded_is_found_before_the_switch(
    web: Web, read_models: ReadModels, operator: Operator
) -> None:
    """The live generation has not met it: it is found when the new one would."""
    done = rebuilt_while(web, read_models, lambda: operator.record("skip"), SameInNextVersion())
    assert (done.live, states(read_models)) == (False, {"g1": "live", "g2": "held"})
    assert done.comparison is not None
    assert done.comparison.late == 1


def test_what_is_skipped_while_the_two_are_compared_is_found_before_the_switch(
    web: Web, read_models: ReadModels, operator: Operator
) -> None:
    watch = Watch(silent, once(lambda: operator.record("skip"), after=0))
    done = rebuild_at(site_of(web, read_models, SameInNextVersion()), watch, accept=True)
    assert (done.live, states(read_models)) == (False, {"g1": "live", "g2": "held"})
    assert done.comparison is not None
    assert done.comparison.late == 1


def test_what_is_decided_about_an_event_that_is_parked_in_both_holds_nothing(web: Web, read_models: ReadModels, operator: Operator) -> None:
    done = rebuilt_while(web, read_models, lambda: operator.edit(b"/mended"), Picky())
    assert (done.live, done.parked, pages(read_models, "g2")["/mended"]) == (True, 0, 1)


def test_another_version_meets_what_the_live_one_cannot(web: Web, read_models: ReadModels, operator: Operator) -> None:
    """The edit fails in version 1 too: it waits there for ever, and must not be forgotten by version 2."""
    operator.edit(b"/bad again")
    done = built(web, read_models, SameInNextVersion(), accept=True)
    assert (done.live, done.parked, pages(read_models, done.generation).get("/bad again")) == (True, 0, 1)
    assert built(web, read_models, SameInNextVersion()).live


def test_a_rebuild_that_is_gone_on_with_after_a_decision_long_ago_goes_live(web: Web, read_models: ReadModels, operator: Operator) -> None:
    operator.edit(b"/mended")
    site = site_of(web, read_models, Picky())
    site.now = lambda: "2026-11-22T00:00:00Z"
    with pytest.raises(KeyboardInterrupt):
        rebuild_at(site, Watch(silent, killed))
    done = rebuild_at(site, Watch(silent, silent))
    assert (done.generation, done.resumed, done.live) == ("g2", True, True)
