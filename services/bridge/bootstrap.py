"""The composition root of the bridge."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from services.bridge.api import MAX_BATCH_BYTES, BridgeDesk, router
from services.bridge.recording import Recorder
from sidestream.backbone import Backbone
from sidestream.ports import EventStore
from sidestream.relay import Relay
from sidestream.settings import Settings
from sidestream.web.app import new_app

NAME = "bridge"


def create_app(settings: Settings, backbone: Backbone) -> FastAPI:
    """Return the app; its store, relay and log live from the first request to the last."""
    stores: list[EventStore] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        store = await run_in_threadpool(backbone.event_store, NAME)
        stores[:] = [store]
        log, publisher = await run_in_threadpool(backbone.log), backbone.publisher()
        async with Relay(store, publisher, sweep_seconds=settings.sweep_seconds) as relay:
            app.state.desk = BridgeDesk(Recorder(store, relay.ring), log)
            yield
        await publisher.close()
        log.close()
        store.close()

    app = new_app(
        NAME,
        settings,
        description="Takes anybody's CloudEvents, each once, and publishes them; shows recent ones.",
        lifespan=lifespan,
        checks={"event store": lambda: [store.topics() for store in stores]},
        body_limit=MAX_BATCH_BYTES,
    )
    app.include_router(router)
    return app
