"""A Valkey that asks who logs in, and a run file whose components say it: by secrets, never in the YAML."""

import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import redis
import yaml
from rich.console import Console

from sidestream.launcher.broker import _server
from sidestream.launcher.folder import SystemFolder
from sidestream.launcher.network import LOOPBACK, free_ports
from sidestream.launcher.plan import Wishes
from sidestream.launcher.settings import LauncherSettings
from sidestream.launcher.system import System
from tests.brokers.waiting import wait_until
from tests.integration.guarding import RUN_FILE
from tests.parts import REPOSITORY
from tests.waiting import until

VOTE: Final = {"poll": "pets", "option": "cats", "voter": "ann"}

PASSWORD: Final = "pass-w0rd-of-the-broker"
USER, USERS_PASSWORD = "sidestream", "pass-w0rd-of-the-user"
_CONFIGURATION: Final = """\
bind {host}
port {port}
dir "{folder}"
appendonly yes
appendfsync always
save ""
requirepass {password}
user {user} on >{users_password} ~* &* +@all -@admin -config
"""

_PORTS: Final = ("appPort", "daprHTTPPort", "daprGRPCPort", "metricsPort")

Items = list[dict[str, Any]]


class ProtectedValkey:
    """One that keeps what it confirms; its user may do everything but administer it and ask for its configuration."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (self.port,) = free_ports(1)
        values = {"folder": folder, "password": PASSWORD, "user": USER, "users_password": USERS_PASSWORD}
        self._configuration = folder / "valkey.conf"
        self._configuration.write_text(_CONFIGURATION.format(host=LOOPBACK, port=self.port, **values))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Start it and wait until it lets somebody in."""
        words = [str(_server()), str(self._configuration)]
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: _answers(self.port))

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextmanager
def protected_valkey(folder: Path) -> Iterator[ProtectedValkey]:
    """Run one, and end it at the end of the block."""
    valkey = ProtectedValkey(folder)
    try:
        valkey.start()
        yield valkey
    finally:
        valkey.kill()


def asking(port: int) -> redis.Redis:
    """Connect as the one who may everything."""
    return redis.Redis(host=LOOPBACK, port=port, password=PASSWORD, socket_timeout=5)


def _answers(port: int) -> bool:
    try:
        with asking(port) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def secret(item: str, key: str = "") -> dict[str, Any]:
    """A metadata item whose value is in the secret store, under its own name unless another is said."""
    return {"name": item, "secretKeyRef": {"name": key or item, "key": key or item}}


def plain(item: str, value: str) -> dict[str, Any]:
    """A metadata item that says its value."""
    return {"name": item, "value": value}


def run_file_with(folder: Path, items: Items, run_file: Path, store: Mapping[str, Any] | None = None) -> Path:
    """Copy a run file, on free ports, and the components in force.

    Args:
        folder: where to.
        items: more metadata of the pub/sub component.
        run_file: what to copy.
        store: the `spec` of another secret store.
    """
    components = folder / "components"
    components.mkdir(parents=True)
    for file in (REPOSITORY / "components").glob("*.yaml"):
        document = yaml.safe_load(file.read_text())
        if file.name == "pubsub.yaml":
            named = {item["name"] for item in items}
            document["spec"]["metadata"] = [each for each in document["spec"]["metadata"] if each["name"] not in named] + items
        if file.name == "secrets.yaml" and store:
            document["spec"] = dict(store)
        (components / file.name).write_text(yaml.safe_dump(document))
    told = yaml.safe_load(run_file.read_text())
    told["common"] |= {"resourcesPath": str(components), "configFilePath": str(components / "configuration.yaml")}
    ports = iter(free_ports(len(_PORTS) * len(told["apps"])))
    for app in told["apps"]:
        app |= {"appDirPath": str(REPOSITORY), **{key: next(ports) for key in _PORTS}}
    (folder / "dapr.yaml").write_text(yaml.safe_dump(told))
    return folder / "dapr.yaml"


BY_PASSWORD: Final[Items] = [secret("redisPassword")]
BY_USER: Final[Items] = [plain("redisUsername", USER), secret("redisPassword")]


@asynccontextmanager
async def system_on(
    address: str,
    folder: Path,
    items: Items,
    password: str = PASSWORD,
    *,
    unsafe: bool = False,
    environment: Mapping[str, str] | None = None,
    console: Console | None = None,
    store: Mapping[str, Any] | None = None,
) -> AsyncIterator[System]:
    """Votes, orders and tally on somebody's broker, whose password lies in the secrets of the system."""
    place = SystemFolder(folder / "system")
    place.write_secrets(password, "redisPassword")
    run_file = run_file_with(folder, items, RUN_FILE, store)
    settings = LauncherSettings.model_validate({"broker": address, "tokens": "on"})
    wishes = Wishes(unsafe=unsafe, environment=environment or {})
    async with System.start(run_file, folder=place.path, wishes=wishes, settings=settings, console=console) as system:
        yield system


async def counted_and_rung(system: System) -> None:
    """Vote, and wait until the vote is counted and the sidecar has rung for it."""
    async with httpx.AsyncClient(timeout=30) as client:
        assert (await client.post(f"{system['votes'].url}/votes", json=VOTE)).status_code == 202

        async def seen() -> bool:
            health = (await client.get(f"{system['tally'].url}/generations")).json()["health"]
            return bool((await client.get(f"{system['tally'].url}/polls/pets")).status_code == 200 and health["bells"])

        await until(seen, 30)
