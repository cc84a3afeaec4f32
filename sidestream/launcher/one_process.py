"""`sidestream up --memory`: every app of dapr.yaml in this one process, on the memory adapters.

No sidecar, no broker, nothing on disk. An app is found by the module name after `-m` in its command: its `bootstrap`
holds `create_app(settings, backbone)`.
"""

import asyncio
import contextlib
import importlib
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from sidestream.backbone import Backbone, MemoryBackbone
from sidestream.launcher.interruption import Interruption
from sidestream.launcher.network import LOOPBACK
from sidestream.launcher.plan import check_ports, choose_apps
from sidestream.launcher.problem import CannotStart
from sidestream.launcher.run import Address, Session, after_start, announce
from sidestream.launcher.runfile import App
from sidestream.settings import Settings
from sidestream.web.logs import log_to_stderr

CreateApp = Callable[[Settings, Backbone], Any]


@dataclass(frozen=True)
class InProcessApp:
    """One app that answers on a port of this process."""

    entry: App
    server: uvicorn.Server

    @property
    def address(self) -> Address:
        """Return where it answers."""
        return Address(self.entry.name, f"http://{LOOPBACK}:{self.entry.port}")


class _Server(uvicorn.Server):
    """A server among others in one process: signals are the launcher's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def run(session: Session) -> int:
    """Serve every app until a signal; return 0, or 1 when the command given with --then failed."""
    code = 0
    log_to_stderr()
    with Interruption():
        async with serving(choose_apps(session.run_file, session.wishes)) as apps:
            addresses = [app.address for app in apps]
            announce(addresses, session)
            code = await after_start(session, addresses)
            await asyncio.Event().wait()
    session.console.print("Stopped.")
    return int(bool(code))


@asynccontextmanager
async def serving(entries: Sequence[App]) -> AsyncIterator[list[InProcessApp]]:
    """Serve the apps on one shared backbone; stop them at the end of the block.

    Raises:
        CannotStart: a port is taken, an app cannot be found, or it fails at start.
    """
    check_ports(entries)
    backbone = MemoryBackbone()
    apps = [InProcessApp(entry, _server(entry, backbone)) for entry in entries]
    tasks = [asyncio.create_task(_serve(app), name=app.entry.name) for app in apps]
    try:
        await _all_started(apps, tasks)
        yield apps
    finally:
        for app in apps:
            app.server.should_exit = True
        await asyncio.gather(*tasks, return_exceptions=True)


def _server(entry: App, backbone: Backbone) -> uvicorn.Server:
    # What dapr.yaml gives this app by its environment, given here by hand: the process is shared.
    given: dict[str, Any] = {**entry.environment, "APP_ID": entry.name, "APP_PORT": entry.port}
    app = _factory(entry)(Settings(**given), backbone)
    return _Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5))


def _factory(entry: App) -> CreateApp:
    name = f"{entry.module}.bootstrap"
    # As `python -m` does in the app's folder.
    if str(entry.folder) not in sys.path:
        sys.path.insert(0, str(entry.folder))
    try:
        create_app: CreateApp = importlib.import_module(name).create_app
    except ModuleNotFoundError as problem:
        if not f"{name}.".startswith(f"{problem.name}."):
            said = f"app {entry.name}: {name} cannot be imported: {problem}. Add what is missing, or correct the import."
            raise CannotStart(said) from problem
        raise CannotStart(
            f"app {entry.name}: expected a module {name} beside its command, found none ({problem}). "
            "Start in the folder of dapr.yaml, or correct the command there."
        ) from problem
    except AttributeError as problem:
        raise CannotStart(f"app {entry.name}: expected create_app(settings, backbone) in {name}, found none. Add it.") from problem
    return create_app


async def _serve(app: InProcessApp) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, app.entry.port))
        await app.server.serve(sockets=[listener])


async def _all_started(apps: Sequence[InProcessApp], tasks: Sequence["asyncio.Task[None]"]) -> None:
    while not all(app.server.started for app in apps):
        for app, task in zip(apps, tasks, strict=True):
            # uvicorn reports a failed start by leaving without having started.
            if task.done() and not app.server.started:
                raise CannotStart(f"app {app.entry.name}: it failed at start; the lines above say why.")
        await asyncio.sleep(0.01)
