"""The systems that `benchmarks.live` measures: one broker, a sidecar for whoever publishes, and the readers in question."""

import asyncio
import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from benchmarks.live_apps import PROBE
from benchmarks.recorded import TOPIC
from sidestream.launcher.parts import APP_IS_HEALTHY
from sidestream.launcher.plan import Wishes
from sidestream.launcher.settings import LauncherSettings
from sidestream.launcher.system import System

_HOME: Final = Path(__file__).resolve().parent.parent
WRITER: Final = "writer"
READERS: Final = {
    "one projection": ("projection",),
    "three projections": ("projection",) * 3,
    "one projection, inbox": ("inbox",),
    "bare bulk subscriber": ("bare",),
    "textbook subscriber": ("textbook",),
    "nobody": (),
}
"""Who reads, by what each of its apps is."""


@asynccontextmanager
async def running(folder: Path, reader: str) -> AsyncIterator["Line"]:
    """Start broker, the writer's sidecar, and the apps of a reader, on free ports."""
    roles = {f"{role}-{number}": role for number, role in enumerate(READERS[reader], 1)}
    folder.mkdir(parents=True)
    run_file = folder / "dapr.yaml"
    run_file.write_text(yaml.safe_dump(_run_file(roles)))
    settings, wishes = LauncherSettings(broker=""), Wishes(leave_out=(WRITER,), free_ports=True, guarded=False)
    async with System.start(run_file, folder=folder / "system", wishes=wishes, settings=settings) as system:
        yield Line(system, roles)


def _run_file(roles: dict[str, str]) -> dict[str, Any]:
    common = {"configFilePath": str(_HOME / "components" / "configuration.yaml"), "logLevel": "warn"}
    apps = [_app(name, role, 10 * at + 1) for at, (name, role) in enumerate({WRITER: "nobody", **roles}.items())]
    return {"version": 1, "common": common, "apps": apps}


def _app(name: str, role: str, port: int) -> dict[str, Any]:
    ports = dict(zip(("appPort", "daprHTTPPort", "daprGRPCPort", "metricsPort"), range(port, port + 4), strict=True))
    resources = _HOME / "components" / ("inbox" if role == "inbox" else "")
    program = "projection" if role == "inbox" else role
    command = [sys.executable, "-m", "benchmarks.live_apps", program]
    environment = {"SIDESTREAM_FOLLOW": "inbox"} if role == "inbox" else {}
    return {"appID": name, "appDirPath": str(_HOME), "resourcesPath": str(resources), "command": command, "env": environment, **ports}


class Line:
    """A running system, and how far its readers are."""

    def __init__(self, system: System, roles: dict[str, str]) -> None:
        self.system = system
        self._roles = roles

    async def publish(self, how: str, count: int, rate: int, keys: int) -> dict[str, Any]:
        """Let a process of its own publish, and return what it tells."""
        words = (how, str(self.system[WRITER].entry.grpc_port), str(count), str(rate), str(keys))
        pipe = asyncio.subprocess.PIPE
        # the SDK asks there whether the sidecar is healthy, before it does anything
        environment = {**os.environ, "DAPR_HTTP_PORT": str(self.system[WRITER].entry.http_port)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.live_publishing", *words, stdout=pipe, stderr=pipe, cwd=_HOME, env=environment
        )
        out, err = await process.communicate()
        if process.returncode:
            raise SystemExit(f"publishing, {how}: {err.decode()[-2000:]}")
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found

    @property
    def port(self) -> int:
        """Where the broker is."""
        return self.system.broker.port

    async def stop_readers(self) -> None:
        """End apps and sidecars of the readers, so that events wait."""
        for name in self._roles:
            await self.system[name].sidecar.stop(1.0)
            await self.system[name].app.stop()

    async def start_readers(self) -> None:
        """Start them again."""
        for name in self._roles:
            await self.system[name].app.start()
            await self.system[name].app.ready(APP_IS_HEALTHY)
            await self.system[name].sidecar.start()

    async def seen(self) -> int:
        """Return how many events each reader has, the slowest one's."""
        counts = [await self._seen(name, role) for name, role in self._roles.items()]
        return min(counts)

    async def _seen(self, name: str, role: str) -> int:
        if role in {"projection", "inbox"}:
            return await asyncio.to_thread(applied, self.file(name))
        return int((await self.told(name))["events"])

    async def told(self, name: str) -> dict[str, Any]:
        """Ask a subscriber what it has seen."""
        async with httpx.AsyncClient(timeout=30) as door:
            found: dict[str, Any] = (await door.get(f"{self.system[name].url}/seen")).json()
            return found

    def file(self, name: str) -> Path:
        """Return where a projection keeps its read model."""
        return self.system.folder.data / "read-models" / name / "g1.sqlite"

    @property
    def projections(self) -> list[str]:
        """The names of the projections that read."""
        return [name for name, role in self._roles.items() if role in {"projection", "inbox"}]

    @property
    def subscribers(self) -> list[str]:
        """The names of the other readers."""
        return [name for name in self._roles if name not in self.projections]


def applied(file: Path) -> int:
    """Read by hand how many numbers a generation has counted on the topic."""
    if not file.exists():
        return 0
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        lines = database.execute("SELECT intervals FROM sidestream_counts WHERE topic = ?", (TOPIC,)).fetchall()
    return sum(_length(interval) for (line,) in lines for interval in line.split(",") if interval)


def _length(interval: str) -> int:
    first, _, last = interval.partition("-")
    return int(last or first) - int(first) + 1


class Watch:
    """Notes when each probe can be read in the read models of some projections, from outside, a thousand times a second."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._times: list[list[float]] = [[] for _ in files]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def visible(self) -> list[float]:
        """When each probe could be read in all of them."""
        return [max(times) for times in zip(*self._times, strict=False)]

    def _look(self) -> None:
        databases = [sqlite3.connect(f"file:{file}?mode=ro", uri=True) for file in self._files]
        before = [_probes(database) for database in databases]
        while not self._stop.is_set():
            for times, database, base in zip(self._times, databases, before, strict=True):
                more = _probes(database) - base - len(times)
                times.extend([time.monotonic()] * more)
            time.sleep(0.001)
        for database in databases:
            database.close()


def _probes(database: sqlite3.Connection) -> int:
    found = database.execute("SELECT payments FROM balance WHERE account = ?", (PROBE,)).fetchone()
    return found[0] if found else 0
