"""The ways in: one HTTP client for all apps, their addresses from the environment, patience, and clear errors."""

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

import httpx

_DEFAULTS: Final = {
    "votes": "http://127.0.0.1:8101",
    "assets": "http://127.0.0.1:8102",
    "bridge": "http://127.0.0.1:8103",
    "orders": "http://127.0.0.1:8104",
    "shipping": "http://127.0.0.1:8105",
    "tally": "http://127.0.0.1:8201",
    "asset_catalog": "http://127.0.0.1:8202",
    "activity": "http://127.0.0.1:8203",
    "order_book": "http://127.0.0.1:8204",
}
"""Where dapr.yaml puts the apps."""
_LATER: Final = frozenset({409, 503})
PATIENCE_SECONDS: Final = 30.0


class DemoFailed(Exception):
    """The demonstration cannot go on; the message says why."""


class Doors:
    """Asks the apps. Use as an async context manager."""

    def __init__(self, urls: Mapping[str, str], transport: Callable[[str], httpx.AsyncBaseTransport] | None = None) -> None:
        self.urls = urls
        mounts = {url: transport(app) for app, url in urls.items()} if transport else None
        self._client = httpx.AsyncClient(timeout=15, limits=httpx.Limits(max_connections=20), mounts=mounts)

    @classmethod
    def from_environment(cls) -> Self:
        """Take the addresses from SIDESTREAM_URL_<APP>, as `sidestream up` sets them."""
        return cls({app: os.environ.get(f"SIDESTREAM_URL_{app.upper()}", url).rstrip("/") for app, url in _DEFAULTS.items()})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._client.aclose()

    async def get(self, app: str, path: str, **params: Any) -> Any:
        """Return the JSON of an answer; raises DemoFailed."""
        return (await self.request("GET", app, path, params=params)).json()

    async def post(self, app: str, path: str, body: object, content_type: str = "application/json", key: str = "") -> httpx.Response:
        """Post JSON and return the answer; with a key a repeat is done once. Raises DemoFailed."""
        headers = {"content-type": content_type} | ({"idempotency-key": key} if key else {})
        return await self.request("POST", app, path, content=json.dumps(body), headers=headers)

    async def request(self, method: str, app: str, path: str, **arguments: Any) -> httpx.Response:
        """Ask, and ask again for a while where the answer is to come later.

        Raises:
            DemoFailed: the app is away, or refuses.
        """
        end = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while True:
            problem, response = "", None
            try:
                response = await self._client.request(method, self.urls[app] + path, **arguments)
            except httpx.HTTPError as error:
                problem = str(error) or type(error).__name__
            if response is not None and response.is_success:
                return response
            if response is not None:
                problem = _detail(response)
            may_try = response is None or response.status_code in _LATER
            if not may_try or asyncio.get_running_loop().time() > end:
                raise DemoFailed(f"{app}: {method} {self.urls[app]}{path}: {problem}")
            await asyncio.sleep(0.5)


def _detail(response: httpx.Response) -> str:
    try:
        return f"{response.status_code}: {response.json()['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code} {response.reason_phrase}"
