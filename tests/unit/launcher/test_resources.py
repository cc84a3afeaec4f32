"""What a sidecar will miss is said before anything starts."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sidestream.launcher import resources
from sidestream.launcher.problem import CannotStart
from sidestream.launcher.runfile import App

PUBSUB: dict[str, Any] = {
    "kind": "Component",
    "metadata": {"name": "pubsub"},
    "spec": {"type": "pubsub.redis"},
    "auth": {"secretStore": "secrets"},
}
SECRETS: dict[str, Any] = {
    "kind": "Component",
    "metadata": {"name": "secrets"},
    "spec": {"type": "secretstores.local.file", "metadata": [{"name": "secretsFile", "value": ".sidestream/secrets.json"}]},
}


def app(folder: Path, *documents: dict[str, Any], **changes: Any) -> App:
    components = folder / "components"
    components.mkdir()
    for number, document in enumerate(documents):
        (components / f"{number}.yaml").write_text(yaml.safe_dump(document))
    (folder / "configuration.yaml").write_text("kind: Configuration")
    entry = {
        "name": "tally",
        "folder": folder,
        "command": ["sh", "-c", "true"],
        "port": 1,
        "http_port": 2,
        "grpc_port": 3,
        "metrics_port": 4,
    }
    return App(**{**entry, "resources": components, "config": folder / "configuration.yaml", **changes})


def test_the_folder_of_the_pubsub_component_is_found(tmp_path: Path) -> None:
    assert resources.check(app(tmp_path, PUBSUB, SECRETS), "pubsub") == tmp_path / "components"


def test_a_missing_pubsub_component_is_named_with_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"expected a component `pubsub` of a type pubsub\.\* .* found secrets"):
        resources.check(app(tmp_path, SECRETS), "pubsub")


def test_a_missing_secret_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="its secret store `secrets` is missing"):
        resources.check(app(tmp_path, PUBSUB), "pubsub")


def test_a_missing_folder_configuration_or_program_is_named(tmp_path: Path) -> None:
    complete = app(tmp_path, PUBSUB, SECRETS)
    for change, sentence in (
        ({"resources": tmp_path / "nowhere"}, "expected a folder of components at"),
        ({"config": tmp_path / "nowhere.yaml"}, "expected a configuration at"),
        ({"config": None}, "expected a configFilePath"),
        ({"command": [".venv/bin/python", "-m", "x"]}, "Run `make setup`"),
    ):
        with pytest.raises(CannotStart, match=sentence):
            resources.check(complete.model_copy(update=change), "pubsub")


def test_a_copy_reads_its_secrets_elsewhere_and_is_otherwise_the_same(tmp_path: Path) -> None:
    source = app(tmp_path, PUBSUB, SECRETS).resource_folders[0]

    copy = resources.moved(source, tmp_path / "copy", tmp_path / "secrets.json")

    assert yaml.safe_load((copy / "0.yaml").read_text()) == PUBSUB
    [item] = yaml.safe_load((copy / "1.yaml").read_text())["spec"]["metadata"]
    assert item["value"] == str(tmp_path / "secrets.json")


GUARDED: dict[str, Any] = {
    **PUBSUB,
    "spec": {"type": "pubsub.redis", "metadata": [{"name": "publishingScopes", "value": "tally="}, {"name": "redisDB", "value": "1"}]},
    "scopes": ["votes"],
}


@pytest.mark.parametrize("outside", [(GUARDED, SECRETS), (PUBSUB, {**SECRETS, "scopes": ["votes"]})], ids=["pubsub", "secrets"])
def test_an_app_outside_the_scopes_of_what_it_needs_is_told_the_line_to_add(tmp_path: Path, outside: tuple[dict[str, Any], ...]) -> None:
    with pytest.raises(CannotStart, match="app tally: expected it among the scopes of .* found votes.* Add `- tally` there"):
        resources.check(app(tmp_path, *outside), "pubsub")


def test_scopes_of_components_that_an_app_does_not_need_do_not_matter(tmp_path: Path) -> None:
    other = {"kind": "Component", "metadata": {"name": "state"}, "spec": {"type": "state.redis"}, "scopes": ["votes"]}
    resources.check(app(tmp_path, PUBSUB, SECRETS, other), "pubsub")


def test_an_unguarded_copy_is_for_every_app_and_every_topic(tmp_path: Path) -> None:
    entry = app(tmp_path, GUARDED, SECRETS)
    resources.check(entry, "pubsub", guarded=False)

    copy = resources.moved(entry.resource_folders[0], tmp_path / "copy", tmp_path / "secrets.json", guarded=False)

    document = yaml.safe_load((copy / "0.yaml").read_text())
    assert "scopes" not in document
    assert document["spec"]["metadata"] == [{"name": "redisDB", "value": "1"}]


def test_a_copy_of_resources_is_for_its_owner_only(tmp_path: Path) -> None:
    literal = {**PUBSUB, "spec": {"type": "pubsub.redis", "metadata": [{"name": "redisPassword", "value": "hunter2"}]}}
    source = app(tmp_path, literal, SECRETS).resource_folders[0]
    copy = resources.moved(source, tmp_path / "copy", tmp_path / "secrets.json")
    assert "hunter2" in (copy / "0.yaml").read_text()
    assert copy.stat().st_mode & 0o077 == 0
