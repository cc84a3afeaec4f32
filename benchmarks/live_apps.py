"""The apps that take part in `benchmarks.live`, each a process beside its daprd: `python -m benchmarks.live_apps ROLE`.

    projection   Sidestream as anybody uses it: a projection, its queries, the bell; with SIDESTREAM_FOLLOW=inbox its inbox
    bare         a bulk subscriber that does nothing: what the sidecar can deliver at most
    textbook     one POST per event, a commit per event in SQLite: what a tutorial shows

The last two tell at /seen how many events came, when the first and the last of them did, and when each probe.
"""

import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import uvicorn
from fastapi import APIRouter, FastAPI

from benchmarks.recorded import REGISTRY, TOPIC, Balances
from sidestream.backbone import Backbone
from sidestream.settings import Settings
from sidestream.web.projections import projection_app
from sidestream.web.serve import serve

PROBE: Final = "a-probe"
"""The account of the events whose way is timed."""
BULK_EVENTS: Final = 100
_Receive = Callable[[], Awaitable[Mapping[str, Any]]]
_Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class Seen(msgspec.Struct):
    """What a subscriber noticed; times of the machine's monotonic clock."""

    events: int = 0
    first_batch: int = 0
    first: float = 0.0
    last: float = 0.0
    probes: list[float] = []


# ── sidestream ───────────────────────────────────────────────────────────────────────────────────────────────────────


def projection(settings: Settings, backbone: Backbone) -> FastAPI:
    rule = Balances()
    rule.name = settings.app_id  # three of them run side by side
    return projection_app(rule, REGISTRY, settings, backbone, APIRouter())


# ── subscribers ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Subscriber:
    """The least an app needs to be delivered to, without a framework that would be measured too."""

    def __init__(self, settings: Settings, *, bulk: bool) -> None:
        self.seen = Seen()
        self._settings = settings
        self._bulk = bulk
        self._database = None if bulk else _database(settings.data / "textbook.sqlite")

    async def __call__(self, scope: Mapping[str, Any], receive: _Receive, send: _Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        body = b""
        while True:
            part = await receive()
            body += part.get("body", b"")
            if not part.get("more_body"):
                break
        answer = msgspec.json.encode(self._answer(scope["path"], body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": answer})

    def _answer(self, path: str, body: bytes) -> object:
        if path == "/events":
            return self._take(body)
        if path == "/dapr/subscribe":
            bulk = {"enabled": True, "maxMessagesCount": BULK_EVENTS, "maxAwaitDurationMs": 20}
            one: dict[str, object] = {"pubsubname": self._settings.pubsub, "topic": TOPIC, "route": "/events"}
            return [{**one, "bulkSubscribe": bulk} if self._bulk else one]
        return self.seen if path == "/seen" else {}

    def _take(self, body: bytes) -> object:
        if self._database is None:
            found = _decode_bulk(body).entries
            self._note([entry.event.subject for entry in found])
            return {"statuses": [{"entryId": entry.entryId, "status": "SUCCESS"} for entry in found]}
        event = _one(body)
        with self._database:
            self._database.execute(_UPSERT, (event.subject, event.data.amount, event.id))
        self._note([event.subject])
        return {"status": "SUCCESS"}

    def _note(self, subjects: list[str]) -> None:
        now, seen = time.monotonic(), self.seen
        if not seen.events:
            seen.first, seen.first_batch = now, len(subjects)
        seen.events, seen.last = seen.events + len(subjects), now
        seen.probes += [now] * subjects.count(PROBE)


class _Subject(msgspec.Struct):
    subject: str = ""


class _Entry(msgspec.Struct):
    entryId: str  # noqa: N815 - the sidecar's own name
    event: _Subject


class _Bulk(msgspec.Struct):
    entries: list[_Entry]


class _Amount(msgspec.Struct):
    amount: int


class _Event(msgspec.Struct):
    id: str
    subject: str
    data: _Amount


_one: Final = msgspec.json.Decoder(_Event).decode
_UPSERT: Final = (
    "INSERT INTO balance VALUES (?, ?, 1, ?) ON CONFLICT (account) DO UPDATE SET "
    "balance = balance.balance + excluded.balance, payments = balance.payments + 1, last = excluded.last"
)


_decode_bulk: Final = msgspec.json.Decoder(_Bulk).decode


def _database(file: Path) -> sqlite3.Connection:
    file.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(file, check_same_thread=False)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    columns = "account TEXT PRIMARY KEY, balance INTEGER NOT NULL, payments INTEGER NOT NULL, last TEXT NOT NULL"
    database.execute(f"CREATE TABLE IF NOT EXISTS balance ({columns})")
    return database


async def _live(receive: _Receive, send: _Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


def main(role: str) -> None:
    if role == "projection":
        serve(projection)
        return
    settings = Settings()
    app = Subscriber(settings, bulk=role == "bare")
    uvicorn.run(app, host=settings.host, port=settings.app_port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main(sys.argv[1])
