"""The sidecar's words for deliveries: what an app subscribes to, and how it answers that it has taken what came.

The bell and the inbox's door share them. What becomes of an event is theirs.
"""

from collections.abc import Iterable
from typing import Final

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

MAX_EVENTS: Final = 100
"""Events in one delivery: as many as the component has workers (`concurrency`), so that one under load is full and comes at once."""
MAX_WAIT_MS: Final = 10
"""How long the sidecar waits for a delivery to fill: the latency at rest (measured: 5-50 made no difference under load)."""


class _Status(msgspec.Struct, gc=False):
    entryId: str  # noqa: N815 - the sidecar's word
    status: str = "SUCCESS"


class _Answer(msgspec.Struct, gc=False):
    statuses: list[_Status]


_encode: Final = msgspec.json.Encoder().encode
_TAKEN: Final = b'{"status":"SUCCESS"}'


# ── subscribing ──────────────────────────────────────────────────────────────────────────────────────────────────────


def subscription(pubsub: str, topic: str, path: str) -> dict[str, object]:
    """Return one entry of what /dapr/subscribe answers: deliveries of this topic in bulk, to this path."""
    bulk = {"enabled": True, "maxMessagesCount": MAX_EVENTS, "maxAwaitDurationMs": MAX_WAIT_MS}
    return {"pubsubname": pubsub, "topic": topic, "route": path, "bulkSubscribe": bulk}


def subscriptions_of(app: FastAPI) -> list[dict[str, object]]:
    """Return the list that /dapr/subscribe answers; the first call adds the route."""
    found: list[dict[str, object]] | None = getattr(app.state, "subscriptions", None)
    if found is not None:
        return found
    subscriptions: list[dict[str, object]] = []

    async def listed(_: Request) -> Response:
        return Response(_encode(subscriptions), media_type="application/json")

    app.state.subscriptions = subscriptions
    app.add_route("/dapr/subscribe", listed, methods=["GET"], include_in_schema=False)
    return subscriptions


# ── answering ────────────────────────────────────────────────────────────────────────────────────────────────────────


def taken() -> Response:
    """Answer a delivery of one event."""
    return Response(_TAKEN, media_type="application/json")


def all_taken(entries: Iterable[str]) -> Response:
    """Answer a bulk: all of it is taken. `entries` are the ids that the sidecar gave its entries."""
    return Response(_encode(_Answer([_Status(entry) for entry in entries])), media_type="application/json")
