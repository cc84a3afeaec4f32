"""What the run file itself says, and whether what it names is there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from sidestream.doctor.finding import Finding, Severity, error
from sidestream.doctor.pages import Document
from sidestream.doctor.patient import AppSeen, Patient, any_keeps_an_inbox

HEALTH_CHECK: Final = "enableAppHealthCheck"


def health_check(patient: Patient) -> Iterator[Finding]:
    """The sidecar's own check of an app closes its bulk subscription, and never opens it again."""
    page = patient.run_file
    for path in [("common",), *(("apps", each.at) for each in patient.apps)]:
        if page.at(*path, HEALTH_CHECK):
            yield error(
                "SD101",
                patient.place(page, *path, HEALTH_CHECK),
                f"{HEALTH_CHECK} is on: when the check turns red, daprd closes the bulk subscription and never opens it again.",
                f"Remove {HEALTH_CHECK} and the other health settings; the projection watches its own progress.",
            )


def what_is_named(patient: Patient) -> Iterator[Finding]:
    """Folders of resources and the configuration are there."""
    missing = {(path, key): each for each in reversed(patient.apps) for key, path in _named(each) if not _is_there(key, path)}
    for (path, key), each in missing.items():
        yield error(
            "SD102",
            _place(patient, each, key),
            f"{key}: there is nothing at {patient.short(path)}." if path else f"app {each.name}: no {key} is named.",
            f"{key}: ./components" if key == "resourcesPath" else f"{key}: ./components/configuration.yaml",
        )


def pubsub_component(patient: Patient) -> Iterator[Finding]:
    """Every app's folders hold the pub/sub component that its settings name."""
    missing: dict[tuple[str, str], list[AppSeen]] = {}
    for each in patient.apps:
        if each.pubsub is None and each.settings is not None:
            missing.setdefault((_place(patient, each, "resourcesPath"), each.settings.pubsub), []).append(each)
    for (place, name), apps in missing.items():
        folders = ", ".join(patient.short(folder) for folder in apps[0].app.resource_folders)
        names = ", ".join(each.name for each in apps)
        yield error(
            "SD103",
            place,
            f"{names}: expected a component `{name}` of a type pubsub.* in {folders}, found none.",
            "Add the component there, or name the one that is there: SIDESTREAM_PUBSUB: <name> under env.",
        )


def scopes(patient: Patient) -> Iterator[Finding]:
    """A sidecar outside a component's scopes starts without the component and says nothing."""
    for resource, apps in patient.logs():
        outside = [each.name for each in apps if not resource.is_for(each.name)]
        if outside:
            yield error(
                "SD104",
                patient.place(resource.document, "scopes"),
                f"{_apps(outside)} not among the scopes of `{resource.name}`: the sidecar starts without the component, and says nothing.",
                f"scopes: [{', '.join([*resource.scopes, *outside])}]",
            )


def hot_reload(patient: Patient) -> Iterator[Finding]:
    """Reloading a component closes bulk subscriptions."""
    for file, pages in patient.configurations.items():
        users = [each for each in patient.apps if each.app.config == file and each.hears]
        configuration = next((page for page in pages if page.at("kind") == "Configuration"), None)
        if configuration is None or not users or _is_off(configuration):
            continue
        yield Finding(
            "SD105",
            Severity.ERROR if any_keeps_an_inbox(users) else Severity.WARNING,
            patient.place(configuration, "spec", "features"),
            "hot reload is on, as it is by default: reloading a component stops bulk subscriptions for ever (2 of 4 tries).",
            "spec.features: [{name: HotReload, enabled: false}]",
        )


def _is_off(configuration: Document) -> bool:
    features: Any = configuration.at("spec", "features")
    listed = features if isinstance(features, list) else []
    return any(isinstance(each, dict) and each.get("name") == "HotReload" and each.get("enabled") is False for each in listed)


def _named(each: AppSeen) -> Iterator[tuple[str, Path | None]]:
    folders: list[Path | None] = [*each.app.resource_folders]
    yield from (("resourcesPath", folder) for folder in folders or [None])
    yield "configFilePath", each.app.config


def _is_there(key: str, path: Path | None) -> bool:
    return path is not None and (path.is_dir() if key == "resourcesPath" else path.is_file())


def _place(patient: Patient, each: AppSeen, key: str) -> str:
    """Return the line of a key in an app, else under `common`, where most apps have it from."""
    page = patient.run_file
    names = (key, f"{key}s")
    for path in (("apps", each.at), ("common",)):
        for name in names:
            if page.at(*path, name) is not None:
                return patient.place(page, *path, name)
    return patient.place(page, "apps", each.at)


def _apps(names: list[str]) -> str:
    return f"app {names[0]} is" if len(names) == 1 else f"apps {', '.join(names)} are"
