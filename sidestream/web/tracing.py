"""ASGI middleware: a span for every request, below the caller's where the caller has one.

A request without a traceparent is given the span's, so that the events which it makes are recorded in its trace. One that
the caller sent stays as it is.
"""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidestream.tracing import Tracing, note_status, traceparent_of

_TRACEPARENT: Final = b"traceparent"
_CARRIED: Final = frozenset({b"traceparent", b"tracestate"})
_UNTRACED: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines."""


class TracedRequests:
    """Makes a span of what passes through it."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on inside of its span."""
        if scope["type"] != "http" or scope["path"] in _UNTRACED:
            await self._app(scope, receive, send)
            return
        carried = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _CARRIED}
        with self._tracing.serving(scope["method"], carried) as span:

            async def noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    note_status(span, message["status"])
                await send(message)

            if "traceparent" not in carried:
                scope["headers"] = [*scope["headers"], (_TRACEPARENT, traceparent_of(span).encode())]
            try:
                await self._app(scope, receive, noted)
            finally:
                if route := getattr(scope.get("route"), "path", ""):
                    span.update_name(f"{scope['method']} {route}")
                    span.set_attribute("http.route", route)
