"""Ways to another app's HTTP doors: through the sidecar's service invocation, or within this process.

Both are an httpx client whose relative paths are those of the other app. What goes wrong on the way is an httpx.HTTPError.
"""

from collections.abc import Mapping
from typing import Final

import httpx
from starlette.types import ASGIApp

SECONDS: Final = 10.0
"""How long an answer may take before the caller asks again."""


def through_sidecar(http_port: int, api_token: str, target: str) -> httpx.AsyncClient:
    """Return a client that asks the sidecar beside this app to invoke another one.

    Args:
        http_port: where the sidecar answers, on loopback.
        api_token: what the sidecar asks of us; empty: nothing.
        target: the other app's id, or the address it answers at where the sidecar resolves no names.
    """
    headers = {"dapr-api-token": api_token} if api_token else {}
    base = f"http://127.0.0.1:{http_port}/v1.0/invoke/{target}/method"
    return httpx.AsyncClient(base_url=base, headers=headers, timeout=SECONDS, trust_env=False)


def in_this_process(apps: Mapping[str, ASGIApp], name: str) -> httpx.AsyncClient:
    """Return a client that calls an app of this process; until it is there, nobody answers."""
    return httpx.AsyncClient(base_url=f"http://{name}", transport=_InProcess(apps, name), timeout=SECONDS)


class _InProcess(httpx.AsyncBaseTransport):
    """Looks the app up when it is called: apps are made in any order."""

    def __init__(self, apps: Mapping[str, ASGIApp], name: str) -> None:
        self._apps = apps
        self._name = name

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Hand the request to the app."""
        app = self._apps.get(self._name)
        if app is None:
            raise httpx.ConnectError(f"{self._name}: there is no such app in this process", request=request)
        return await httpx.ASGITransport(app, raise_app_exceptions=False).handle_async_request(request)
