"""docker-compose.yml starts the system of dapr.yaml: the same apps, modules, ports and sidecars, from pinned images."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ConfigDict

from sidestream.launcher.tokens import variables

ROOT = Path(__file__).parents[2]
APPS: dict[str, Any] = {app["appID"]: app for app in yaml.safe_load((ROOT / "dapr.yaml").read_text())["apps"]}


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Mounted(Strict):
    source: str
    target: str


class Healthcheck(Strict):
    test: list[str]
    interval: str
    timeout: str
    retries: int


class Service(Strict):
    """The part of the Compose specification that we use; anything else is a slip of the pen."""

    image: str
    build: str | None = None
    command: list[str] | None = None
    environment: dict[str, str] = {}
    volumes: list[str] = []
    configs: list[Mounted] = []
    ports: list[str] = []
    depends_on: list[str] | dict[str, dict[str, str]] = []
    network_mode: str | None = None
    working_dir: str | None = None
    healthcheck: Healthcheck | None = None
    restart: str | None = None


def compose() -> dict[str, Service]:
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return {name: Service.model_validate(service) for name, service in document["services"].items()}


def test_every_app_has_its_container_and_its_sidecar_and_nothing_else_is_there() -> None:
    expected = {"broker", "database", *APPS, *(f"{app}-daprd" for app in APPS)}
    assert set(compose()) == expected


@pytest.mark.parametrize("app", APPS)
def test_an_app_runs_the_same_module_at_the_same_ports(app: str) -> None:
    service, declared = compose()[app], APPS[app]
    assert service.command == ["python", *declared["command"][1:]]
    expected = {"APP_ID": app, "APP_PORT": "appPort", "DAPR_HTTP_PORT": "daprHTTPPort", "DAPR_GRPC_PORT": "daprGRPCPort"}
    for name, key in expected.items():
        assert service.environment[name] == str(declared.get(key, key))
    assert service.ports == [f"127.0.0.1:{declared['appPort']}:{declared['appPort']}"]


@pytest.mark.parametrize("app", APPS)
def test_a_sidecar_stands_in_its_apps_network_with_the_same_ports(app: str) -> None:
    sidecar, declared = compose()[f"{app}-daprd"], APPS[app]
    flags = dict(flag.removeprefix("--").split("=", 1) for flag in (sidecar.command or [])[1:])
    assert sidecar.network_mode == f"service:{app}"
    assert flags["app-id"] == app
    for flag, key in (
        ("app-port", "appPort"),
        ("dapr-http-port", "daprHTTPPort"),
        ("dapr-grpc-port", "daprGRPCPort"),
        ("metrics-port", "metricsPort"),
    ):
        assert flags[flag] == str(declared[key])


def test_the_sidecar_is_the_version_that_is_built_where_none_is_installed() -> None:
    pinned = re.search(r"github\.com/dapr/dapr v(\S+)", (ROOT / "tools/sidecar/go.mod").read_text())
    assert pinned is not None
    assert {service.image for name, service in compose().items() if name.endswith("-daprd")} == {f"daprio/daprd:{pinned[1]}"}


def test_every_image_is_pinned() -> None:
    for name, service in compose().items():
        assert service.build or re.search(r":\d+\.\d+", service.image), f"{name}: {service.image} names no version"


@pytest.mark.parametrize("app", APPS)
def test_an_app_and_its_sidecar_share_tokens_of_their_own_that_compose_asks_for(app: str) -> None:
    for service in (compose()[app], compose()[f"{app}-daprd"]):
        for name in ("DAPR_API_TOKEN", "APP_API_TOKEN"):
            own = f"{app.upper().replace('-', '_')}_{name}"
            assert service.environment[name] == f"${{{own}:?see the head of this file}}"
            assert own in variables(APPS)


def test_the_file_of_tokens_is_neither_committed_nor_copied_into_an_image() -> None:
    for ignoring in (".gitignore", ".dockerignore"):
        assert ".env" in (ROOT / ignoring).read_text().splitlines()


def test_every_environment_variable_is_a_setting() -> None:
    sources = "".join(path.read_text() for part in ("sidestream", "services", "projections") for path in (ROOT / part).rglob("*.py"))
    known = set(re.findall(r'validation_alias="([A-Z0-9_]+)"', sources))
    for app in APPS:
        assert set(compose()[app].environment) <= known
