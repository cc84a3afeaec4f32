"""What an app says of its events: `GET /language`, the catalogue it was built with, and `GET /asyncapi.json`, its part in it."""

from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import FastAPI

from sidestream.registry import Registry
from sidestream.schema.asyncapi import document
from sidestream.schema.catalogue import Reader, describe
from sidestream.settings import Settings
from sidestream.web.version import VERSION


def answer_language(app: FastAPI, registry: Registry, settings: Settings, readers: Sequence[Reader] = ()) -> None:
    """Add the two routes.

    Args:
        app: its title is the name by which it owns its sources, `votes` for `/services/votes`.
        registry: the language.
        settings: of the app.
        readers: what it reads, under its title.
    """

    @app.get("/language", tags=["language"], summary="Every event: its category, topic, version and JSON Schema")
    def language() -> dict[str, Any]:
        found: dict[str, Any] = msgspec.to_builtins(describe(registry, readers=readers))
        return found

    @app.get("/asyncapi.json", tags=["language"], summary="What this app sends and receives, as an AsyncAPI 3 document")
    def asyncapi() -> dict[str, Any]:
        return document(describe(registry, readers=readers), title=app.title, version=VERSION, pubsub=settings.pubsub, app=app.title)
