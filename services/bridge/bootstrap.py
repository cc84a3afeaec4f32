"""The composition root of the bridge."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from events import registry
from services.bridge.api import MAX_BATCH_BYTES, BridgeDesk, router
from services.bridge.recording import Recorder
from sidestream.backbone import Backbone
from sidestream.settings import Settings
from sidestream.web.app import new_app
from sidestream.web.relay import tell_relay
from sidestream.writing.parts import Writing, writing

NAME = STORE = "bridge"


def create_app(settings: Settings, backbone: Backbone) -> FastAPI:
    """Return the app; its store, relay and log live from the first request to the last."""
    running: list[Writing] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with writing(backbone, STORE, registry().topics, settings) as parts:
            running[:] = [parts]
            app.state.relay = parts.relay
            app.state.desk = BridgeDesk(Recorder(parts.store, parts.relay.ring), parts.log)
            yield

    def can_accept() -> None:
        for parts in running:
            parts.check()

    app = new_app(
        NAME,
        settings,
        description="Takes anybody's CloudEvents, each once, and publishes them; shows recent ones.",
        lifespan=lifespan,
        checks={"event store": can_accept},
        language=registry(),
        body_limit=MAX_BATCH_BYTES,
    )
    tell_relay(app, STORE)
    app.include_router(router)
    return app
