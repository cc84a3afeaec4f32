"""Starts real parts for tests: a broker, a sidecar, a whole system, each on free ports and in a folder of its own."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import yaml

from sidestream.launcher.broker import Broker
from sidestream.launcher.network import free_ports
from sidestream.launcher.parts import APP_IS_HEALTHY, Part
from sidestream.launcher.plan import Wishes
from sidestream.launcher.process import Program
from sidestream.launcher.settings import LauncherSettings
from sidestream.launcher.system import System

REPOSITORY = Path(__file__).resolve().parent.parent
TWO_APPS = REPOSITORY / "tests" / "apps" / "dapr.yaml"


@asynccontextmanager
async def running_broker(folder: Path) -> AsyncIterator[Broker]:
    """An embedded broker with its append-only file below `folder`; kill, pause and start it as you like."""
    broker = Broker.prepare(folder, "always", on_line=lambda line: None)
    try:
        await broker.start()
        await broker.ready()
        yield broker
    finally:
        await broker.stop()


@asynccontextmanager
async def running_system(
    folder: Path,
    run_file: Path = TWO_APPS,
    *,
    leave_out: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
    guarded: bool = True,
    tokens: Literal["on", "off"] = "on",
) -> AsyncIterator[System]:
    """Everything in a run file, healthy, on free ports, as strictly as it can be; unguarded where a test publishes as anybody."""
    wishes = Wishes(leave_out=leave_out, free_ports=True, environment=environment or {}, guarded=guarded)
    # Never somebody else's broker, whatever the environment names.
    settings = LauncherSettings(broker="", tokens=tokens)
    async with System.start(run_file, folder=folder, wishes=wishes, settings=settings) as system:
        yield system


@asynccontextmanager
async def running_sidecar(folder: Path, app: str = "tested") -> AsyncIterator[System]:
    """One broker and one daprd for an app that the test itself is; it may listen on `system[app].entry.port`."""
    entry = {"appID": app, "appDirPath": str(REPOSITORY), "command": ["true"], "appPort": 1, "daprHTTPPort": 2, "daprGRPCPort": 3}
    common = {"resourcesPath": str(REPOSITORY / "components"), "configFilePath": str(REPOSITORY / "components" / "configuration.yaml")}
    folder.mkdir(parents=True, exist_ok=True)
    run_file = folder / "dapr.yaml"
    run_file.write_text(yaml.safe_dump({"version": 1, "common": common, "apps": [{**entry, "metricsPort": 4}]}))
    async with running_system(folder, run_file, leave_out=(app,), guarded=False) as system:
        yield system


@asynccontextmanager
async def replica_of(system: System, app: str, environment: Mapping[str, str] | None = None) -> AsyncIterator[Part]:
    """A second process of an app, as somebody starts it by hand: the same environment and sidecar, another port; nobody rings it."""
    first, port = system[app].app.program, free_ports(1)[0]
    own = {**first.environment, "APP_PORT": str(port), **(environment or {})}
    program = Program(f"{app}/2", first.command, first.folder, own, secrets=first.secrets)
    part = Part(program, port, system.log.sink(app, program.name))
    try:
        await part.start()
        await part.ready(APP_IS_HEALTHY)
        yield part
    finally:
        await part.stop()
