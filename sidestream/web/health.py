"""What whoever operates an app asks of it: /healthz (the process is up), /readyz (it can do its work), /metrics.

A check that fails makes /readyz say no. A note does not: it is what somebody should look at although the work goes on.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from sidestream.errors import SidestreamError
from sidestream.web.problems import problem

Check = Callable[[], object]
"""Returns when all is well and raises a SidestreamError when it is not. Called in a thread; it may wait."""

Note = Callable[[], str]
"""Returns what somebody should look at, empty where there is nothing. Called on the event loop; it never waits."""

CHECK_SECONDS: Final = 2.0


def answer_health(app: FastAPI, checks: Mapping[str, Check], metrics: CollectorRegistry, seconds: float = CHECK_SECONDS) -> None:
    """Add the three routes; a check that takes longer than so many seconds has failed. Notes are added to `app.state.notes`."""
    notes: dict[str, Note] = {}
    app.state.notes = notes

    async def healthz(_: Request) -> Response:
        return Response(b'{"status":"up"}', media_type="application/json")

    async def readyz(_: Request) -> Response:
        found = await asyncio.gather(*(_reason_against(check, seconds) for check in checks.values()))
        against = {name: reason for name, reason in zip(checks, found, strict=True) if reason}
        noted = _noted(notes)
        if against:
            return problem(503, "Not ready: " + "; ".join(against.values()), code="not-ready", checks=against, **noted)
        return Response(msgspec.json.encode({"status": "ready", "checks": list(checks), **noted}), media_type="application/json")

    async def prometheus(_: Request) -> Response:
        return Response(generate_latest(metrics), headers={"content-type": CONTENT_TYPE_LATEST})

    for path, answer in (("/healthz", healthz), ("/readyz", readyz), ("/metrics", prometheus)):
        app.add_route(path, answer, methods=["GET"], include_in_schema=False)


def _noted(notes: Mapping[str, Note]) -> dict[str, dict[str, str]]:
    said = {name: text for name, note in notes.items() if (text := note())}
    return {"notes": said} if said else {}


async def _reason_against(check: Check, seconds: float) -> str:
    try:
        await asyncio.wait_for(run_in_threadpool(check), seconds)
    except SidestreamError as error:
        return str(error)
    except TimeoutError:
        return f"no answer within {seconds:g} s"
    return ""
