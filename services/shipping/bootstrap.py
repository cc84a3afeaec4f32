"""The composition root of shipping: the rows of what is due, and the work on them, in one app."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import APIRouter, FastAPI
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

import events
from services.shipping.api import ORDER, ShippingDesk, add_doors
from services.shipping.due import SHIPMENTS, Shipment, Shipping
from services.shipping.refusing import Refusals
from services.shipping.retrying import SHIPMENT
from services.shipping.shipping import Shipper
from sidestream.backbone import Backbone
from sidestream.hosting.host import ProjectionHost
from sidestream.identifiers import new_id, now
from sidestream.ports import Condition, Query
from sidestream.projection import Projection
from sidestream.registry import Registry
from sidestream.settings import Settings
from sidestream.web.commands import Commands
from sidestream.web.projections import projection_app
from sidestream.web.relay import tell_relay
from sidestream.writing.parts import Writing, writing
from sidestream.writing.repository import Repository

NAME = STORE = "shipping"
_PAGE: Final = 1000


class ShippingSettings(BaseSettings):
    """What shipping is told besides."""

    model_config = SettingsConfigDict(populate_by_name=True, extra="ignore")

    orders_url: str = Field(
        default="",
        validation_alias="SIDESTREAM_URL_ORDERS",
        description="where the sidecar reaches the orders service; empty: it finds it by its name",
    )


def projection() -> Projection:
    """Return the rule of what is due."""
    return Shipping()


def registry() -> Registry:
    """Return the language it is written in."""
    return events.registry()


def create_app(settings: Settings, backbone: Backbone) -> FastAPI:
    """Return the app: it follows the log and ships while it runs."""
    orders_url = ShippingSettings().orders_url
    running: list[Writing] = []

    @asynccontextmanager
    async def shipping(app: FastAPI) -> AsyncIterator[None]:
        host: ProjectionHost = app.state.serving.host
        async with (
            writing(backbone, STORE, registry().topics, settings) as parts,
            backbone.door("orders", orders_url) as client,
        ):
            running[:] = [parts]
            shipments = Repository(SHIPMENT, parts.store, registry(), ring=parts.relay.ring, new_id=new_id, now=now)
            app.state.relay = parts.relay
            app.state.desk = ShippingDesk(shipments, Commands(parts.store))
            refusals = Refusals(parts.store, registry(), parts.relay.ring)
            async with Shipper(lambda: every_due(host), client, refusals.record, sweep_seconds=settings.sweep_seconds) as shipper:
                host.when_committed = shipper.ring
                yield
                host.when_committed = None

    def can_note() -> None:
        for parts in running:
            parts.check()

    router = APIRouter(tags=[NAME], lifespan=shipping)
    add_doors(router)
    app = projection_app(projection(), registry(), settings, backbone, router, checks={"event store": can_note})
    tell_relay(app, STORE)
    return app


def every_due(host: ProjectionHost) -> Iterator[Shipment]:
    """Give every order that is due, the one paid first first; raises StoreAway where the rows cannot be read."""
    due = Condition("state", "=", "due")
    with host.reading() as view:
        after: tuple[str, str] | None = None
        while page := view.reader.select(SHIPMENTS, Query((due,), ORDER, after=after, limit=_PAGE)):
            yield from page
            after = page[-1].paid_event, page[-1].order
