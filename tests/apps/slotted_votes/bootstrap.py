"""The votes service as it is, in a language where votes have slots: each slot is a topic of its own."""

from typing import Final

import msgspec
from fastapi import FastAPI

from events import votes
from services.votes.bootstrap import votes_app
from sidestream.backbone import Backbone
from sidestream.registry import Registry
from sidestream.settings import Settings

SLOTS: Final = 4
CATEGORY: Final = msgspec.structs.replace(votes.CATEGORY, slots=SLOTS)


def registry() -> Registry:
    return Registry([CATEGORY])


def create_app(settings: Settings, backbone: Backbone) -> FastAPI:
    return votes_app(registry(), settings, backbone)
