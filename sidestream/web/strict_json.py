r"""ASGI middleware: a body that says it is JSON is JSON: valid UTF-8, no lone surrogates, no NaN; anything else is 400.

Python's own json takes `"\ud800"` and makes text of it that no log, no database and no answer can hold. The bytes are
passed on as they came. Only `application/json`: whoever takes other types (the bridge's batches) judges each event by itself.
"""

import msgspec
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidestream.web.problems import ProblemError


class StrictJson:
    """Answers 400 to bodies that are not what they say; below `exempt` a route looks after itself."""

    def __init__(self, app: ASGIApp, exempt: str | tuple[str, ...]) -> None:
        self._app = app
        self._exempt = exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body looked at."""
        if scope["type"] != "http" or scope["path"].startswith(self._exempt) or not _says_json(scope):
            await self._app(scope, receive, send)
            return
        try:
            body = await _read(receive)
            _check(body)
        except ProblemError as error:
            await error.response()(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, _again(body, receive), send)


def _says_json(scope: Scope) -> bool:
    return Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower() == "application/json"


async def _read(receive: Receive) -> bytes | None:
    """Return the whole body, or None when the client has gone."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


def _check(body: bytes | None) -> None:
    try:
        if body:
            msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProblemError(400, f"Expected a body of JSON: {error}", code="invalid-json") from None


def _again(body: bytes, receive: Receive) -> Receive:
    handed_on = False

    async def body_then_rest() -> Message:
        nonlocal handed_on
        if handed_on:
            return await receive()
        handed_on = True
        return {"type": "http.request", "body": body, "more_body": False}

    return body_then_rest
