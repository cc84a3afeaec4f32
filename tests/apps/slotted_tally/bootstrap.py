"""The tally as it is, over the topics of every slot."""

from fastapi import FastAPI

from projections.tally.api import router
from projections.tally.projection import Tally
from sidestream.backbone import Backbone
from sidestream.projection import Projection
from sidestream.registry import Registry
from sidestream.settings import Settings
from sidestream.web.projections import projection_app
from tests.apps.slotted_votes import bootstrap as slotted


class SlottedTally(Tally):
    topics = slotted.CATEGORY.topics


def projection() -> Projection:
    return SlottedTally()


def registry() -> Registry:
    return slotted.registry()


def create_app(settings: Settings, backbone: Backbone) -> FastAPI:
    return projection_app(projection(), registry(), settings, backbone, router)
