"""POST /deposits {account, request, cents}: appended to the account's stream; sent again it is the same deposit."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from fastapi import FastAPI, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from sidestream.backbone import Backbone
from sidestream.identifiers import now
from sidestream.ports import Append
from sidestream.publishing.relay import Relay
from sidestream.settings import Settings
from sidestream.web.app import new_app
from tests.apps.bank.language import Deposited, registry

STORE = "bank"


class Deposit(BaseModel):
    account: str
    request: str
    cents: int


def create_app(settings: Settings, backbone: Backbone) -> FastAPI:
    language = registry()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        store = backbone.event_store(STORE)
        publisher = backbone.publisher()
        async with Relay(store, publisher, sweep_seconds=settings.sweep_seconds) as relay:
            app.state.store, app.state.ring = store, relay.ring
            yield
        await publisher.close()
        store.close()

    app = new_app("bank", settings, description="Deposits.", lifespan=lifespan)

    @app.post("/deposits", status_code=202)
    async def deposit(order: Deposit, request: Request) -> dict[str, int]:
        stream = f"account-{order.account}"
        event = language.new_event(Deposited(order.request, order.cents), id=order.request, subject=stream, time=now())
        # the same request is the same deposit, whichever version of the language it was first written in
        event = msgspec.structs.replace(event, fingerprint=f"{order.account} {order.request} {order.cents}".encode())
        (stored,) = await run_in_threadpool(request.app.state.store.append, [Append(stream, (event,))])
        request.app.state.ring()
        return {"version": stored.version}

    return app
