"""Finds the event stores of a system by the strings in dapr.yaml: an app whose bootstrap has `STORE`, the store's name."""

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from sidestream.backbone import Backbone, connect
from sidestream.cli.bootstraps import NoSuchModule, bootstrap_of
from sidestream.cli.declared import app_settings, at_home
from sidestream.errors import ConfigurationError
from sidestream.launcher.runfile import App
from sidestream.ports import EventLog, ServiceStore

_WING: Final = "services."


class Kept(msgspec.Struct, frozen=True):
    """One event store of the system: the app that writes it, and its name."""

    app: str
    name: str
    backbone: Backbone

    @contextmanager
    def opened(self) -> Iterator[ServiceStore]:
        """Open it, beside the running app."""
        with contextlib.closing(self.backbone.event_store(self.name)) as store:
            yield store

    @contextmanager
    def log(self) -> Iterator[EventLog]:
        """Open the log that its events are published to."""
        with contextlib.closing(self.backbone.log()) as log:
            yield log


@contextmanager
def kept(file: Path, data: Path | None) -> Iterator[Sequence[Kept]]:
    """Work on the event stores of a run file's apps, in its folder, as the apps do."""
    with at_home(file, data, "") as (apps, base, place):
        yield [Kept(app.name, name, connect(app_settings(app, base, place))) for app in apps if (name := _store_of(app))]


def store_named(found: Sequence[Kept], name: str) -> Kept:
    """Return the store of this name; its app's name will do.

    Raises:
        ConfigurationError: there is none.
    """
    for each in found:
        if name in {each.app, each.name}:
            return each
    names = ", ".join(each.name for each in found) or "none"
    raise ConfigurationError(f"expected an event store of dapr.yaml, which has {names}; found {name!r}. Correct the name.")


def published_directly(file: Path, data: Path | None) -> Sequence[str]:
    """Return the topics of services that keep no store: nothing here can be held against the log."""
    with at_home(file, data, _WING) as (apps, _, _):
        return sorted({topic for app in apps if not _store_of(app) for topic in _own_topics(app)})


def _own_topics(app: App) -> Sequence[str]:
    """The topics of the categories whose source is the app's module as a path."""
    language = getattr(bootstrap_of(app), "registry", None)
    source = "/" + app.module.replace(".", "/")
    return [topic for each in language().categories if each.source == source for topic in each.topics] if callable(language) else []


def _store_of(app: App) -> str:
    """Return the name of an app's store, or nothing. An app of another package than the services' need not have a bootstrap."""
    try:
        return str(getattr(bootstrap_of(app), "STORE", ""))
    except NoSuchModule:
        if app.module.startswith(_WING):
            raise
        return ""
