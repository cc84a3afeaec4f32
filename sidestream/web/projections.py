"""The app of a projection: it follows the log while it runs, the sidecar rings it, and its queries read the live generation.

    projection_app(Tally(), registry(), settings, backbone, router)

Every answer that read rows says how far these had been applied, taken in the same moment as the rows:
`Sidestream-Applied: votes=4711, assets=start` and `Sidestream-Generation: g1`. A route opens its one consistent moment by

    def poll(name: str, live: Live) -> Poll:
        with live() as reader: ...

and is a plain `def`, because read models are synchronous: FastAPI runs it in a thread.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Final, Protocol, runtime_checkable

import msgspec
from fastapi import APIRouter, Depends, FastAPI
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidestream.applying.consistency import Place, examine
from sidestream.backbone import Backbone
from sidestream.errors import StoreAway
from sidestream.hosting.host import ProjectionHost
from sidestream.hosting.serving import View
from sidestream.identifiers import now
from sidestream.logs.inbox import Inbox, arrived
from sidestream.ports import EventLog, Reader, ReadModels
from sidestream.projection import Projection
from sidestream.registry import Registry
from sidestream.schema.catalogue import reader_of
from sidestream.settings import Settings
from sidestream.tracing import tracing_of
from sidestream.web.app import NO_CHECKS, new_app
from sidestream.web.bell import subscribe
from sidestream.web.consistency import Awaited, expect_applied, wait_until_applied
from sidestream.web.health import Check
from sidestream.web.inbox import collect
from sidestream.web.language import answer_language
from sidestream.web.projection_metrics import ProjectionMetrics

APPLIED: Final = "Sidestream-Applied"
"""Header: topic=position of the last event applied, `start` where none was; several are separated by a comma."""
GENERATION: Final = "Sidestream-Generation"
"""Header: the generation that answered."""
STALE: Final = "Sidestream-Stale"
"""Header: `since=<time>` where the generation that answered is followed no more; up to when its events were applied."""
_HEADERS: Final = "sidestream_headers"
"""Where a request keeps them until its answer is sent."""


def projection_app(
    projection: Projection,
    registry: Registry,
    settings: Settings,
    backbone: Backbone,
    router: APIRouter,
    *,
    checks: Mapping[str, Check] = NO_CHECKS,
) -> FastAPI:
    """Return the app of a projection: its queries, the bell, readiness, metrics, and the list of its generations.

    Args:
        projection: the rule.
        registry: the language it is written in.
        settings: of the app.
        backbone: where log and read models come from; nothing is connected before the app starts.
        router: the queries.
        checks: what must be well for /readyz besides, by name.
    """
    serving = Serving(projection, registry, settings, backbone)
    app = new_app(
        projection.name,
        settings,
        description=(type(projection).__doc__ or "").strip(),
        lifespan=serving.lifespan,
        checks={"projection": serving.check, **checks},
    )
    app.state.serving = serving
    app.state.metrics.register(ProjectionMetrics(projection.name, lambda: serving.running))
    app.add_middleware(AppliedHeaders)
    if settings.follow == "inbox":
        collect(app, settings.pubsub, settings.app_id, projection.topics, serving.keep)
    else:
        subscribe(app, settings.pubsub, projection.topics, serving.ring)
    answer_language(app, registry, settings, [reader_of(projection.name, projection, registry)])
    app.include_router(_generations)
    app.include_router(router)
    return app


# ── while the app runs ───────────────────────────────────────────────────────────────────────────────────────────────


@runtime_checkable
class RingsItself(Protocol):
    """A log in this very process, which needs no sidecar to ring."""

    def on_delivery(self, topic: str, bell: Callable[[str], None]) -> None:
        """Call `bell(topic)` after every publish."""
        ...


class Serving:
    """The projection's host between the start and the end of the app."""

    def __init__(self, projection: Projection, registry: Registry, settings: Settings, backbone: Backbone) -> None:
        self.projection = projection
        self.running: ProjectionHost | None = None
        self.read_models: ReadModels | None = None
        self._registry = registry
        self._settings = settings
        self._backbone = backbone
        self._inbox: Inbox | None = None

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Follow the log as long as the app runs."""
        if self._settings.follow == "inbox":
            self._inbox = await asyncio.to_thread(self._backbone.inbox, self.projection.name)
        log: EventLog = self._inbox if self._inbox is not None else await asyncio.to_thread(self._backbone.log)
        self.read_models = await asyncio.to_thread(self._backbone.read_models, self.projection.name)
        host = ProjectionHost(
            self.projection,
            self._registry,
            log,
            self.read_models,
            now=now,
            sweep_seconds=self._settings.sweep_seconds,
            spans=tracing_of(self._settings.app_id),
        )
        async with host as self.running:
            self._listen(log)
            yield
        self.running = None

    def _listen(self, log: EventLog) -> None:
        if isinstance(log, RingsItself):
            for topic in self.projection.topics:
                log.on_delivery(topic, self.ring)

    def ring(self, topic: str) -> None:
        """Look at the log now."""
        if self.running is not None:
            self.running.ring(topic)

    def keep(self, topic: str, wires: Sequence[bytes]) -> None:
        """Append a delivery to the inbox log, and look at it. Called in a thread; raises StoreAway when it is not kept."""
        if self._inbox is None:
            raise StoreAway(f"{self.projection.name}: not started yet. Try again.")
        self._inbox.append(topic, arrived(wires))
        self.ring(topic)

    @property
    def host(self) -> ProjectionHost:
        """The host; raises StoreAway before the start and after the end."""
        if self.running is None:
            raise StoreAway(f"{self.projection.name}: not started yet. Try again.")
        return self.running

    def check(self) -> None:
        """Raise StoreAway unless queries should come here; see `ProjectionHost.not_ready`."""
        if problem := self.host.not_ready():
            raise StoreAway(problem)


# ── queries ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class LiveGeneration:
    """A request's way to the rows. Open it once: all reads inside are of one moment."""

    def __init__(self, host: ProjectionHost, state: dict[str, object], places: tuple[Place, ...] = ()) -> None:
        self._host = host
        self._state = state
        self._places = places

    @contextmanager
    def __call__(self) -> Iterator[Reader]:
        """Read the live generation; the answer will say how far it had been applied.

        Raises:
            StoreAway: there is no generation that this program can serve, or its database is away.
            ProblemError: the pointer moved to a generation that has not applied what the client waited for.
        """
        with self._host.reading() as view:
            self._state[_HEADERS] = _headers(view, self._host.projection.topics)
            if self._places:
                expect_applied(self._host, examine(view.reader, self._places).values())
            yield view.reader


