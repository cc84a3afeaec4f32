"""Who may publish and hear what: every folder of components says what the language and the apps say, and no YAML holds a secret."""

import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

import events
from sidestream.launcher.resources import TOPIC_PERMISSIONS
from sidestream.launcher.runfile import App, read

ROOT = Path(__file__).parents[2]
COMPONENTS = ROOT / "components"
APPS: Sequence[App] = read(ROOT / "dapr.yaml").apps
STRANGERS = "external"
FILES = sorted(COMPONENTS.rglob("pubsub.yaml"))
DELIVERED = {"inbox", "rabbitmq", "in-memory"}
"""Folders where a delivery is the truth, so that there is a topic for what could not be delivered."""


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def publishes() -> Mapping[str, set[str]]:
    """App → the topics of the categories whose source it is; the bridge carries the strangers' topic."""
    found: dict[str, set[str]] = {app.name: set() for app in APPS}
    for category in events.registry().categories:
        app = category.source.removeprefix("/services/")
        assert app in found, f"{category.source}: no app {app} in dapr.yaml"
        found[app] |= set(category.topics)
    return found


@cache
def hears() -> Mapping[str, set[str]]:
    """App → the topics that its projection declares; an app without a projection hears nothing."""
    found: dict[str, set[str]] = {}
    for app in APPS:
        bootstrap = importlib.import_module(f"{app.module}.bootstrap")
        found[app.name] = set(bootstrap.projection().topics) if hasattr(bootstrap, "projection") else set()
    return found


def permissions(file: Path) -> dict[str, str]:
    items = yaml.safe_load(file.read_text())["spec"]["metadata"]
    return {item["name"]: item["value"] for item in items if item["name"] in TOPIC_PERMISSIONS}


def by_app(text: str) -> dict[str, set[str]]:
    """Read `app=topic,topic;app=` as daprd does."""
    parts = [part.partition("=") for part in text.split(";")]
    assert len({name for name, _, _ in parts}) == len(parts), "an app is named twice: the sidecar takes the first"
    return {name: {topic for topic in topics.split(",") if topic} for name, _, topics in parts}


def undelivered(app: str, topics: set[str], file: Path) -> set[str]:
    return {f"{topic}.undelivered.{app}" for topic in topics} if file.parent.name in DELIVERED else set()


def assert_says(file: Path, name: str, expected: Mapping[str, set[str]]) -> None:
    found = by_app(permissions(file)[name])
    wrong = {app: topics for app, topics in expected.items() if found.get(app) != topics}
    lines = "".join(f"\n    {app}={','.join(sorted(topics))};" for app, topics in wrong.items())
    assert not wrong, f"{shown(file)}: {name}: expected these lines:{lines}"
    assert set(found) == set(expected), f"{shown(file)}: {name}: names apps that dapr.yaml does not list"


@pytest.mark.parametrize("file", FILES, ids=shown)
def test_an_app_may_publish_to_the_topics_of_its_own_events_and_to_no_other(file: Path) -> None:
    assert_says(file, "publishingScopes", {app: topics | undelivered(app, hears()[app], file) for app, topics in publishes().items()})


@pytest.mark.parametrize("file", FILES, ids=shown)
def test_an_app_is_delivered_the_topics_it_declares_and_no_other(file: Path) -> None:
    assert_says(file, "subscriptionScopes", {app: topics | undelivered(app, topics, file) for app, topics in hears().items()})


@pytest.mark.parametrize("file", FILES, ids=shown)
def test_every_topic_but_the_strangers_is_closed_to_apps_that_are_named_nowhere(file: Path) -> None:
    expected = set(events.registry().topics) - {STRANGERS}
    found = set(permissions(file)["protectedTopics"].split(","))
    assert found == expected, f"{shown(file)}: protectedTopics: expected {','.join(sorted(expected))}"


@pytest.mark.parametrize("file", sorted([*FILES, *COMPONENTS.rglob("secrets.yaml")]), ids=shown)
def test_a_component_is_loaded_by_the_sidecars_of_the_apps_in_dapr_yaml_alone(file: Path) -> None:
    expected = sorted(app.name for app in APPS)
    assert sorted(yaml.safe_load(file.read_text()).get("scopes", [])) == expected, f"{shown(file)}: expected scopes: {expected}"


def test_only_orders_publishes_orders_and_only_its_readers_hear_them() -> None:
    said = permissions(COMPONENTS / "pubsub.yaml")
    publishers = {app for app, topics in by_app(said["publishingScopes"]).items() if "orders" in topics}
    readers = {app for app, topics in by_app(said["subscriptionScopes"]).items() if "orders" in topics}
    assert publishers == {"orders"}
    assert readers == {"order-book", "shipping", "activity"}


