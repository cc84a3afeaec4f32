"""A second replica of an app as an orchestrator would start it: a process and a sidecar of its own, under the same app id."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from sidestream.launcher.network import free_ports
from sidestream.launcher.parts import SIDECAR_IS_HEALTHY, Part
from sidestream.launcher.system import System
from tests.parts import replica_of


@dataclass(frozen=True)
class Replica:
    """A process and its sidecar."""

    app: Part
    sidecar: Part


@asynccontextmanager
async def beside(system: System, name: str) -> AsyncIterator[Replica]:
    """Start it beside the first; at the end of the block it is gone for good, at once."""
    async with replica_of(system, name) as app:
        sidecar = _sidecar_of(app, system, name)
        await sidecar.start()
        try:
            await sidecar.ready(SIDECAR_IS_HEALTHY, needs=[app])
            yield Replica(app, sidecar)
        finally:
            await sidecar.kill()
            await app.kill()


def _sidecar_of(app: Part, system: System, name: str) -> Part:
    """The first one's flags, with ports of its own."""
    first = system[name].sidecar.program
    http, grpc, internal, metrics = free_ports(4)
    flags = {"--app-port": app.port, "--dapr-http-port": http, "--dapr-grpc-port": grpc}
    flags |= {"--dapr-internal-grpc-port": internal, "--metrics-port": metrics}
    command = list(first.command)
    for flag, port in flags.items():
        command[command.index(flag) + 1] = str(port)
    program = replace(first, name=f"{first.name}/2", command=command)
    return Part(program, http, system.log.sink(name, program.name))
