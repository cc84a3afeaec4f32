"""The Dapr resources an app's sidecar will load: looked at before anything starts, and moved where a test needs its own.

A sidecar that misses a component dies with a long log, or worse, starts without it. One sentence beforehand is better.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from sidestream.adapters.components import Component, read_components
from sidestream.launcher.problem import CannotStart
from sidestream.launcher.runfile import App

TOPIC_PERMISSIONS: Final = frozenset({"publishingScopes", "subscriptionScopes", "allowedTopics", "protectedTopics"})
"""The metadata of a pub/sub component that say which app may publish what, and hear what."""


def check(app: App, pubsub: str, *, guarded: bool = True) -> Path:
    """Make sure that everything the sidecar needs is there; return the folder that holds the pub/sub component.

    Raises:
        CannotStart: a file, a folder, a component or a secret store is missing, or not for this app.
    """
    _check_program(app)
    _check_paths(app)
    components = [component for folder in app.resource_folders for component in read_components(folder)]
    found = next((c for c in components if c.name == pubsub and c.type.startswith("pubsub.")), None)
    if found is None:
        raise CannotStart(
            f"app {app.name}: expected a component `{pubsub}` of a type pubsub.* in {_listed(app.resource_folders)}, "
            f"found {_listed([c.name for c in components]) or 'none'}. Add it, or name another with SIDESTREAM_PUBSUB."
        )
    if guarded:
        _check_scopes(app, components, found)
    _check_secrets(components)
    return found.file.parent


def moved(source: Path, target: Path, secrets: Path, *, guarded: bool = True) -> Path:
    """Copy a folder of resources, for its owner only, and let its secret store read from another file; return the copy.

    Unguarded, the copy is for every app and every topic.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(mode=0o700, parents=True)  # somebody may have written a password into his own YAML
    for file in _files(source):
        documents = [_with_secrets(document, secrets) for document in _documents(file)]
        documents = documents if guarded else [_open_to_all(document) for document in documents]
        (target / file.name).write_text(yaml.safe_dump_all(documents, sort_keys=False), encoding="utf-8")
    return target


def _with_secrets(document: dict[str, Any], secrets: Path) -> dict[str, Any]:
    spec = document.get("spec") or {}
    if spec.get("type") == "secretstores.local.file":
        for item in spec.get("metadata", []):
            if item.get("name") == "secretsFile":
                item["value"] = str(secrets)
    return document


def _open_to_all(document: dict[str, Any]) -> dict[str, Any]:
    spec = document.get("spec") or {}
    if isinstance(spec.get("metadata"), list):
        spec["metadata"] = [item for item in spec["metadata"] if item.get("name") not in TOPIC_PERMISSIONS]
    return {key: value for key, value in document.items() if key != "scopes"}


def _check_program(app: App) -> None:
    program = app.command[0]
    there = (app.folder / program).is_file() if "/" in program else shutil.which(program) is not None
    if not there:
        raise CannotStart(f"app {app.name}: expected the program `{program}` of its command, found none in {app.folder}. Run `make setup`.")


def _check_paths(app: App) -> None:
    if not app.resource_folders:
        raise CannotStart(f"app {app.name}: expected a resourcesPath in dapr.yaml, found none. Name the folder of components there.")
    for folder in app.resource_folders:
        if not folder.is_dir():
            raise CannotStart(
                f"app {app.name}: expected a folder of components at {folder}, found none. Correct resourcesPath in dapr.yaml."
            )
    if app.config is None:
        raise CannotStart(
            f"app {app.name}: expected a configFilePath in dapr.yaml, found none. Name the sidecar's configuration there; "
            "without one `dapr run -f .` looks for its own in the home directory, and ends where there is none."
        )
    if not app.config.is_file():
        raise CannotStart(f"app {app.name}: expected a configuration at {app.config}, found none. Correct configFilePath in dapr.yaml.")


def _check_scopes(app: App, components: Sequence[Component], pubsub: Component) -> None:
    """A sidecar outside a component's scopes starts without it and says nothing."""
    for component in components:
        needed = component.name in {pubsub.name, pubsub.secret_store}
        if needed and component.scopes and app.name not in component.scopes:
            raise CannotStart(
                f"app {app.name}: expected it among the scopes of {component}, found {_listed(component.scopes)}: its sidecar would "
                f"start without the component. Add `- {app.name}` there, and name its topics in publishingScopes and subscriptionScopes."
            )


def _check_secrets(components: Sequence[Component]) -> None:
    stores = {component.name for component in components if component.type.startswith("secretstores.")}
    for component in components:
        if component.secret_store and component.secret_store not in stores:
            raise CannotStart(
                f"component {component.name}: its secret store `{component.secret_store}` is missing beside {component.file}. Add it there."
            )


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in {".yaml", ".yml"})


def _documents(file: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(file.read_text(encoding="utf-8")) if isinstance(document, dict)]


def _listed(items: Sequence[object]) -> str:
    return ", ".join(str(item) for item in items)
