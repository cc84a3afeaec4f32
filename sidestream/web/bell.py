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

from sidestream.web.deliveries import all_taken, subscription, subscriptions_of, taken
from sidestream.web.problems import problem

Ring = Callable[[str], object]
"""Told a topic; called in the event loop, so it must not wait."""

BELL_PATH: Final = "/bell/"
MAX_BELL_BYTES: Final = 64 * 1024 * 1024


class _Entry(msgspec.Struct, gc=False):
    entryId: str  # noqa: N815 - the sidecar's word


class _Delivery(msgspec.Struct, gc=False):
    entries: list[_Entry] | None = None


_decode: Final = msgspec.json.Decoder(_Delivery).decode


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
        subscriptions.append(subscription(pubsub, topic, path))
        app.add_route(BELL_PATH + topic, _bell(topic, ring), methods=["POST"], include_in_schema=False)


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
        return taken() if entries is None else all_taken(entry.entryId for entry in entries)

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
