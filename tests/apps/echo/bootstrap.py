"""Builds the tiny app as every real one is built."""

import os

from fastapi import FastAPI

from sidestream.backbone import Backbone
from sidestream.settings import Settings


def create_app(settings: Settings, backbone: Backbone) -> FastAPI:
    app = FastAPI()

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/told")
    def told() -> dict[str, str]:
        return {"app_id": settings.app_id, "backbone": str(id(backbone)), "greeting": os.environ.get("GREETING", "")}

    return app