async def read_live(request: Request, awaited: Awaited) -> LiveGeneration:
    """Return the way to the rows, when what the client wrote before is in them; a test overrides this dependency."""
    host: ProjectionHost = request.app.state.serving.host
    places = await wait_until_applied(host, awaited)
    return LiveGeneration(host, request.scope["state"], places)


Live = Annotated[LiveGeneration, Depends(read_live)]
"""Declare a parameter of this type to read the live generation."""


class AppliedHeaders:
    """ASGI middleware: says how far the rows of an answer had been applied, in answers of problems too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and add the headers to its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(state.get(_HEADERS, {}))
            await send(message)

        await self._app(scope, receive, with_headers)


def _headers(view: View, topics: Iterable[str]) -> Mapping[str, str]:
    applied = ", ".join(f"{topic}={view.applied.get(topic, 'start')}" for topic in topics)
    headers = {APPLIED: applied, GENERATION: view.generation}
    return {**headers, STALE: f"since={view.stale_since}"} if view.stale_since else headers


# ── generations ──────────────────────────────────────────────────────────────────────────────────────────────────────

_generations: Final = APIRouter(tags=["generations"])


@_generations.get("/generations", response_model=None)
def list_generations(request: Request) -> Response:
    """List the generations of this read model: how far each is, and what became of its events since this app started."""
    serving: Serving = request.app.state.serving
    host = serving.host
    totals, measured, rates = host.totals(), host.measured(), host.rates()
    found = serving.read_models.generations() if serving.read_models is not None else ()
    generations = [
        {
            **msgspec.structs.asdict(info),
            "following": info.name in totals,
            "since_start": totals.get(info.name),
            "measured": measured.get(info.name),
            "rate": rates.get(info.name),
        }
        for info in found
    ]
    answer = {
        "projection": serving.projection.name,
        "version": serving.projection.version,
        "health": health_of(host),
        "generations": generations,
    }
    return Response(msgspec.json.encode(answer), media_type="application/json")


def health_of(host: ProjectionHost) -> dict[str, object]:
    """Return what tells a wedged sidecar, a wedged projection and a log that is away apart; empty texts where all is well."""
    return {
        "not_ready": host.not_ready(),
        "not_following": host.not_following(),
        "wedged": host.wedged(),
        "log_away": host.log_away(),
        "sidecar_silent": host.sidecar_silent,
        "bells": host.bells,
        "sweeps": host.sweeps,
        "waiting_queries": host.waiting,
    }
