"""The composition root of the votes service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from events import registry
from services.votes.api import VotesDesk, router
from sidestream.backbone import Backbone
from sidestream.publishing.direct import DirectPublisher
from sidestream.registry import Registry
from sidestream.settings import Settings
from sidestream.web.app import new_app


def create_app(settings: Settings, backbone: Backbone) -> FastAPI:
    """Return the app in the language of the system."""
    return votes_app(registry(), settings, backbone)


def votes_app(language: Registry, settings: Settings, backbone: Backbone) -> FastAPI:
    """Return the app; its publisher lives from the first request to the last."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        way_out = backbone.publisher()
        publisher = DirectPublisher(way_out)
        app.state.desk = VotesDesk(language, publisher)
        yield
        await publisher.close()
        await way_out.close()

    description = "Takes votes and publishes them: one fact each."
    app = new_app("votes", settings, description=description, lifespan=lifespan, language=language)
    app.include_router(router)
    return app
