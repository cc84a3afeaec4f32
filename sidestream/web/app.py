"""`new_app`: a FastAPI app with everything around its routes that every app of the house has."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import Final

from fastapi import Depends, FastAPI
from prometheus_client import CollectorRegistry

from sidestream.registry import Registry
from sidestream.settings import Settings
from sidestream.tracing import tracing_of
from sidestream.web.bell import BELL_PATH
from sidestream.web.correlation import Correlation
from sidestream.web.health import Check, answer_health
from sidestream.web.inbox import INBOX_PATH
from sidestream.web.language import answer_language
from sidestream.web.limits import DEFAULT_BODY_BYTES, BodyLimit
from sidestream.web.metrics import RequestMetrics
from sidestream.web.openapi import declare_problems
from sidestream.web.parameters import expect_known_parameters
from sidestream.web.problems import answer_problems
from sidestream.web.sidecar_token import SidecarToken
from sidestream.web.strict_json import StrictJson
from sidestream.web.tracing import TracedRequests
from sidestream.web.version import VERSION

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
DELIVERIES: Final = (BELL_PATH, INBOX_PATH)
"""Where the sidecar delivers: as large as it likes, and looked at there."""
NO_CHECKS: Final[Mapping[str, Check]] = MappingProxyType({})


def new_app(
    title: str,
    settings: Settings,
    *,
    description: str = "",
    lifespan: Lifespan | None = None,
    checks: Mapping[str, Check] = NO_CHECKS,
    body_limit: int = DEFAULT_BODY_BYTES,
    metrics: CollectorRegistry | None = None,
    language: Registry | None = None,
) -> FastAPI:
    """Return an app without routes of its own.

    Args:
        title: what it is, for people; also the heading of /docs.
        settings: the app's settings.
        description: shown in /docs; markdown.
        lifespan: what to start before the first request and to stop after the last one.
        checks: what must be well for /readyz, by name.
        body_limit: most bytes of a request body.
        metrics: where metrics are kept; the app's own registry is at `app.state.metrics`.
        language: the events that /language and /asyncapi.json tell of; without one there are no such routes.
    """
    app = FastAPI(
        title=title,
        version=VERSION,
        description=description,
        lifespan=lifespan,
        dependencies=[Depends(expect_known_parameters)],
        redirect_slashes=False,  # a path is right or wrong; a redirect would be a third, undeclared answer
    )
    app.state.metrics = metrics or CollectorRegistry()
    # a middleware that is added later stands further out
    app.add_middleware(StrictJson, DELIVERIES)
    if settings.app_api_token:
        app.add_middleware(SidecarToken, settings.app_api_token)
    app.add_middleware(BodyLimit, body_limit, DELIVERIES)
    answer_problems(app)
    declare_problems(app)
    answer_health(app, checks, app.state.metrics)
    if language is not None:
        answer_language(app, language, settings)
    app.add_middleware(RequestMetrics, app.state.metrics)
    app.add_middleware(Correlation)
    if tracing := tracing_of(settings.app_id):
        app.add_middleware(TracedRequests, tracing)
    return app
