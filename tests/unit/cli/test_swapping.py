"""Putting another broker in force: files are copied, addresses noted, histories not parted; nothing is connected."""

import shutil
from pathlib import Path

import pytest

from sidestream.cli.swapping import broker_in_force, folder_in_force, offered, use
from sidestream.errors import ConfigurationError
from sidestream.launcher.folder import SystemFolder
from sidestream.launcher.problem import CannotStart
from sidestream.launcher.runfile import read
from tests.parts import REPOSITORY


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of its own with the repository's components and run file."""
    shutil.copytree(REPOSITORY / "components", tmp_path / "components")
    shutil.copyfile(REPOSITORY / "dapr.yaml", tmp_path / "dapr.yaml")
    return tmp_path


@pytest.fixture
def place(tree: Path) -> SystemFolder:
    return SystemFolder(tree / ".sidestream")


def in_force(tree: Path) -> str:
    return broker_in_force(tree / "dapr.yaml").kind.name


def swap(tree: Path, name: str, address: str = "", *, leave_history: bool = False) -> list[str]:
    found, done = use(tree / "components", name, SystemFolder(tree / ".sidestream"), address, leave_history=leave_history)
    assert found.kind.name == name
    return list(done.files)


def test_the_folder_in_force_is_the_one_with_brokers_below_it(tree: Path) -> None:
    assert folder_in_force(tree / "dapr.yaml") == tree / "components"
    shutil.rmtree(tree / "components" / "brokers")
    with pytest.raises(ConfigurationError, match="with a folder brokers in it"):
        folder_in_force(tree / "dapr.yaml")


def test_using_a_broker_has_the_effect_of_copying_its_folder(tree: Path) -> None:
    assert swap(tree, "kafka", "broker:9092") == ["pubsub.yaml"]
    for file in (tree / "components" / "brokers" / "kafka").iterdir():
        assert (tree / "components" / file.name).read_bytes() == file.read_bytes()
    assert in_force(tree) == "kafka"
    assert SystemFolder(tree / ".sidestream").read_secrets() == {"kafkaBrokers": "broker:9092"}


def test_using_it_again_changes_nothing(tree: Path) -> None:
    swap(tree, "kafka", "broker:9092")
    assert swap(tree, "kafka") == []


def test_there_and_back_is_as_before(tree: Path) -> None:
    before = {path.name: path.read_bytes() for path in (tree / "components").glob("*.yaml")}
    assert swap(tree, "rabbitmq", "amqp://u:p@h:5672") == ["pubsub.yaml", "resiliency.yaml"]
    swap(tree, "redis")
    assert {path.name: path.read_bytes() for path in (tree / "components").glob("*.yaml")} == before


def test_secrets_of_other_brokers_stay(tree: Path, place: SystemFolder) -> None:
    place.write_secrets("127.0.0.1:1")
    swap(tree, "jetstream", "nats://h:4222")
    assert place.read_secrets() == {"redisHost": "127.0.0.1:1", "natsURL": "nats://h:4222"}
    assert place.secrets.stat().st_mode & 0o777 == 0o600


def test_a_broker_without_an_address_is_refused_and_nothing_is_changed(tree: Path) -> None:
    with pytest.raises(ConfigurationError, match="expected the address of kafka.*--address host:9092"):
        swap(tree, "kafka")
    assert in_force(tree) == "redis"


@pytest.mark.parametrize("name", ["pulsar", "", "..", "../inbox"])
def test_a_broker_that_has_no_folder_is_refused_with_those_that_have_one(tree: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="in-memory, jetstream, kafka, rabbitmq, redis"):
        swap(tree, name, "a:1")
    assert in_force(tree) == "redis"


@pytest.mark.parametrize("kept", ["read-models", "stores"])
def test_a_history_is_not_parted_unless_somebody_says_so(tree: Path, place: SystemFolder, kept: str) -> None:
    (place.data / kept / "tally").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match=rf"found {kept} of the log in redis.*--leave-history"):
        swap(tree, "kafka", "broker:9092")
    assert in_force(tree) == "redis"
    assert swap(tree, "redis") == []
    assert swap(tree, "kafka", "broker:9092", leave_history=True) == ["pubsub.yaml"]


def test_every_offered_broker_is_listed_with_the_one_in_force(tree: Path) -> None:
    assert [(each.name, each.state, each.log) for each in offered(tree / "components")] == [
        ("in-memory", "", "inbox"),
        ("jetstream", "", "the broker's"),
        ("kafka", "", "the broker's"),
        ("rabbitmq", "", "inbox"),
        ("redis", "in force", "the broker's"),
    ]
    with (tree / "components" / "pubsub.yaml").open("a") as file:
        file.write("# tuned\n")
    assert next(each.state for each in offered(tree / "components") if each.name == "redis") == "in force, changed by hand"


def test_a_broker_without_a_log_says_what_that_means(tree: Path, place: SystemFolder) -> None:
    _, done = use(tree / "components", "rabbitmq", place, "amqp://u:p@h:5672", leave_history=False)
    assert "inbox log of its own" in done.remarks[0]


def test_the_run_file_of_the_repository_has_one_broker_for_all() -> None:
    assert {folder for app in read(REPOSITORY / "dapr.yaml").apps for folder in app.resource_folders} == {REPOSITORY / "components"}


def test_a_redis_of_somebody_else_is_remembered_and_an_address_that_is_none_is_refused_unseen(tree: Path, place: SystemFolder) -> None:
    swap(tree, "redis", "elsewhere:6379")
    assert place.named_server == "elsewhere:6379"
    for address in ("hunter2@elsewhere:6379", "elsewhere", "elsewhere:x"):
        with pytest.raises(CannotStart, match="expected host:port") as refused:
            swap(tree, "redis", address)
        assert "hunter2" not in str(refused.value)
    assert place.read_secrets() == {"redisHost": "elsewhere:6379", "redisServer": "elsewhere:6379"}
