"""One app and its sidecar, each a process of its own that can be killed, paused and started again."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sidestream.launcher.network import LOOPBACK, status
from sidestream.launcher.problem import CannotStart
from sidestream.launcher.process import DeadlineMissed, LineSink, Process, Program
from sidestream.launcher.runfile import App
from sidestream.launcher.tokens import ASKED_BY_THE_SIDECAR

APP_IS_HEALTHY = ("/healthz", 200)
SIDECAR_IS_HEALTHY = ("/v1.0/healthz", 204)
# A sidecar whose app is not there yet serves the outbound half only.
SIDECAR_CAN_PUBLISH = ("/v1.0/healthz/outbound", 204)


class Part(Process):
    """A process that says by HTTP when it is ready."""

    def __init__(self, program: Program, port: int, on_line: LineSink, on_death: Callable[[Process], None] | None = None) -> None:
        super().__init__(program, on_line, on_death)
        self.port = port

    @property
    def url(self) -> str:
        """Return where this part answers."""
        return f"http://{LOOPBACK}:{self.port}"

    async def ready(self, health: tuple[str, int], seconds: float = 60.0, needs: Sequence[Process] = ()) -> None:
        """Wait until it is healthy, which it can become only while the parts it needs live.

        Raises:
            PartEnded: it, or a part it needs, ended instead.
            DeadlineMissed: it is still not healthy after so many seconds.
        """
        path, expected = health
        end = time.monotonic() + seconds
        while (found := await status(self.port, path)) != expected:
            for part in (self, *needs):
                if not part.alive:
                    raise PartEnded(part)
            if time.monotonic() > end:
                answer = "no answer" if found is None else f"status {found}"
                raise DeadlineMissed(f"{self.name}: expected {expected} from {self.url}{path} within {seconds:g} s, found {answer}")
            await asyncio.sleep(0.05)


class PartEnded(CannotStart):
    """A part ended while it was waited for."""

    def __init__(self, part: Process) -> None:
        words = next((line for line in reversed(part.last_lines) if line.strip()), "none")
        super().__init__(f"{part.name}: it {part.describe_end()} before it was healthy. Its last words: `{words.strip()}`.")


class Pair:
    """An app and its sidecar."""

    def __init__(self, entry: App, app: Part, sidecar: Part, *, left_out: bool) -> None:
        self.entry = entry
        self.app = app
        self.sidecar = sidecar
        # The app's own process is somebody else's: a debugger's, a test's.
        self.left_out = left_out

    @property
    def name(self) -> str:
        """Return the app id."""
        return self.entry.name

    @property
    def url(self) -> str:
        """Return where the app answers."""
        return self.app.url

    @property
    def sidecar_url(self) -> str:
        """Return where the sidecar's HTTP API answers."""
        return self.sidecar.url

    @property
    def api_token(self) -> str:
        """Return what the sidecar asks of its callers; empty where it asks nothing."""
        file = self.sidecar.program.secrets.get(ASKED_BY_THE_SIDECAR)
        return file.read_text(encoding="utf-8") if file else ""

    async def ready(self, seconds: float = 60.0) -> None:
        """Wait until both are healthy, after a start or after one of them was killed and started again."""
        if self.left_out:
            await self.sidecar.ready(SIDECAR_CAN_PUBLISH, seconds)
            return
        await self.app.ready(APP_IS_HEALTHY, seconds)
        await self.sidecar.ready(SIDECAR_IS_HEALTHY, seconds, needs=[self.app])


def app_program(entry: App, components: Path, more: Mapping[str, str], tokens: Mapping[str, Path]) -> Program:
    """Return how to start an app: the usual variables of Dapr, where things lie, and what dapr.yaml adds."""
    environment = {
        "APP_ID": entry.name,
        "APP_PORT": str(entry.port),
        "APP_PROTOCOL": entry.protocol,
        "DAPR_HTTP_PORT": str(entry.http_port),
        "DAPR_GRPC_PORT": str(entry.grpc_port),
        "DAPR_METRICS_PORT": str(entry.metrics_port),
        "SIDESTREAM_COMPONENTS": str(components),
        **entry.environment,
        **more,
    }
    return Program(entry.name, entry.command, entry.folder, environment, secrets=tokens)


def sidecar_program(
    entry: App, daprd: Path, folder: Path, resources: Sequence[Path], internal_port: int, *, tokens: Mapping[str, Path]
) -> Program:
    """Return how to start an app's daprd: the flags of Dapr's CLI, on loopback only, without placement and scheduler."""
    command = [
        str(daprd),
        *("--app-id", entry.name),
        *("--app-port", str(entry.port)),
        *("--app-protocol", entry.protocol),
        *("--dapr-http-port", str(entry.http_port)),
        *("--dapr-grpc-port", str(entry.grpc_port)),
        *("--dapr-internal-grpc-port", str(internal_port)),
        *("--dapr-internal-grpc-listen-address", LOOPBACK),
        *("--dapr-listen-addresses", LOOPBACK),
        *("--metrics-port", str(entry.metrics_port)),
        *("--metrics-listen-address", LOOPBACK),
        *("--config", str(entry.config)),
        *("--log-level", entry.log_level),
        *(word for path in resources for word in ("--resources-path", str(path))),
    ]
    return Program(f"{entry.name}/daprd", command, folder, {}, secrets=tokens)
