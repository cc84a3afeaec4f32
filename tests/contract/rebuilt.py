"""A log of hits and clicks that knows what was recorded, rules that count them, and generations built from it.

What is expected is worked out from what was recorded, not from another run of the rule.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import msgspec
import pytest

from sidestream.adapters.memory_log import MemoryLog
from sidestream.applying.decoding import Rule
from sidestream.applying.projector import Projector
from sidestream.event import Counted, Envelope, NewEvent, encode_event
from sidestream.ports import Query, ReadModels
from sidestream.projection import Projection, Rows, Table
from sidestream.rebuilding.building import Site, silent
from sidestream.rebuilding.rebuild import Rebuilt, rebuild_at
from sidestream.rebuilding.verifying import Watch
from sidestream.registry import Category, EventType, Registry

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
    topics: tuple[str, ...] = TOPICS
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
