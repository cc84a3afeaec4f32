"""Finds the language of a system by the strings in dapr.yaml: its categories, and which app writes and which reads what.

An app whose command ends in `-m services.votes` has a module `services.votes.bootstrap`. A `registry()` there gives the
language, a `projection()` what is read. An app owns the categories whose source is its module as a path, `/services/votes`.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import msgspec

from sidestream.cli.bootstraps import NOT_IMPORTED, asked, bootstrap_of
from sidestream.errors import ConfigurationError
from sidestream.launcher.runfile import App, read
from sidestream.registry import Category, Registry
from sidestream.schema.catalogue import Catalogue, Reader, describe, owner, reader_of

Thing = TypeVar("Thing")
Found = TypeVar("Found")


class Language(msgspec.Struct, frozen=True):
    """The language of a system and its golden samples by `<type>.<version>`.

    Attributes:
        broken: what is wrong with an app that cannot say what it writes or reads, by its name; the rest is what the others say.
    """

    registry: Registry
    catalogue: Catalogue
    samples: Mapping[str, bytes]
    broken: Mapping[str, str] = {}


def language_of(file: Path, samples: Path) -> Language:
    """Return the language that the apps of a run file share.

    Args:
        file: dapr.yaml; modules are looked for in its folder first.
        samples: the folder of golden samples.

    Raises:
        ConfigurationError: an app cannot be imported, none declares a language, or two contradict each other.
    """
    found = language_left(file, samples)
    if found.broken:
        raise ConfigurationError(told(found.broken))
    return found


def language_left(file: Path, samples: Path) -> Language:
    """Return what is left of the language where apps cannot be imported: what the others declare, or nothing.

    Raises:
        ConfigurationError: every app can be imported and none declares a language, or two contradict each other.
    """
    apps = {app.name: app for app in read(file).apps if "-m" in app.command[:-1]}
    base = str(file.resolve().parent)
    if base not in sys.path:
        sys.path.insert(0, base)
    asking = _Asking(apps)
    bootstraps = asking.each(apps, lambda app, _: bootstrap_of(app))
    registry = _registry(file, asking.each(bootstraps, _categories), nothing_is_said=not asking.broken)
    readers = asking.each(bootstraps, lambda app, module: _reader(app, module, registry))
    found = {path.stem: path.read_bytes() for path in sorted(samples.glob("*.json"))}
    reading = [reader for reader in readers.values() if reader]
    catalogue = describe(registry, writer=_Writers(apps), readers=reading, samples=found)
    return Language(registry, catalogue, found, asking.broken)


def told(broken: Mapping[str, str]) -> str:
    """Return what is wrong, each fault a line with the apps that have it."""
    by_fault: dict[str, list[str]] = {}
    for name, fault in broken.items():
        by_fault.setdefault(fault.partition(NOT_IMPORTED)[2] or fault, []).append(name)
    return "\n".join(_fault(names, broken[names[0]]) for names in by_fault.values())


def _fault(names: Sequence[str], first: str) -> str:
    if len(names) == 1:
        return f"app {names[0]}: {first}"
    more = f" and {len(names) - 1} more{NOT_IMPORTED}"
    return f"apps {', '.join(names)}: {first.replace(NOT_IMPORTED, more, 1)}"


class _Asking:
    """Asks app after app, and keeps what is wrong with those that cannot answer."""

    def __init__(self, apps: Mapping[str, App]) -> None:
        self._apps = apps
        self.broken: dict[str, str] = {}

    def each(self, things: Mapping[str, Thing], ask: Callable[[App, Thing], Found]) -> dict[str, Found]:
        """Return the answers by app."""
        found: dict[str, Found] = {}
        for name, thing in things.items():
            try:
                found[name] = ask(self._apps[name], thing)
            except ConfigurationError as error:
                self.broken.setdefault(name, str(error).removeprefix(f"app {name}: "))
        return found


def _categories(app: App, bootstrap: ModuleType) -> tuple[Category, ...]:
    declared = getattr(bootstrap, "registry", None)
    with asked(app, f"registry() of {bootstrap.__name__} fails: "):
        found: tuple[Category, ...] = declared().categories if callable(declared) else ()
    return found


def _reader(app: App, bootstrap: ModuleType, registry: Registry) -> Reader | None:
    projection = getattr(bootstrap, "projection", None)
    with asked(app, f"projection() of {bootstrap.__name__} fails: "):
        return reader_of(app.name, projection(), registry) if callable(projection) else None


def _registry(file: Path, declared: Mapping[str, tuple[Category, ...]], *, nothing_is_said: bool) -> Registry:
    """Join what the apps declare; where two name one category, it must be the same."""
    categories: dict[str, tuple[Category, str]] = {}
    for name, found in declared.items():
        for category in found:
            known, by = categories.setdefault(category.name, (category, name))
            if known != category:
                raise ConfigurationError(f"category {category.name}: expected one declaration, found another in {name} than in {by}.")
    if not categories and nothing_is_said:
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
