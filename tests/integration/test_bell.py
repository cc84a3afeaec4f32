"""A real daprd rings: every event it delivers, in bulk, and none comes twice because of our answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import httpx
import uvicorn
from fastapi import FastAPI

from sidestream.adapters.redis_log import RedisAddress, RedisLog
from sidestream.launcher.system import System
from sidestream.settings import Settings
from sidestream.web.app import new_app
from sidestream.web.bell import subscribe
from tests.waiting import until

EVENTS = 500


@asynccontextmanager
async def served(app: FastAPI, port: int) -> AsyncIterator[None]:
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, lifespan="on"))
    task = asyncio.create_task(server.serve())
    try:
        yield
    finally:
        server.should_exit = True
        await task


async def test_a_real_sidecar_rings_and_takes_our_answer(sidecar: System) -> None:
    entry = sidecar["tested"].entry
    rung: list[str] = []
    app = new_app("tested", Settings(app_id="tested"))
    subscribe(app, "pubsub", ["probe.0"], rung.append)
    async with served(app, entry.port), httpx.AsyncClient(base_url=f"http://127.0.0.1:{entry.http_port}", timeout=30) as client:
        await until(lambda: "probe.0" in subscribed(entry.http_port), 30)
        bulk = [{"entryId": str(at), "event": an_event(at), "contentType": "application/cloudevents+json"} for at in range(EVENTS)]
        answer = await client.post("/v1.0/publish/bulk/pubsub/probe.0", json=bulk)
        assert answer.status_code in {200, 204}, answer.text
        await until(lambda: len(rung) > 0)
        await until(lambda: answered(app) == len(rung))
    assert set(rung) == {"probe.0"}
    with closing(RedisLog(RedisAddress(host="127.0.0.1", port=sidecar.broker.port))) as log:
        assert len(log.read("probe.0", None, 1000)) == EVENTS


def answered(app: FastAPI) -> float | None:
    labels = {"method": "POST", "route": "/bell/probe.0", "status": "200"}
    found: float | None = app.state.metrics.get_sample_value("sidestream_http_requests_total", labels)
    return found


def subscribed(port: int) -> str:
    return httpx.get(f"http://127.0.0.1:{port}/v1.0/metadata", timeout=30).text


def an_event(number: int) -> dict[str, object]:
    return {"specversion": "1.0", "id": str(number), "source": "/test", "type": "tested", "data": {"n": number}}
