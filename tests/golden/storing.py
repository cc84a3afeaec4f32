"""Makes the golden event store of a release, and the note of what the orders service answered into it.

All that a store keeps is there: events of two topics, one still to be published, an answer as the orders service gave it, a
claim, a snapshot and a lease. What must come out is written down in tests/contract/test_stores_of_the_last_release.py.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec

from events import registry
from services.orders.bootstrap import create_app
from services.orders.commands import AddLine, NewLine
from services.orders.order import ORDER
from sidestream.adapters.sqlite_events import SqliteEventStore
from sidestream.backbone import MemoryBackbone
from sidestream.event import NewEvent
from sidestream.identifiers import now
from sidestream.ports import Append, ServiceStore
from sidestream.writing.repository import Repository
from tests.e2e.write_side import writing

MADE_MS: Final = 1_795_262_400_000
KEY: Final = "golden-1"
PLACE: Final = '{"customer":"ada","currency":"EUR","lines":[{"article":"tea","quantity":3,"unit_minor":450}]}'
CLAIM: Final = ("golden claim", b"c" * 16)
LEASE: Final = ("relay", "host golden")
SHAPE: Final = "order:1"
VOTE: Final = NewEvent(
    topic="votes",
    id="v1",
    source="/services/votes",
    type="vote.cast",
    data=b'{"poll":"pets","option":"dogs","voter":"ada"}',
    dataschema="urn:sidestream:vote.cast:1",
    subject="poll-pets",
    ordered=False,
)


class Answered(msgspec.Struct, frozen=True):
    """What a client was answered: status, headers, and the body to the byte."""

    order: str
    status: int
    headers: dict[str, str]
    body: str


class OnFile(MemoryBackbone):
    """The memory backbone with its stores in one file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def event_store(self, name: str) -> ServiceStore:
        """Open the file."""
        return store_at(self._path)


def store_at(path: Path) -> SqliteEventStore:
    """Open a store in which it is the time at which the golden one was made."""
    return SqliteEventStore(path, clock_ms=lambda: MADE_MS)


async def asked(path: Path, key: str = KEY) -> Any:
    """Place the golden order at an orders service whose store is this file, and return its answer."""
    headers = {"idempotency-key": key, "content-type": "application/json"}
    async with writing(create_app, path.parent, OnFile(path)) as side:
        return await side.client.post("/orders", content=PLACE, headers=headers)


async def make_store(folder: Path) -> None:
    """Let the service answer, then put beside that what its run would have taken away."""
    path = folder / "store.sqlite"
    answer = await asked(path)
    told = {name: value for name, value in answer.headers.items() if name != "content-length"}
    answered = Answered(answer.json()["order"], answer.status_code, told, answer.text)
    with closing(store_at(path)) as store:
        orders = Repository(ORDER, store, registry(), ring=lambda: None, new_id=lambda: "o2", now=now, snapshots=store, snapshot_every=1)
        orders.execute(answered.order, AddLine(NewLine("pot", 1, 2500)))
        store.append([Append(None, (VOTE,))])
        store.mark_published("orders", 1)
        store.claim(*CLAIM, 60)
        store.lease(*LEASE, 60)
    (folder / "answered.json").write_bytes(msgspec.json.format(msgspec.json.encode(answered)) + b"\n")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM")


def layout(path: Path) -> tuple[int, Sequence[tuple[str, str]]]:
    """Return the version that a file says, and its tables and indexes as they were declared, whatever their spacing."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").fetchall()
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version, [(name, " ".join(statement.split())) for name, statement in found]
