"""Finds the language of a system by the strings in dapr.yaml: its categories, and which app writes and which reads what.

An app whose command ends in `-m services.votes` has a module `services.votes.bootstrap`. A `registry()` there gives the
language, a `projection()` what is read. An app owns the categories whose source is its module as a path, `/services/votes`.
"""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import msgspec

from sidestream.errors import ConfigurationError
from sidestream.launcher.runfile import App, read
from sidestream.registry import Category, Registry
from sidestream.schema.catalogue import Catalogue, describe, owner, reader_of


class Language(msgspec.Struct, frozen=True):
    """The language of a system and its golden samples by `<type>.<version>`."""

    registry: Registry
    catalogue: Catalogue
    samples: Mapping[str, bytes]


def language_of(file: Path, samples: Path) -> Language:
    """Return the language that the apps of a run file share.

    Args:
        file: dapr.yaml; modules are looked for in its folder first.
        samples: the folder of golden samples.

    Raises:
        ConfigurationError: a module is missing, no app declares a language, or two contradict each other.
    """
    apps = {app.name: app for app in read(file).apps if "-m" in app.command[:-1]}
    base = str(file.resolve().parent)
    if base not in sys.path:
        sys.path.insert(0, base)
    bootstraps = {name: _bootstrap(app) for name, app in apps.items()}
    registry = _registry(file, bootstraps)
    reading = {name: module.projection() for name, module in bootstraps.items() if callable(getattr(module, "projection", None))}
    readers = [reader_of(name, projection, registry) for name, projection in reading.items()]
    found = {path.stem: path.read_bytes() for path in sorted(samples.glob("*.json"))}
    return Language(registry, describe(registry, writer=_Writers(apps), readers=readers, samples=found), found)


def _bootstrap(app: App) -> ModuleType:
    where = f"{app.module}.bootstrap"
    try:
        return importlib.import_module(where)
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"app {app.name}: expected a module {where}: {error}. Correct the command in dapr.yaml.") from None


def _registry(file: Path, bootstraps: Mapping[str, ModuleType]) -> Registry:
    """Join what the apps declare; where two name one category, it must be the same."""
    categories: dict[str, tuple[Category, str]] = {}
    for name, module in bootstraps.items():
        declared = getattr(module, "registry", None)
        for category in declared().categories if callable(declared) else ():
            known, by = categories.setdefault(category.name, (category, name))
            if known != category:
                raise ConfigurationError(f"category {category.name}: expected one declaration, found another in {name} than in {by}.")
    if not categories:
        raise ConfigurationError(
            f"{file}: expected an app with `registry()` in its bootstrap, found none. Add it where the apps are built."
        )
    return Registry(category for category, _ in categories.values())


class _Writers:
    """Says which app owns a source: the one whose module is its path, else the one that has its last word as name."""

    def __init__(self, apps: Mapping[str, App]) -> None:
        self._names = set(apps)
        self._by_source = {f"/{app.module.replace('.', '/')}": name for name, app in apps.items()}

    def __call__(self, source: str) -> str:
        """Return the app's name, or an empty text."""
        if source in self._by_source:
            return self._by_source[source]
        return owner(source) if owner(source) in self._names else ""
