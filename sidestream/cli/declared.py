"""Finds the projections of a system by the string in dapr.yaml, never by a list of its own.

An app whose command ends in `-m projections.tally` has a module `projections.tally.bootstrap` with `projection()` and
`registry()`; so has a service that follows the log, such as a process manager. The verbs work on its log and read models
directly, beside the running app, with the settings it would have.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog

from sidestream.backbone import connect, followed
from sidestream.cli.bootstraps import NoSuchModule, bootstrap_of
from sidestream.errors import ConfigurationError
from sidestream.launcher.folder import DEFAULT, SystemFolder
from sidestream.launcher.runfile import App, read
from sidestream.ports import EventLog, ReadModels
from sidestream.projection import Projection
from sidestream.registry import Registry
from sidestream.settings import Settings

_WING: Final = "projections."


class Declared:
    """One projection of the system, with what it works on."""

    def __init__(self, app: str, projection: Projection, registry: Registry, settings: Settings) -> None:
        self.app = app
        self.projection = projection
        self.registry = registry
        self._settings = settings
        self._backbone = connect(settings)

    @property
    def door(self) -> str:
        """Where its app answers, if it runs on the port of the run file."""
        return f"http://127.0.0.1:{self._settings.app_port}"

    @contextmanager
    def read_models(self) -> Iterator[ReadModels]:
        """Open its generations."""
        with contextlib.closing(self._backbone.read_models(self.projection.name)) as found:
            yield found

    @contextmanager
    def log(self) -> Iterator[EventLog]:
        """Open its log."""
        with contextlib.closing(followed(self._backbone, self._settings, self.projection.name)) as found:
            yield found

    @contextmanager
    def broker_log(self) -> Iterator[EventLog]:
        """Open the log of the broker, whatever it follows."""
        with contextlib.closing(self._backbone.log()) as found:
            yield found

    @contextmanager
    def inbox(self) -> Iterator[EventLog]:
        """Open its inbox log; raises ConfigurationError where it keeps none."""
        if self._settings.follow != "inbox":
            raise ConfigurationError(f"{self.app}: expected a projection that keeps an inbox log, found one that follows the broker's.")
        with self.log() as found:
            yield found


@contextmanager
def declared(file: Path, data: Path | None) -> Iterator[Sequence[Declared]]:
    """Work on the projections that a run file lists, in its folder, as the apps do.

    Args:
        file: dapr.yaml.
        data: the folder of the system, `.sidestream` beside the file when None.

    Raises:
        ConfigurationError: the file, a module or what its bootstrap must have is missing.
    """
    with at_home(file, data, "") as (apps, base, place):
        yield [_declared(app, app_settings(app, base, place)) for app in apps if app.module.startswith(_WING) or _follows(app)]


@contextmanager
def at_home(file: Path, data: Path | None, wing: str) -> Iterator[tuple[Sequence[App], Path, SystemFolder]]:
    """Go to the folder of a run file; yield its apps below a package, that folder, and the system's own."""
    apps = [app for app in read(file).apps if "-m" in app.command[:-1] and app.module.startswith(wing)]
    base = file.resolve().parent
    place = SystemFolder(data or base / DEFAULT)
    sys.path.insert(0, str(base))
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))  # what a verb prints is for programs too
    with contextlib.chdir(base):
        yield apps, base, place


def named(found: Sequence[Declared], name: str) -> Declared:
    """Return the projection of this name; its app's name will do.

    Raises:
        ConfigurationError: there is none.
    """
    for each in found:
        if name in {each.app, each.projection.name}:
            return each
    names = ", ".join(each.projection.name for each in found) or "none"
    raise ConfigurationError(f"expected a projection of dapr.yaml, which has {names}; found {name!r}. Correct the name.")


def _follows(app: App) -> bool:
    """Whether an app of another wing follows the log too: a process manager has a projection of what is due."""
    try:
        return callable(getattr(bootstrap_of(app), "projection", None))
    except NoSuchModule:
        return False


def _declared(app: App, settings: Settings) -> Declared:
    where, bootstrap = f"{app.module}.bootstrap", bootstrap_of(app)
    missing = [name for name in ("projection", "registry") if not callable(getattr(bootstrap, name, None))]
    if missing:
        raise ConfigurationError(f"app {app.name}: expected {' and '.join(missing)} in {where}, found none. Add what is missing.")
    return Declared(app.name, bootstrap.projection(), bootstrap.registry(), settings)


def app_settings(app: App, base: Path, place: SystemFolder) -> Settings:
    """Return what `sidestream up` would tell the app; a variable of this process comes before what it would choose itself."""
    chosen = {"SIDESTREAM_DATA": str(place.data)}
    if folders := _resource_folders(app, base, place):
        pubsub = {**os.environ, **app.environment}.get("SIDESTREAM_PUBSUB", "pubsub")
        chosen["SIDESTREAM_COMPONENTS"] = str(_holds(folders, pubsub))
        chosen["SIDESTREAM_FOLLOW"] = _followed_in(_holds(folders, pubsub), pubsub)
    return Settings.model_validate({**chosen, **os.environ, **app.environment, "APP_ID": app.name, "APP_PORT": str(app.port)})


def _resource_folders(app: App, base: Path, place: SystemFolder) -> Sequence[Path]:
    """A system outside the default folder has copies of the resources there, with its own broker's address."""
    if place.is_default_of(base) or not place.resources.is_dir():
        return app.resource_folders
    return sorted(path for path in place.resources.iterdir() if path.is_dir())


def _followed_in(folder: Path, pubsub: str) -> str:
    """What `sidestream up` lets an app follow that says nothing itself: the inbox where the broker has no log."""
    from sidestream.adapters.broker_kinds import in_force

    with contextlib.suppress(ConfigurationError):  # whoever opens the log says it
        return in_force(folder, pubsub).follow
    return "log"


def _holds(folders: Sequence[Path], pubsub: str) -> Path:
    from sidestream.adapters.components import read_components

    for folder in folders:
        if any(component.name == pubsub for component in read_components(folder)):
            return folder
    return folders[0]
