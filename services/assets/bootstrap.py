"""The composition root of the assets service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from events import registry
from services.assets.api import AssetsDesk, router
from services.assets.exclusion import FileScanLock, MemoryScanLock, ScanLock
from services.assets.ledger import Ledger
from services.assets.recording import Recorder
from services.assets.roots import AllowedRoots, RootSettings
from services.assets.scanning import Scanner
from services.assets.tagging import ASSET
from sidestream.backbone import Backbone, MemoryBackbone
from sidestream.errors import UnreadableEvent
from sidestream.identifiers import new_id, now
from sidestream.settings import Settings
from sidestream.web.app import new_app
from sidestream.web.commands import Commands
from sidestream.web.relay import tell_relay
from sidestream.writing.parts import Writing, writing
from sidestream.writing.repository import Repository

NAME = STORE = "assets"

log_line = structlog.get_logger()


def create_app(settings: Settings, backbone: Backbone) -> FastAPI:
    """Return the app; its store, relay and scanner live from the first request to the last."""
    roots = AllowedRoots.from_settings(RootSettings())
    running: list[Writing] = []
    ledgers: list[Ledger] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        language = registry()
        async with writing(backbone, STORE, language.topics, settings) as parts:
            store, ring = parts.store, parts.relay.ring
            running[:] = [parts]
            app.state.relay = parts.relay
            ledger = Ledger(store, language)
            scanner = Scanner(Recorder(store, language, ring), ledger, _scan_lock(settings, backbone))
            await run_in_threadpool(_close_interrupted, scanner)
            ledgers[:] = [ledger]
            assets = Repository(ASSET, store, language, ring=ring, new_id=new_id, now=now)
            app.state.desk = AssetsDesk(roots, scanner, ledger, assets, Commands(store))
            yield
            await run_in_threadpool(scanner.stop)

    def can_accept() -> None:
        for parts in running:
            parts.check()

    def can_answer() -> None:
        for ledger in ledgers:
            ledger.check()

    app = new_app(
        NAME,
        settings,
        description="Scans directories and tells what has happened to their files; gives tags to them.",
        lifespan=lifespan,
        checks={"event store": can_accept, "inventory": can_answer},
        language=registry(),
    )
    tell_relay(app, STORE)
    app.include_router(router)
    return app


def _close_interrupted(scanner: Scanner) -> None:
    """An event that this program does not understand keeps no service from starting: its relay has events to publish, and
    whoever asks for what needs the inventory is told (`/readyz` too). The next scan closes what is left open here.
    """
    try:
        scanner.close_interrupted()
    except UnreadableEvent as error:
        log_line.warning("interrupted scans not closed yet", problem=str(error))


def _scan_lock(settings: Settings, backbone: Backbone) -> ScanLock:
    """Exclude whoever shares the store: other processes, or only the threads of this one."""
    if isinstance(backbone, MemoryBackbone):
        return MemoryScanLock()
    return FileScanLock(settings.data / "stores" / f"{NAME}.scan.lock")
