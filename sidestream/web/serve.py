"""Runs one app in this process: `python -m services.votes` calls `serve(create_app)` and nothing else.

Exit code 0 after SIGTERM or SIGINT, 2 when the settings, the YAML or the port make a start impossible.
"""

import contextlib
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI
from prometheus_client import disable_created_metrics

from sidestream.backbone import Backbone, connect
from sidestream.errors import ConfigurationError
from sidestream.settings import Settings
from sidestream.web.logs import log_to_stderr

CreateApp = Callable[[Settings, Backbone], FastAPI]
"""What every `bootstrap.py` has: builds the app; connects to nothing before its lifespan begins."""

GRACE_SECONDS: Final = 5
"""How long requests in flight may take after a signal to stop."""
_BACKLOG: Final = 2048


def serve(create_app: CreateApp) -> None:
    """Serve the app that `create_app` builds until a signal stops it."""
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, _leave)
    log_to_stderr()
    disable_created_metrics()  # type: ignore[no-untyped-call]
    settings = Settings()
    try:
        app = create_app(settings, connect(settings))
        listener = _bind(settings.host, settings.app_port)
    except ConfigurationError as error:
        print(f"{settings.app_id}: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    with contextlib.closing(listener):
        _server(app).run(sockets=[listener])


def _leave(_signal: int, _frame: FrameType | None) -> None:
    """Leave quietly. uvicorn takes the signals while it serves, and hands them back here when it is done."""
    raise SystemExit(0)


def _bind(host: str, port: int) -> socket.socket:
    """Take the port, before anything is started. Nobody can connect before the app is ready: it does not listen yet.

    Raises:
        ConfigurationError: the port is in use, or the address is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"expected to listen on {host}:{port}, found: {error.strerror or error}. "
            "End what listens there, or choose another APP_PORT or SIDESTREAM_HOST."
        ) from None
    return listener


def _server(app: FastAPI) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # the metrics count requests; a line for each would be most of the log
        server_header=False,
        backlog=_BACKLOG,
        lifespan="on",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return uvicorn.Server(config)
