"""Reads the files of a system into a `Patient`: the run file, every folder of resources once, settings, and the sidecar program.

What cannot be read is an error of its own sentence; what can be read and is wrong is left to the checks.
"""

import contextlib
import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sidestream.adapters.components import read_components
from sidestream.cli.declared import app_settings
from sidestream.doctor.deliveries import permissions, topics_of
from sidestream.doctor.pages import Document, Resource, documents, resources
from sidestream.doctor.patient import AppSeen, Patient
from sidestream.errors import ConfigurationError
from sidestream.launcher.daprd import Daprd, Refused, find
from sidestream.launcher.folder import DEFAULT, SystemFolder
from sidestream.launcher.runfile import App, understood
from sidestream.launcher.settings import LauncherSettings

_HEALTH_KEYS: Final = (
    "enableAppHealthCheck",
    "appHealthCheckPath",
    "appHealthProbeInterval",
    "appHealthProbeTimeout",
    "appHealthThreshold",
)
"""`sidestream up` refuses them; the doctor reads on and says why."""

Programs = tuple[Daprd | None, Sequence[Refused]]


def examine(file: Path, data: Path | None, launcher: LauncherSettings, programs: Programs | None = None) -> Patient:
    """Read a system's files.

    Args:
        file: the run file.
        data: the folder of the system, `.sidestream` beside the file when None.
        launcher: settings of `sidestream up`.
        programs: the sidecar program that would be used, and those passed over; looked for when None.

    Raises:
        ConfigurationError: a file cannot be read, or is not what its kind must be.
    """
    page = _run_file(file)
    base = page.file.parent
    apps = understood(_without_health_checks(page.value), page.file).apps
    folders = {folder for app in apps for folder in app.resource_folders if folder.is_dir()}
    found = {folder: _resources(folder) for folder in sorted(folders)}
    configurations = {file: documents(file) for file in sorted({app.config for app in apps if app.config and app.config.is_file()})}
    place = SystemFolder(data or base / DEFAULT)
    with contextlib.chdir(base):
        seen = [_app(app, at, base, place, found) for at, app in enumerate(apps)]
    daprd, refused = programs or _programs(base)
    return Patient(base, page, seen, found, configurations, launcher, daprd, refused)


def _programs(base: Path) -> Programs:
    """Look where a start would: from the folder of the run file, then from here."""
    found, refused = find(base)
    return (found, refused) if found else find(Path.cwd())


def _run_file(file: Path) -> Document:
    file = file.resolve()
    if not file.is_file():
        raise ConfigurationError(f"{file}: no such file. Start in the folder that holds dapr.yaml, or name it with -f.")
    found = documents(file)
    if not found:
        raise ConfigurationError(f"{file}: expected a list of apps, found an empty file. Name the apps there.")
    return found[0]


def _without_health_checks(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    content = copy.deepcopy(content)
    listed = content.get("apps")
    for part in [content.get("common"), *(listed if isinstance(listed, list) else [])]:
        for key in _HEALTH_KEYS if isinstance(part, dict) else ():
            part.pop(key, None)
    return content


def _resources(folder: Path) -> tuple[Resource, ...]:
    """Read a folder as the sidecar would; what the log's reader refuses is refused here in the same words."""
    read_components(folder)
    return resources(folder)


def _app(app: App, at: int, base: Path, place: SystemFolder, found: Mapping[Path, Sequence[Resource]]) -> AppSeen:
    if not app.resource_folders or any(folder not in found for folder in app.resource_folders):
        return AppSeen(app, at, None, None, None)
    settings = app_settings(app, base, place)
    loaded = [each for folder in app.resource_folders for each in found[folder] if each.kind == "Component"]
    pubsub = next((each for each in loaded if each.name == settings.pubsub and each.type.startswith("pubsub.")), None)
    item = pubsub.items.get("subscriptionscopes") if pubsub else None
    topics = topics_of(item, app.name) if item and app.name in permissions(item) else None
    return AppSeen(app, at, settings, pubsub, topics)
