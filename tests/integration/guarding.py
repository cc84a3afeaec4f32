"""A guarded system for tests: its own copy of the components with changes, sidecars of apps that are nobody's, and calls with a token."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from sidestream.adapters.dapr_publisher import DaprPublisher
from sidestream.launcher.network import free_ports
from sidestream.launcher.parts import SIDECAR_CAN_PUBLISH, Pair, Part, sidecar_program
from sidestream.launcher.plan import find_daprd
from sidestream.launcher.system import System
from sidestream.ports import Outgoing
from tests.parts import REPOSITORY

RUN_FILE = REPOSITORY / "tests" / "apps" / "guarded.yaml"
TOKEN = "dapr-api-token"
EVENT = {"specversion": "1.0", "id": "1", "source": "/stranger", "type": "till.opened"}
CLOUDEVENT = "application/cloudevents+json"


def components_with(folder: Path, *, scopes: tuple[str, ...] = (), **permissions: str) -> Path:
    """Copy the run file and the components in force, with other topic permissions and more apps in their scopes."""
    (folder / "components").mkdir(parents=True)
    for file in (REPOSITORY / "components").glob("*.yaml"):
        document = yaml.safe_load(file.read_text())
        document["scopes"] = [*document["scopes"], *scopes] if "scopes" in document else None
        for item in document["spec"].get("metadata", ()):
            item["value"] = permissions.get(item["name"], item.get("value"))
        kept = {key: value for key, value in document.items() if value is not None}
        (folder / "components" / file.name).write_text(yaml.safe_dump(_without_nothing(kept)))
    text = RUN_FILE.read_text().replace("resourcesPath: ../../components", f"resourcesPath: {folder / 'components'}")
    (folder / "dapr.yaml").write_text(text.replace("../..", str(REPOSITORY)))
    return folder / "dapr.yaml"


def _without_nothing(document: dict[str, Any]) -> dict[str, Any]:
    for item in document["spec"].get("metadata", ()):
        if item.get("value") is None:
            item.pop("value", None)
    return document


@asynccontextmanager
async def sidecar_of(system: System, app: str) -> AsyncIterator[Part]:
    """A sidecar of an app that dapr.yaml does not list, on the system's components."""
    entry = system["votes"].entry
    names = ("port", "http_port", "grpc_port", "metrics_port")
    *ports, internal = free_ports(5)
    entry = entry.model_copy(update={"name": app, **dict(zip(names, ports, strict=True))})
    program = sidecar_program(entry, find_daprd(REPOSITORY).path, REPOSITORY, [system.folder.resources / "0"], internal, tokens={})
    part = Part(program, entry.http_port, system.log.sink(app, program.name))
    try:
        await part.start()
        await part.ready(SIDECAR_CAN_PUBLISH)
        yield part
    finally:
        await part.stop()


async def publish(url: str, topic: str, token: str = "") -> httpx.Response:
    """Publish one event by HTTP."""
    headers = {"content-type": CLOUDEVENT} | ({TOKEN: token} if token else {})
    async with httpx.AsyncClient(timeout=20) as client:
        return await client.post(f"{url}/v1.0/publish/pubsub/{topic}", json=EVENT, headers=headers)


async def publish_in_bulk(url: str, topic: str, token: str = "") -> httpx.Response:
    """Publish one event by HTTP in bulk."""
    entries = [{"entryId": "1", "event": EVENT, "contentType": CLOUDEVENT}]
    async with httpx.AsyncClient(timeout=20) as client:
        return await client.post(f"{url}/v1.0/publish/bulk/pubsub/{topic}", json=entries, headers={TOKEN: token} if token else {})


async def publish_by_grpc(pair: Pair, topic: str, token: str) -> Mapping[int, str]:
    """Publish one event as the apps do; return why it was not taken."""
    publisher = DaprPublisher("pubsub", pair.entry.grpc_port, token)
    try:
        return await publisher.publish(topic, [Outgoing(b'{"specversion":"1.0","id":"1","source":"/stranger","type":"t"}', "", "1")])
    finally:
        await publisher.close()
