"""The schedules find what they are for: each fault of a rule, or of the kernel below it, has a smallest schedule that shows it."""

from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st
import pytest

from sidestream.adapters.memory_read_model import _MemoryUnit
from sidestream.applying.admission import Admission
from sidestream.projection import Projection
from sidestream.testing import Happened, ProjectionContract, happened, stranger, survives_any_schedule
from sidestream.testing.folding import fold
from sidestream.testing.history import record
from sidestream.testing.schedule import Arrive, Killed, Moment, Overtaken, Retried, Rung, Schedule
from tests.unit.testing.site import NAMES, REGISTRY, VIEWS, LastSeen, Name, Remembering, Renamed, Seen, Site

RENAMED = st.builds(lambda who, name: happened(Renamed(name), subject=f"user-{who}"), st.sampled_from("ab"), st.sampled_from("xyz"))
SEEN = st.builds(lambda at, page: happened(Seen(page), subject=f"view-{at}"), st.integers(1, 5), st.sampled_from("/?"))
STRANGE = st.builds(
    lambda at: stranger("views", b'{"specversion":"1.0","id":"%d","source":"/curl","type":"page.seen","data":{"page":"/"}}' % at),
    st.integers(1, 5),
)
GARBAGE = st.just(stranger("views", b"no event"))
HISTORIES: st.SearchStrategy[Sequence[Happened]] = st.lists(st.one_of(RENAMED, SEEN, STRANGE, GARBAGE), max_size=10)


class TestSite(ProjectionContract):
    projection, registry, events = Site(), REGISTRY, HISTORIES


@pytest.fixture
def schedules() -> int:
    """As the plugin gives it (it is loaded where the kernel is installed)."""
    return 50


def shrunk(projection: Projection, histories: st.SearchStrategy[Sequence[Happened]] = HISTORIES) -> str:
    with pytest.raises(AssertionError) as raised:
        survives_any_schedule(projection, REGISTRY, histories, count=1500)
    return str(raised.value)


# ── rules that are wrong ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_rule_that_depends_on_order_across_subjects_is_found_and_a_few_events_show_it() -> None:
    text = shrunk(LastSeen(), st.lists(SEEN, max_size=10))
    assert text.startswith("last_seen does not survive this schedule:\n  the log will hold: ")
    assert len(text.splitlines()[1].partition("hold: ")[2].split()) <= 3
    assert "the read model (found) is not the fold of the history (expected):" in text


def test_a_rule_that_remembers_beside_its_rows_is_found() -> None:
    assert "remembering does not survive" in shrunk(Remembering())


# ── a kernel that is wrong: the schedule that shows it is short, and says what happened ──────────────────────────────


def test_a_kernel_that_counts_duplicates_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Admission, "_is_new_stranger", lambda *_: True)
    text = shrunk(Site())
    held = text.splitlines()[1].partition("hold: ")[2].split()
    assert len(held) <= 4, "a few entries show it"
    assert len(set(held)) < len(held), "one of them stands there twice"
    assert "views: expected 1, found 2" in text


def test_a_kernel_that_keeps_rows_apart_from_its_checkpoint_is_found_by_a_kill_before_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_the_bookkeeping(unit: Any) -> None:
        for name, key, row in reversed(unit._undo):
            if name.startswith("sidestream_"):
                unit._rows[name].pop(key, None)
                unit._rows[name].update({key: row} if row is not None else {})

    monkeypatch.setattr(_MemoryUnit, "roll_back", only_the_bookkeeping)
    assert f"killed {Moment.BEFORE_COMMIT.value}" in shrunk(Site())


# ── what is printed, and the fold it is held against ─────────────────────────────────────────────────────────────────


def test_a_schedule_reads_like_a_story() -> None:
    first, second = record([happened(Seen("/"), subject="view-1"), happened(Seen("/"), subject="view-2")], REGISTRY, ordered=True)
    steps = (Arrive(2), Rung("A"), Killed("B", Moment.AFTER_COMMIT), Overtaken("A"), Arrive(5), Retried())
    schedule = Schedule((first, second), (second, first, second), frozenset({"e-002"}), 3, steps)
    assert str(schedule).splitlines() == [
        "  the log will hold: e-002 e-001 e-002",
        "  batches of at most 3",
        "  the rule raises until the end for: e-002",
        "   1. arrives: e-002 e-001",
        "   2. projector A is rung and applies a batch",
        "   3. projector B is rung and killed just after its commit; another one takes its place",
        "   4. projector A reads, the other one applies a batch first, then A goes on",
        "   5. arrives: e-002",
        "   6. an operator retries the dead letters",
        "  then the rest arrives, both projectors catch up, the rule is mended, dead letters are retried",
    ]


def test_the_fold_leaves_out_what_cannot_be_read_and_what_stands_behind_it_in_its_stream() -> None:
    def renamed(identifier: str, data: str) -> Happened:
        attributes = f'"specversion":"1.0","id":"{identifier}","source":"/s","type":"user.renamed","subject":"user-a"'
        return stranger("users", f'{{{attributes},"data":{data}}}'.encode())

    history = [renamed("1", '{"name":"x"}'), renamed("2", "7"), renamed("3", '{"name":"y"}'), renamed("1", '{"name":"z"}')]
    found = fold(Site(), REGISTRY, record(history, REGISTRY, ordered=True))
    assert found == {NAMES: {("user-a",): Name("user-a", "x", 1)}, VIEWS: {}}
