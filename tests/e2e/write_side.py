"""A service's app over the memory backbone: requests through HTTP, and what reached the log."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
from fastapi import FastAPI

from sidestream.adapters.memory_log import MemoryLog
from sidestream.backbone import Backbone, MemoryBackbone
from sidestream.event import Envelope, decode_event
from sidestream.ports import Publisher
from sidestream.settings import Settings
from tests.waiting import until

CreateApp = Callable[[Settings, Backbone], FastAPI]


class Backstage(MemoryBackbone):
    """The memory backbone, with another publisher where a test brings one."""

    def __init__(self, publisher: Publisher | None = None) -> None:
        super().__init__()
        self._publisher = publisher

    def publisher(self) -> Publisher:
        """Return the test's publisher, or the usual one."""
        return self._publisher or super().publisher()


class WriteSide:
    """What a test does to the app: ask, and look at what came of it."""

    def __init__(self, client: httpx.AsyncClient, backbone: Backbone) -> None:
        self.client = client
        self.backbone = backbone

    def log(self, topic: str) -> list[Envelope]:
        """Return every event of a topic as it stands in the log."""
        return [decode_event(wire) for wire in self.wires(topic)]

    def wires(self, topic: str) -> list[bytes]:
        """Return the bytes of every entry of a topic."""
        log = self.backbone.log()
        assert isinstance(log, MemoryLog)
        return [entry.data for entry in log.read(topic, None, 1_000_000)]

    async def logged(self, topic: str, count: int) -> list[Envelope]:
        """Wait until so many events stand in the log, and return them."""
        await until(lambda: len(self.wires(topic)) >= count, what=lambda: f"{count} events on {topic}, found {len(self.wires(topic))}")
        return self.log(topic)

    async def refused(self, method: str, path: str, *, status: int, **arguments: Any) -> dict[str, Any]:
        """Ask for something that must be refused with this status, and return the problem."""
        answer = await self.client.request(method, path, **arguments)
        assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
        assert answer.headers["content-type"] == "application/problem+json"
        problem: dict[str, Any] = msgspec.json.decode(answer.content)
        assert problem["status"] == status
        assert problem["detail"]
        return problem


@asynccontextmanager
async def writing(
    create_app: CreateApp, data: Path, backbone: MemoryBackbone | None = None, *, sweep_seconds: float = 60.0
) -> AsyncIterator[WriteSide]:
    """Run the app."""
    backbone = backbone or MemoryBackbone()
    app = create_app(Settings(data=data, sweep_seconds=sweep_seconds), backbone)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        yield WriteSide(client, backbone)
