"""The inbox's door: a delivery by the sidecar is kept before it is answered, all of it or nothing.

The subscription asks for raw payloads: only then does the sidecar hand on the very bytes of the log, in base64. Parsed,
as it does by default, 2^53+1 arrives as 2^53, `1.0` as `1`, and what is no JSON never arrives at all (measured, docs/inbox.md).

    committed       every entry is answered SUCCESS, one that is no event too: the projector makes a dead letter of it
    not committed   500 for the whole batch; the sidecar's endless retry holds the topic back and sends it again
    replayed        answered SUCCESS and not kept: it happened before, and no read model may count it twice
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import msgspec
import structlog
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from sidestream.errors import SidestreamError
from sidestream.logs.replaying import is_replayed
from sidestream.web.deliveries import all_taken, subscription, subscriptions_of, taken
from sidestream.web.problems import problem

Keep = Callable[[str, Sequence[bytes]], object]
"""Told a topic and the bytes of every entry; returns when they are on the disk. Called in a thread."""

INBOX_PATH: Final = "/inbox/"
UNDELIVERED: Final = ".undelivered."
"""Between the topic and the app: the dead-letter topic, where the sidecar puts what it could not deliver in time."""

log_line = structlog.get_logger()


class _Entry(msgspec.Struct, gc=False):
    entryId: str  # noqa: N815 - the sidecar's word
    event: bytes | None = None


class _Delivery(msgspec.Struct, gc=False):
    entries: list[_Entry]


_decode: Final = msgspec.json.Decoder(_Delivery).decode


def collect(app: FastAPI, pubsub: str, app_id: str, topics: Iterable[str], keep: Keep) -> None:
    """Let the sidecar deliver these topics, and what it could not deliver of them earlier: `keep(topic, wires)`.

    Args:
        app: gets GET /dapr/subscribe and POST /inbox/{topic}.
        pubsub: the name of the pub/sub component.
        app_id: names the dead-letter topic, so that each app has its own.
        topics: what to subscribe to.
        keep: where entries go.
    """
    subscriptions = subscriptions_of(app)
    for topic in topics:
        path, undelivered = INBOX_PATH + quote(topic, safe=""), f"{topic}{UNDELIVERED}{app_id}"
        subscriptions.append({**_raw_subscription(pubsub, topic, path), "deadLetterTopic": undelivered})
        subscriptions.append(_raw_subscription(pubsub, undelivered, path))
        app.add_route(INBOX_PATH + topic, _door(topic, keep), methods=["POST"], include_in_schema=False)


def _raw_subscription(pubsub: str, topic: str, path: str) -> dict[str, object]:
    return {**subscription(pubsub, topic, path), "metadata": {"rawPayload": "true"}}


def _door(topic: str, keep: Keep) -> Callable[[Request], Awaitable[Response]]:
    async def door(request: Request) -> Response:
        body = await request.body()
        try:
            entries = _decode(body).entries
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if is_replayed(body):
                return taken()
            detail = f"Expected a bulk delivery with raw payloads by the sidecar: {error}. Is the subscription this app's own?"
            return _held_back(topic, detail, "invalid-delivery")
        try:
            await run_in_threadpool(keep, topic, [wire for entry in entries if not is_replayed(wire := entry.event or b"")])
        except SidestreamError as error:
            return _held_back(topic, str(error), error.code)
        return all_taken(entry.entryId for entry in entries)

    return door


def _held_back(topic: str, detail: str, code: str) -> Response:
    """Only 5xx is sent again: nothing of a batch that was not kept may be lost for it."""
    log_line.error("delivery not kept, the topic waits", topic=topic, problem=detail)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail, code=code)
