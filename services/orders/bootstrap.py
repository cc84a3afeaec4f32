"""The composition root of the orders service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from events import registry
from services.orders.api import OrdersDesk, router
from services.orders.order import ORDER
from sidestream.backbone import Backbone
from sidestream.identifiers import new_id, now
from sidestream.settings import Settings
from sidestream.web.app import new_app
from sidestream.web.commands import Commands
from sidestream.web.relay import tell_relay
from sidestream.writing.parts import Writing, writing
from sidestream.writing.repository import Repository

NAME = STORE = "orders"


def create_app(settings: Settings, backbone: Backbone) -> FastAPI:
    """Return the app; its store and relay live from the first request to the last."""
    running: list[Writing] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        language = registry()
        async with writing(backbone, STORE, language.topics, settings) as parts:
            running[:] = [parts]
            app.state.relay = parts.relay
            orders = Repository(ORDER, parts.store, language, ring=parts.relay.ring, new_id=new_id, now=now, snapshots=parts.store)
            app.state.desk = OrdersDesk(orders, Commands(parts.store))
            yield

    def can_accept() -> None:
        for parts in running:
            parts.check()

    app = new_app(
        NAME,
        settings,
        description="Takes orders from the first line to the parcel; each decides what may be done with it.",
        lifespan=lifespan,
        checks={"event store": can_accept},
        language=registry(),
    )
    tell_relay(app, STORE)
    app.include_router(router)
    backbone.offer(NAME, app)
    return app