def test_no_app_may_ask_its_sidecar_for_secrets() -> None:
    document = yaml.safe_load((COMPONENTS / "configuration.yaml").read_text())
    assert {scope["storeName"]: scope["defaultAccess"] for scope in document["spec"]["secrets"]["scopes"]} == {"secrets": "deny"}


# ── no secret in a YAML file ─────────────────────────────────────────────────────────────────────────────────────────

SECRET_NAME = re.compile(r"passw(or)?d|token|secret|credential|(api|private|client|access|sas)_?key|connection_?string", re.I)
SAYS_WHERE = {"secretsFile", "secretStore", "secretKeyRef", "storeName"}
"""Names that sound like a secret and say where one is kept."""
REFERENCE = re.compile(r"\$\{[A-Z0-9_]+(:?\?[^}]*)?\}")
LOGIN = re.compile(r"[a-z0-9+]+://[^\s/:@]*:(?P<password>[^/@]+)@")


def yaml_files() -> list[Path]:
    hidden = {".venv", ".git", ".sidestream", ".hypothesis"}
    return sorted(path for path in ROOT.rglob("*.y*ml") if not hidden & set(path.relative_to(ROOT).parts))


def named_values(document: Any) -> Iterator[tuple[str, Any]]:
    """Give every value with its name: that of a map's key, or the one beside it, as Dapr and Kubernetes write lists."""
    if isinstance(document, list):
        for element in document:
            yield from named_values(element)
    elif isinstance(document, dict):
        name = document.get("name")
        if isinstance(name, str) and "value" in document:
            yield name, document["value"]
            document = {key: value for key, value in document.items() if key not in {"name", "value"}}
        for key, value in document.items():
            yield str(key), value
            yield from named_values(value)


def is_a_secret(name: str, value: Any) -> bool:
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        return False
    if login := LOGIN.search(str(value)):
        return not REFERENCE.fullmatch(login["password"])
    is_address, is_reference = "://" in str(value), bool(REFERENCE.fullmatch(str(value)))
    return bool(SECRET_NAME.search(name)) and name not in SAYS_WHERE and not is_address and not is_reference


def secrets_in(text: str) -> list[str]:
    """Return the names under which a YAML text holds a secret itself instead of saying where it is kept."""
    return [name for document in yaml.safe_load_all(text) for name, value in named_values(document) if is_a_secret(name, value)]


@pytest.mark.parametrize("file", yaml_files(), ids=shown)
def test_no_yaml_file_holds_a_secret(file: Path) -> None:
    assert secrets_in(file.read_text()) == [], f"{shown(file)}: say where it is kept instead: secretKeyRef, envRef, or ${{VARIABLE:?}}"


@pytest.mark.parametrize(
    "text",
    [
        "spec: {metadata: [{name: redisPassword, value: hunter2}]}",
        "spec: {metadata: [{name: saslPassword, value: 1}]}",
        "spec: {metadata: [{name: connectionString, value: 'amqp://guest:guest@broker:5672'}]}",
        "spec: {metadata: [{name: brokers, value: 'nats://me:pass@broker:4222'}]}",
        "spec: {metadata: [{name: redisHost, value: 'redis://:pass@broker'}]}",
        "services: {a: {environment: {APP_API_TOKEN: abc.def}}}",
        "services: {a: {environment: {POSTGRES_PASSWORD: '${POSTGRES_PASSWORD:-abc}'}}}",
        "stringData: {password: abc}",
        "env: [{name: DAPR_API_TOKEN, value: abc}]",
        "services: {a: {environment: {DATABASE: 'postgresql://me:pass@database/x'}}}",
    ],
)
def test_a_secret_in_yaml_is_found(text: str) -> None:
    assert len(secrets_in(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "spec: {metadata: [{name: redisPassword, secretKeyRef: {name: redisPassword, key: redisPassword}}]}",
        "spec: {metadata: [{name: redisPassword, envRef: REDIS_PASSWORD}]}",
        "services: {a: {environment: {APP_API_TOKEN: '${VOTES_APP_API_TOKEN:?say why}'}}}",
        "services: {a: {environment: {DATABASE: 'postgresql://me:${DATABASE_PASSWORD:?}@database/x'}}}",
        "env: {SIDESTREAM_URL_ORDERS: 'http://orders:8104'}",
    ],
)
def test_saying_where_a_secret_is_kept_is_no_secret(text: str) -> None:
    assert secrets_in(text) == []
