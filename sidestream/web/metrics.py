"""ASGI middleware: how many requests each route answered, with what and how fast, for Prometheus.

The label is the route's template, never the path, so that a million ids are one series.
"""

from time import perf_counter
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestMetrics:
    """Counts what passes through it into a registry."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._answered = Counter("sidestream_http_requests", "Requests answered", ("method", "route", "status"), registry=registry)
        self._seconds = Histogram("sidestream_http_seconds", "Time until the answer was sent", ("route",), registry=registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and take note of the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        begin = perf_counter()
        try:
            await self._app(scope, receive, noted)
        finally:
            route = _route(scope)
            method = scope["method"] if scope["method"] in _METHODS else "(other)"
            self._answered.labels(method, route, status).inc()
            self._seconds.labels(route).observe(perf_counter() - begin)


def _route(scope: Scope) -> str:
    """FastAPI notes the route it found; a plain one of ours (/healthz, the bell) has no parameters and is its own template."""
    if "route" in scope:
        return str(scope["route"].path)
    return str(scope["path"]) if "endpoint" in scope and not scope.get("path_params") else "(none)"
