"""Deliveries of hits, the inbox that they arrive at, and somebody who reads it as they come."""

from collections.abc import Iterator

import msgspec
import pytest

from sidestream.adapters.memory_read_model import MemoryGeneration
from sidestream.applying.applied import BOOKKEEPING
from sidestream.applying.decoding import Rule
from sidestream.applying.projector import Projector
from sidestream.event import Counted, Envelope, NewEvent, encode_event
from sidestream.logs.inbox import Inbox, arrived
from sidestream.projection import Projection, Rows, Table
from sidestream.registry import Category, EventType, Registry
from tests.contract.inboxes import ADAPTERS, open_inbox

TOPIC = "hits"


class Hit(msgspec.Struct, frozen=True):
    page: str


class Page(msgspec.Struct, frozen=True):
    page: str
    hits: str


PAGES = Table(Page, key=("page",))
REGISTRY = Registry([Category("hit", TOPIC, "/services/web", (EventType("hit.made", Hit),))])


class Hits(Projection):
    """Writes down the events of each page in the order in which it met them."""

    name = "hits"
    topics = (TOPIC,)
    handles = (Hit,)
    tables = (PAGES,)

    def evolve(self, rows: Rows, event: Hit, envelope: Envelope) -> None:
        before = rows.get(PAGES, (event.page,)) or Page(event.page, "")
        rows.put(PAGES, Page(event.page, f"{before.hits} {envelope.id}".strip()))


def wire(number: int, *, version: int | None = None, producer: str = "web.1", page: str = "/", **fields: str) -> bytes:
    identifier = fields.pop("id", f"{producer}-{number}")
    event = NewEvent(
        topic=TOPIC,
        id=identifier,
        source="/services/web",
        type="hit.made",
        data=msgspec.json.encode({"page": page}),
        subject=f"page-{page}",
    )
    return encode_event(event, Counted(producer, number, version))


def stranger(identifier: str, source: str = "/curl") -> bytes:
    return msgspec.json.encode({"specversion": "1.0", "id": identifier, "source": source, "type": "hit.made", "data": {"page": "/"}})


def deliver(inbox: Inbox, *wires: bytes) -> int:
    return inbox.append(TOPIC, arrived(wires))


def kept(inbox: Inbox) -> list[bytes]:
    return [entry.data for entry in inbox.read(TOPIC, None, 100_000)]


class Reader:
    """A projector that follows an inbox."""

    def __init__(self, inbox: Inbox) -> None:
        self.generation = MemoryGeneration("g1", (*BOOKKEEPING, *Hits.tables))
        self.projector = Projector(Rule(Hits(), REGISTRY), inbox, self.generation, lambda: "now")

    def hits(self) -> dict[str, str]:
        self.projector.catch_up()
        with self.generation.snapshot() as rows:
            return {row.page: row.hits for row in rows.read(PAGES, [("/",), ("/a",)]).values()}


@pytest.fixture(params=ADAPTERS)
def inbox(request: pytest.FixtureRequest) -> Iterator[Inbox]:
    found = open_inbox(request.param, request)
    yield found
    found.close()


@pytest.fixture(params=ADAPTERS)
def late_inbox(request: pytest.FixtureRequest) -> Iterator[Inbox]:
    found = open_inbox(request.param, request, began_late=True)
    yield found
    found.close()
