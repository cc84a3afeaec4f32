"""ASGI middleware: a request body may have so many bytes and no more, whether or not Content-Length says how many come.

FastAPI's own `max_body_size` does the same, but answers in plain text; every error of ours is a problem.
"""

from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidestream.web.problems import ProblemError

DEFAULT_BODY_BYTES: Final = 4 * 1024 * 1024 + 64 * 1024
"""What one call of the sidecar may hold, and some room for what stands around the event."""


class BodyLimit:
    """Answers 413 to larger bodies; below `exempt` a route looks after itself."""

    def __init__(self, app: ASGIApp, limit: int, exempt: str | tuple[str, ...]) -> None:
        self._app = app
        self._limit = limit
        self._exempt = exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting its body."""
        if scope["type"] != "http" or scope["path"].startswith(self._exempt):
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdecimal() or int(declared) > self._limit:
            await self._too_large().response()(scope, receive, send)
            return
        await self._app(scope, self._counted(receive), send)

    def _counted(self, receive: Receive) -> Receive:
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > self._limit:
                    raise self._too_large()
            return message

        return counted

    def _too_large(self) -> ProblemError:
        return ProblemError(413, f"Expected a body of at most {self._limit} bytes. Send less at once.", code="too-large")
