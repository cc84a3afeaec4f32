"""The example of the tests of testing: a site with a good rule, and two bad rules over the same language."""

from typing import Any

import msgspec

from sidestream.event import Envelope
from sidestream.projection import Key, Projection, Rows, Table
from sidestream.registry import Category, EventType, Registry


class Renamed(msgspec.Struct, frozen=True):
    name: str


class Seen(msgspec.Struct, frozen=True):
    page: str


class Name(msgspec.Struct, frozen=True):
    subject: str
    name: str
    changes: int


class Views(msgspec.Struct, frozen=True):
    page: str
    views: int


NAMES = Table(Name, key=("subject",))
VIEWS = Table(Views, key=("page",))
REGISTRY = Registry(
    [
        Category("user", "users", "/services/users", (EventType("user.renamed", Renamed),)),
        Category("view", "views", "/services/web", (EventType("page.seen", Seen, ordered=False),)),
    ]
)


class Site(Projection):
    """A good rule over two topics: the last name of a user needs order, how often a page was seen does not."""

    name = "site"
    topics = REGISTRY.topics
    handles = (Renamed, Seen)
    tables = (NAMES, VIEWS)

    def keys(self, event: Any, envelope: Envelope) -> list[tuple[Table[Any], Key]]:
        return [(NAMES, (envelope.stream,))] if isinstance(event, Renamed) else [(VIEWS, (event.page,))]

    def evolve(self, rows: Rows, event: Any, envelope: Envelope) -> None:
        if isinstance(event, Renamed):
            before = rows.get(NAMES, (envelope.stream,))
            rows.put(NAMES, Name(envelope.stream, event.name, before.changes + 1 if before else 1))
        else:
            found = rows.get(VIEWS, (event.page,))
            rows.put(VIEWS, Views(event.page, found.views + 1 if found else 1))


class LastSeen(Site):
    """A bad rule: the last page seen depends on the order across subjects."""

    name = "last_seen"

    def evolve(self, rows: Rows, event: Any, envelope: Envelope) -> None:
        if isinstance(event, Seen):
            rows.put(VIEWS, Views("last", int(envelope.id.removeprefix("e-")) if envelope.id.startswith("e-") else 0))


class Remembering(Site):
    """A bad rule: it keeps something of its own beside the rows."""

    name = "remembering"

    def __init__(self) -> None:
        self.seen = 0

    def evolve(self, rows: Rows, event: Any, envelope: Envelope) -> None:
        self.seen += 1
        rows.put(VIEWS, Views("all", self.seen))
