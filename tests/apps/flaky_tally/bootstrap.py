"""The tally, but its rule raises one time in twenty: dice, not a property of the event, so that a retry may succeed."""

import random
from typing import Final

from fastapi import FastAPI

from projections.tally.api import router
from projections.tally.bootstrap import registry
from projections.tally.projection import Tally
from sidestream.backbone import Backbone
from sidestream.event import Envelope
from sidestream.projection import Projection, Rows
from sidestream.settings import Settings
from sidestream.web.projections import projection_app

ONE_IN: Final = 20


class FlakyTally(Tally):
    """Does its work and then raises, so that what it wrote must be undone."""

    def __init__(self) -> None:
        self._dice = random.Random()

    def evolve(self, rows: Rows, event: object, envelope: Envelope) -> None:
        super().evolve(rows, event, envelope)  # type: ignore[arg-type] # the tally handles votes only
        if self._dice.randrange(ONE_IN) == 0:
            raise RuntimeError("the dice said so")


def projection() -> Projection:
    return FlakyTally()


def create_app(settings: Settings, backbone: Backbone) -> FastAPI:
    return projection_app(FlakyTally(), registry(), settings, backbone, router)
