"""Reads dapr.yaml, the one list of apps, into typed objects.

It is the file of Dapr's own `dapr run -f .`; paths resolve as that program resolves them: those under `common` and
`appDirPath` against the file's folder, an app's own against its `appDirPath`. A key that is not honoured here is
refused rather than passed over in silence.
"""

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from sidestream.launcher.problem import CannotStart

Port = Annotated[int, Field(ge=1, le=65535)]
# A sidecar's name becomes a host name on Kubernetes; a consumer group, a log's tag and a file's name here.
AppId = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")]


class Shared(BaseModel):
    """What stands under `common`, or in an app to override it."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    config: Path | None = Field(None, alias="configFilePath")
    resources: Path | None = Field(None, alias="resourcesPath")
    more_resources: list[Path] = Field(default_factory=list, alias="resourcesPaths")
    protocol: str = Field("http", alias="appProtocol", pattern="^http$")
    log_level: str = Field("warn", alias="logLevel", pattern="^(debug|info|warn|error|fatal)$")
    environment: dict[str, str] = Field(default_factory=dict, alias="env")
    # Where the official CLI writes logs. Here every line goes to the terminal and to a file.
    app_log: str | None = Field(None, alias="appLogDestination")
    daprd_log: str | None = Field(None, alias="daprdLogDestination")

    @field_validator("environment", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return {key: _scalar(item) for key, item in value.items()} if isinstance(value, dict) else value


class App(Shared):
    """One app and its sidecar. Paths are absolute once the file has been read."""

    name: AppId = Field(alias="appID")
    folder: Path = Field(alias="appDirPath")
    command: list[str] = Field(min_length=1)
    port: Port = Field(alias="appPort")
    http_port: Port = Field(alias="daprHTTPPort")
    grpc_port: Port = Field(alias="daprGRPCPort")
    metrics_port: Port = Field(alias="metricsPort")

    @property
    def resource_folders(self) -> list[Path]:
        """Return every folder of resources that the sidecar loads."""
        return [*self.more_resources, *([self.resources] if self.resources else [])]

    @property
    def ports(self) -> dict[str, int]:
        """Return the ports this app and its sidecar want, by the key in dapr.yaml."""
        return {"appPort": self.port, "daprHTTPPort": self.http_port, "daprGRPCPort": self.grpc_port, "metricsPort": self.metrics_port}

    @property
    def module(self) -> str:
        """Return the Python module after `-m` in the command.

        Raises:
            CannotStart: the command starts something else, which no single process can hold.
        """
        if "-m" in self.command[:-1]:
            return self.command[self.command.index("-m") + 1]
        raise CannotStart(
            f"app {self.name}: expected a command of the form `python -m package`, found `{' '.join(self.command)}`. "
            "Only such an app can run in one process; leave out --memory."
        )


class RunFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid")

    version: int
    name: str = "sidestream"
    common: Shared = Shared()
    apps: list[App] = Field(min_length=1)


def read(path: Path) -> RunFile:
    """Return what dapr.yaml says, every path absolute and every app complete.

    Raises:
        CannotStart: no such file, not YAML, or not what a run file must be; the sentence names the place.
    """
    path = path.resolve()
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CannotStart(f"{path}: no such file. Start in the folder that holds dapr.yaml, or name it with -f.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise CannotStart(f"{path}: not YAML: {' '.join(str(problem).split())}. Correct the file.") from problem
    return understood(raw, path)


def understood(raw: Any, path: Path) -> RunFile:
    """Return what the content of a run file means; raises CannotStart where it is not what a run file must be."""
    try:
        run_file = RunFile.model_validate(_merged(raw))
    except ValidationError as problem:
        raise CannotStart(_sentence(path, raw, problem)) from problem
    _resolve(run_file, path.parent)
    _refuse_twins(run_file, path)
    return run_file


def _merged(raw: Any) -> Any:
    """Let each app inherit what stands under `common`; its own values win, `env` key by key."""
    if not isinstance(raw, dict) or not isinstance(raw.get("apps"), list):
        return raw
    common = raw.get("common") or {}
    inherited = {key: value for key, value in common.items() if key in _INHERITED}
    apps = [_inherit(inherited, common.get("env"), app) for app in raw["apps"]]
    return {**raw, "common": common, "apps": apps}


_INHERITED = ("appProtocol", "logLevel", "appLogDestination", "daprdLogDestination")


def _inherit(inherited: dict[str, Any], environment: Any, app: Any) -> Any:
    if not isinstance(app, dict):
        return app
    return {**inherited, **app, "env": {**(environment or {}), **(app.get("env") or {})}}


def _resolve(run_file: RunFile, base: Path) -> None:
    common = run_file.common
    _absolute(common, base)
    for app in run_file.apps:
        app.folder = (base / app.folder.expanduser()).resolve()
        _absolute(app, app.folder)
        app.config = app.config or common.config
        if not app.resource_folders:
            app.resources, app.more_resources = common.resources, common.more_resources


def _absolute(part: Shared, base: Path) -> None:
    part.config = _below(base, part.config) if part.config else None
    part.resources = _below(base, part.resources) if part.resources else None
    part.more_resources = [_below(base, folder) for folder in part.more_resources]


def _below(base: Path, path: Path) -> Path:
    return (base / path.expanduser()).resolve()


def _refuse_twins(run_file: RunFile, path: Path) -> None:
    owners: dict[object, str] = {}
    for app in run_file.apps:
        for what, value in (("appID", app.name), *app.ports.items()):
            if value in owners:
                raise CannotStart(f"{path}: {what} {value} of app {app.name} is taken by {owners[value]}. Give each its own.")
            owners[value] = f"{what} of app {app.name}"


def _scalar(value: Any) -> Any:
    """YAML reads `8` and `true` as other types; an environment knows text only."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _sentence(path: Path, raw: Any, problem: ValidationError) -> str:
    """Turn pydantic's first finding into a place and a remedy."""
    finding = problem.errors()[0]
    place = [str(part) for part in finding["loc"]]
    if place[:1] == ["apps"] and len(place) > 1:
        place[:2] = [f"app {_name(raw, int(place[1]))}"]
    where = " › ".join(place) or "the file"
    if finding["type"] == "extra_forbidden":
        return f"{path}: {where}: this key is not understood by `sidestream up`. Remove it, or run the file with `dapr run -f`."
    if finding["type"] == "missing":
        return f"{path}: {where}: expected a value, found none. Add it."
    return f"{path}: {where}: {finding['msg'].lower()}, found {finding['input']!r}. Correct it."


def _name(raw: Any, index: int) -> str:
    app = raw["apps"][index]
    return str(app.get("appID", f"number {index + 1}")) if isinstance(app, dict) else f"number {index + 1}"
