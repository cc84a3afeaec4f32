"""The bell: a delivery by the sidecar is a reason to read the log now, and nothing more.

Every entry is answered SUCCESS at once, whatever becomes of it: the log decides. Of the body only the entry ids are
decoded. A bell that is lost costs one sweep.
"""

from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from sidestream.web.problems import problem

Ring = Callable[[str], object]
"""Told a topic; called in the event loop, so it must not wait."""

BELL_PATH: Final = "/bell/"
MAX_BELL_BYTES: Final = 64 * 1024 * 1024
MAX_EVENTS: Final = 100
"""Events in one bell: as many as the component has workers (`concurrency`), so that a bell under load is full and rings at once."""
MAX_WAIT_MS: Final = 10
"""How long the sidecar waits for a bell to fill: the latency at rest (measured: 5-50 made no difference under load)."""


class _Entry(msgspec.Struct, gc=False):
    entryId: str  # noqa: N815 - the sidecar's word


class _Delivery(msgspec.Struct, gc=False):
    entries: list[_Entry] | None = None


class _Status(msgspec.Struct, gc=False):
    entryId: str  # noqa: N815 - the sidecar's word
    status: str = "SUCCESS"


class _Answer(msgspec.Struct, gc=False):
    statuses: list[_Status]


_decode: Final = msgspec.json.Decoder(_Delivery).decode
_encode: Final = msgspec.json.Encoder().encode
_SINGLE: Final = b'{"status":"SUCCESS"}'


def subscribe(app: FastAPI, pubsub: str, topics: Iterable[str], ring: Ring) -> None:
    """Let the sidecar ring for these topics: `ring(topic)` for every delivery. May be called again for other topics.

    Args:
        app: gets GET /dapr/subscribe and POST /bell/{topic}.
        pubsub: the name of the pub/sub component.
        topics: what to subscribe to.
        ring: what to call; it must be quick.
    """
    subscriptions = subscriptions_of(app)
    for topic in topics:
        path = BELL_PATH + quote(topic, safe="")
        subscriptions.append(_subscription(pubsub, topic, path))
        app.add_route(BELL_PATH + topic, _bell(topic, ring), methods=["POST"], include_in_schema=False)


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


def _subscription(pubsub: str, topic: str, path: str) -> dict[str, object]:
    bulk = {"enabled": True, "maxMessagesCount": MAX_EVENTS, "maxAwaitDurationMs": MAX_WAIT_MS}
    return {"pubsubname": pubsub, "topic": topic, "route": path, "bulkSubscribe": bulk}


def _bell(topic: str, ring: Ring) -> Callable[[Request], Awaitable[Response]]:
    async def bell(request: Request) -> Response:
        body = await _body(request)
        if body is None:
            ring(topic)
            return problem(HTTPStatus.NOT_FOUND, "The bell was heard; its body is too large to be read.", code="too-large")
        try:
            entries = _decode(body).entries
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return problem(HTTPStatus.BAD_REQUEST, f"Expected a delivery by the sidecar: {error}", code="invalid-delivery")
        ring(topic)
        answer = _SINGLE if entries is None else _encode(_Answer([_Status(entry.entryId) for entry in entries]))
        return Response(answer, media_type="application/json")

    return bell


async def _body(request: Request) -> bytes | None:
    """Return the body, or None if it is too large.

    Then the caller answers 404, the one answer that the sidecar never sends again: the same would come again for ever.
    """
    chunks = bytearray()
    async for chunk in request.stream():
        chunks += chunk
        if len(chunks) > MAX_BELL_BYTES:
            return None
    return bytes(chunks)
