"""The next generation beside the live one: verified at one place in the log while events come in, switched, rolled back.

On every read model adapter. What is expected is worked out from what was recorded, not from another run of the rule.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import msgspec
import pytest

from sidestream.adapters.memory_log import MemoryLog
from sidestream.applying.applied import BOOKKEEPING
from sidestream.applying.projector import Projector
from sidestream.applying.rules import Rule
from sidestream.errors import HistoryTrimmed, LogUnavailable, ReadModelError, UnknownGeneration
from sidestream.event import Counted, Envelope, NewEvent, encode_event
from sidestream.hosting.host import ProjectionHost
from sidestream.ports import LogEntry, Query, ReadModels
from sidestream.projection import Projection, Rows, Table
from sidestream.rebuilding.building import Site, silent
from sidestream.rebuilding.log_until import after_positions, after_time
from sidestream.rebuilding.rebuild import Rebuilt, build_scratch, rebuild_at, verify
from sidestream.rebuilding.switching import drop, previous, roll_back, switch
from sidestream.rebuilding.verifying import Watch, diff
from sidestream.registry import Category, EventType, Registry
from tests.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # a sqlite3 connection of a thread pool's thread is closed with it

TOPICS = ("hits", "clicks")
UNWATCHED = Watch(silent, silent)


class Hit(msgspec.Struct, frozen=True):
    page: str


class Page(msgspec.Struct, frozen=True):
    page: str
    hits: int


class PageNow(msgspec.Struct, frozen=True):
    page: str
    hits: int
    doubled: int


class Day(msgspec.Struct, frozen=True):
    day: str


PAGES = Table(Page, key=("page",))
PAGES_NOW = Table(PageNow, key=("page",), name="page")
DAYS = Table(Day, key=("day",))


class Click(Hit, frozen=True):
    """Another model for another type."""


REGISTRY = Registry(
    [
        Category("hit", "hits", "/services/web", (EventType("hit.made", Hit, ordered=False),)),
        Category("click", "clicks", "/services/web", (EventType("click.made", Click, ordered=False),)),
    ]
)


class Hits(Projection):
    name = "hits"
    topics = TOPICS
    handles = (Hit, Click)
    tables: tuple[Table[Any], ...] = (PAGES,)
    ordered = False

    def evolve(self, rows: Rows, event: Any, envelope: Envelope) -> None:
        row = rows.get(PAGES, (event.page,)) or Page(event.page, 0)
        rows.put(PAGES, Page(event.page, row.hits + 1))


class Impure(Hits):
    """Looks at something outside: what it makes of `/odd` depends on when it is asked."""

    def __init__(self, by: int) -> None:
        self.by = by

    def evolve(self, rows: Rows, event: Any, envelope: Envelope) -> None:
        row = rows.get(PAGES, (event.page,)) or Page(event.page, 0)
        rows.put(PAGES, Page(event.page, row.hits + (self.by if event.page == "/odd" else 1)))


class Picky(Hits):
    """Refuses `/bad`."""

    def evolve(self, rows: Rows, event: Any, envelope: Envelope) -> None:
        if event.page == "/bad":
            raise ValueError("bad")
        super().evolve(rows, event, envelope)


class HitsNow(Hits):
    """The next version: another column, another table, and it counts double."""

    version = 2
    tables = (PAGES_NOW, DAYS)

    def evolve(self, rows: Rows, event: Any, envelope: Envelope) -> None:
        row = rows.get(PAGES_NOW, (event.page,)) or PageNow(event.page, 0, 0)
        rows.put(PAGES_NOW, PageNow(event.page, row.hits + 2, row.doubled + 4))


class SameInNextVersion(Hits):
    version = 2


def wire(topic: str, number: int, page: str) -> bytes:
    kind = "hit" if topic == "hits" else "click"
    data = msgspec.json.encode({"page": page})
    event = NewEvent(
        topic=topic, id=f"{topic}-{number}", source="/services/web", type=f"{kind}.made", data=data, subject=f"{kind}-{number}"
    )
    return encode_event(event, Counted("web.1", number))


class Web:
    """Records hits and clicks, and knows how many there are of each page."""

    def __init__(self, clock_ms: Callable[[], int] | None = None) -> None:
        self.log = MemoryLog(clock_ms) if clock_ms else MemoryLog()
        self.counted: Counter[str] = Counter()
        self._numbers = dict.fromkeys(TOPICS, 0)

    def record(self, topic: str, *pages: str) -> None:
        begin = self._numbers[topic] + 1
        self._numbers[topic] += len(pages)
        self.counted.update(pages)
        self.log.record(topic, [wire(topic, begin + at, page) for at, page in enumerate(pages)])

    @contextmanager
    def traffic(self) -> Iterator[None]:
        """Record both topics all the time, from a thread, some 2,000 events a second."""
        stop = threading.Event()

        def go_on() -> None:
            while not stop.wait(0.01):
                self.record("hits", *(f"/{at}" for at in range(20)))
                self.record("clicks", "/0", "/1")

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


class App:
    """Follows the log with one generation, as an app in another process would."""

    def __init__(self, web: Web, read_models: ReadModels, name: str, projection: Projection | None = None) -> None:
        self._generation = read_models.open(name)
        self.projector = Projector(Rule(projection or Hits(), REGISTRY), web.log, self._generation, now)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "App":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._generation.close()

    def _run(self) -> None:
        while not self._stop.wait(0.001):
            self.projector.catch_up(self._stop.is_set)


def now() -> str:
    return "2026-11-21T00:00:00Z"


def site_of(web: Web, read_models: ReadModels, projection: Projection | None = None, who: str = "") -> Site:
    return Site(projection or Hits(), REGISTRY, web.log, read_models, now, who=who)


def built(web: Web, read_models: ReadModels, projection: Projection | None = None, **wishes: bool) -> Rebuilt:
    return rebuild_at(site_of(web, read_models, projection), UNWATCHED, **wishes)


def pages(read_models: ReadModels, name: str) -> dict[str, int]:
    with closing(read_models.open(name)) as generation, generation.snapshot() as reader:
        return {row.page: row.hits for row in reader.select(PAGES, Query(order_by=("page",), limit=100_000))}


def states(read_models: ReadModels) -> dict[str, str]:
    return {info.name: "live" if info.live else info.state for info in read_models.generations()}


@pytest.fixture
def web() -> Web:
    web = Web()
    web.record("hits", *(f"/{at % 50}" for at in range(1500)))
    web.record("clicks", *(f"/{at % 7}" for at in range(300)))
    return web


# ── the main path ────────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── it differs ───────────────────────────────────────────────────────────────────────────────────────────────────────


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
    web.log.flush("clicks")
    web.log.record("clicks", [wire("clicks", number, f"/{(number - 1) % 7}") for number in range(1, 301) if number not in (7, 8)])
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


# ── back and forth ───────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── two at once, killed, trimmed ─────────────────────────────────────────────────────────────────────────────────────


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
