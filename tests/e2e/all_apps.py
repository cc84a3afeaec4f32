"""All apps over one memory backbone, each behind its door, and how much has been recorded behind them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
from fastapi import FastAPI

import events
from projections.activity import bootstrap as activity
from projections.asset_catalog import bootstrap as asset_catalog
from projections.order_book import bootstrap as order_book
from projections.tally import bootstrap as tally
from services.assets import bootstrap as assets
from services.bridge import bootstrap as bridge
from services.orders import bootstrap as orders
from services.shipping import bootstrap as shipping
from services.votes import bootstrap as votes
from sidestream.backbone import MemoryBackbone
from sidestream.settings import Settings

BOOTSTRAPS = {
    "votes": votes,
    "assets": assets,
    "bridge": bridge,
    "orders": orders,
    "shipping": shipping,
    "tally": tally,
    "asset-catalog": asset_catalog,
    "activity": activity,
    "order-book": order_book,
}
STORES = ("assets", "bridge", "orders", "shipping")


class AllApps:
    """The apps by name, and what they share."""

    def __init__(self, apps: dict[str, FastAPI], backbone: MemoryBackbone) -> None:
        self.apps = apps
        self.backbone = backbone

    def door(self, app: str) -> httpx.AsyncClient:
        """Return a client whose requests reach the app; what the app raises is its own to answer."""
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.apps[app], raise_app_exceptions=False), base_url=f"http://{app}")

    def recorded(self) -> int:
        """Return how many events stand in all stores and in the log."""
        log = self.backbone.log()
        in_log = sum(log.extent(topic).length for topic in events.registry().topics)
        return in_log + sum(len(self.backbone.event_store(name).follow(0, 100_000)) for name in STORES)


@asynccontextmanager
async def all_apps(data: Path) -> AsyncIterator[AllApps]:
    """Run them."""
    backbone = MemoryBackbone()
    async with AsyncExitStack() as stack:
        apps = {name: module.create_app(Settings(data=data), backbone) for name, module in BOOTSTRAPS.items()}
        for app in apps.values():
            await stack.enter_async_context(app.router.lifespan_context(app))
        yield AllApps(apps, backbone)
