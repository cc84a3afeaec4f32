"""Composition root of the order book: the one place that puts rule, language and adapters together."""

from fastapi import FastAPI

import events
from projections.order_book.api import router
from projections.order_book.projection import OrderBook
from sidestream.backbone import Backbone
from sidestream.projection import Projection
from sidestream.registry import Registry
from sidestream.settings import Settings
from sidestream.web.projections import projection_app


def projection() -> Projection:
    """Return the rule."""
    return OrderBook()


def registry() -> Registry:
    """Return the language it is written in."""
    return events.registry()


def create_app(settings: Settings, backbone: Backbone) -> FastAPI:
    """Build the app on this backbone."""
    return projection_app(projection(), registry(), settings, backbone, router)
