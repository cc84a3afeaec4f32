"""ASGI middleware: every answer carries X-Correlation-ID, the refusals and failures too.

The conversation is the one that the client names, else the trace of its `traceparent`, else a new one. It is noted beside the
request (`conversation_of`), so that events, answer and log name the same; the request's own headers stay what the client said. A
header that is no token is left to whoever reads it, who refuses the request; it is not sent back.
"""

import re
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidestream.causation import known_trace, trace_id
from sidestream.identifiers import new_id

CORRELATION: Final = "X-Correlation-ID"
VISIBLE: Final = "^[!-~]{1,255}$"
"""Visible ASCII without a space."""
_is_visible: Final = re.compile("[!-~]{1,255}").fullmatch
_STATE: Final = "correlation_id"


class Correlation:
    """Finds out which conversation a request belongs to, and says it with the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; an answer that names a conversation already keeps it, such as one that was given before."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(CORRELATION)
        conversation = given if given and _is_visible(given) else trace_id(known_trace(headers.get("traceparent"))) or new_id()
        scope.setdefault("state", {})[_STATE] = conversation

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).setdefault(CORRELATION, conversation)
            await send(message)

        await self._app(scope, receive, told)


def conversation_of(scope: Scope) -> str:
    """Return the conversation of a request that came through the middleware, empty for any other."""
    return str(scope.get("state", {}).get(_STATE, ""))
