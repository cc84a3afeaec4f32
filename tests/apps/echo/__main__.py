"""Runs the tiny app as a process of its own; with ECHO_CHILD set, with a child that would outlive it."""

import os
import subprocess

import uvicorn

from sidestream.backbone import MemoryBackbone
from sidestream.settings import Settings
from tests.apps.echo.bootstrap import create_app

settings = Settings()
if os.environ.get("ECHO_CHILD"):
    subprocess.Popen(["sleep", "600"])
uvicorn.run(create_app(settings, MemoryBackbone()), host="127.0.0.1", port=settings.app_port, log_level="warning")
