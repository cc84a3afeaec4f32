"""The folders of components/brokers, and what is made of a component by the type of its broker; nothing is connected."""

from pathlib import Path

import pytest
import yaml

from sidestream.adapters.broker_kinds import BROKERS, in_force, preparing
from sidestream.adapters.components import open_log, read_components
from sidestream.adapters.jetstream_log import JetStreamLog
from sidestream.adapters.kafka_log import KafkaLog
from sidestream.adapters.kafka_topics import KafkaAddress
from sidestream.adapters.nats_requests import NatsAddress
from sidestream.errors import ConfigurationError
from tests.parts import REPOSITORY

COMPONENTS = REPOSITORY / "components"
FOLDERS = sorted(path for path in (COMPONENTS / "brokers").iterdir() if path.is_dir())


def written(folder: Path, kind: str, **metadata: str) -> Path:
    items = [{"name": name, "value": value} for name, value in metadata.items()]
    document = {"kind": "Component", "metadata": {"name": "pubsub"}, "spec": {"type": f"pubsub.{kind}", "version": "v1", "metadata": items}}
    (folder / "pubsub.yaml").write_text(yaml.safe_dump(document))
    return folder


def kafka(folder: Path, **metadata: str) -> KafkaAddress:
    log = open_log(written(folder, "kafka", brokers="a:9092,b:9092", **metadata), "pubsub")
    assert isinstance(log, KafkaLog)
    return log.address


def nats(folder: Path, **metadata: str) -> NatsAddress:
    log = open_log(written(folder, "jetstream", natsURL="nats://a:4222", **metadata), "pubsub")
    assert isinstance(log, JetStreamLog)
    return log.address


# ── the folders ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_there_is_a_folder_for_each_known_broker() -> None:
    assert [folder.name for folder in FOLDERS] == sorted(kind.name for kind in BROKERS.values())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_folder_holds_the_component_of_its_name_and_what_the_sidecar_does_when_it_fails(folder: Path) -> None:
    found = in_force(folder, "pubsub")
    assert found.kind.name == folder.name
    assert (folder / "resiliency.yaml").is_file()
    assert found.follow == ("log" if folder.name in {"redis", "kafka", "jetstream"} else "inbox")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_every_value_of_a_folder_says_why_in_the_line_above_it(folder: Path) -> None:
    for file in sorted(folder.glob("*.yaml")):
        lines = file.read_text().splitlines()
        for at, line in enumerate(lines):
            if line.strip().startswith("- name: ") and "value" in lines[at + 1] + lines[min(at + 2, len(lines) - 1)]:
                assert lines[at - 1].strip().startswith("#"), f"{file}:{at + 1}"


@pytest.mark.parametrize("folder", [path for path in FOLDERS if path.name != "in-memory"], ids=lambda path: path.name)
def test_the_address_is_a_secret_that_its_folder_says_where_to_find(folder: Path) -> None:
    assert in_force(folder, "pubsub").secret
    assert (folder / "secrets.yaml").read_bytes() == (COMPONENTS / "secrets.yaml").read_bytes()


def test_what_the_inbox_does_when_it_fails_is_the_same_on_every_broker_without_a_log() -> None:
    def policies(folder: Path) -> object:
        return yaml.safe_load((folder / "resiliency.yaml").read_text())["spec"]

    assert policies(COMPONENTS / "inbox") == policies(COMPONENTS / "brokers" / "rabbitmq") == policies(COMPONENTS / "brokers" / "in-memory")
    assert policies(COMPONENTS / "brokers" / "redis") == policies(COMPONENTS / "brokers" / "kafka")


def test_one_of_the_folders_is_in_force() -> None:
    (component,) = (each for each in read_components(COMPONENTS) if each.name == "pubsub")
    folder = COMPONENTS / "brokers" / BROKERS[component.type].name
    for file in sorted(folder.glob("*.yaml")):
        assert (COMPONENTS / file.name).read_bytes() == file.read_bytes(), file


# ── Kafka ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_kafka_without_authentication_is_read_in_the_clear(tmp_path: Path) -> None:
    address = kafka(tmp_path, authType="none")
    assert (address.brokers, dict(address.security)) == ("a:9092,b:9092", {})


def test_a_kafka_password_goes_over_tls_unless_the_component_says_not_to(tmp_path: Path) -> None:
    login = {"authType": "password", "saslUsername": "app", "saslPassword": "s3cret", "saslMechanism": "SHA-512"}
    expected = {"sasl.mechanisms": "SCRAM-SHA-512", "sasl.username": "app", "sasl.password": "s3cret"}
    assert kafka(tmp_path, **login).security == {"security.protocol": "SASL_SSL", **expected}
    assert kafka(tmp_path, **login, disableTls="true").security == {"security.protocol": "SASL_PLAINTEXT", **expected}
    assert "s3cret" not in str(kafka(tmp_path, **login))


def test_kafka_certificates_are_handed_on(tmp_path: Path) -> None:
    found = kafka(tmp_path, authType="mtls", caCert="CA", clientCert="C", clientKey="K", skipVerify="true").security
    assert found == {
        "security.protocol": "SSL",
        "ssl.ca.pem": "CA",
        "ssl.certificate.pem": "C",
        "ssl.key.pem": "K",
        "enable.ssl.certificate.verification": False,
    }


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"brokers": "", "authType": "none"}, "expected brokers"),
        ({"brokers": "a:1"}, "authType: expected none, password"),
        ({"brokers": "a:1", "authType": "oidc"}, "found 'oidc'"),
        ({"brokers": "a:1", "authType": "password", "saslMechanism": "GSSAPI"}, "saslMechanism: expected SHA-256"),
    ],
)
def test_a_way_into_kafka_that_the_log_cannot_go_is_refused(tmp_path: Path, metadata: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        open_log(written(tmp_path, "kafka", **metadata), "pubsub")


# ── JetStream ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_jetstream_is_read_where_the_component_says(tmp_path: Path) -> None:
    assert nats(tmp_path, token="t") == NatsAddress(url="nats://a:4222", token="t")
    assert nats(tmp_path, domain="hub").prefix == "$JS.hub.API"
    assert nats(tmp_path, apiPrefix="own.api").prefix == "own.api"
    assert nats(tmp_path, streamName="all").stream == "all"


@pytest.mark.parametrize(("metadata", "said"), [({}, "expected natsURL"), ({"natsURL": "nats://a:1", "jwt": "x"}, "jwt: the log cannot")])
def test_a_way_into_jetstream_that_the_log_cannot_go_is_refused(tmp_path: Path, metadata: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        open_log(written(tmp_path, "jetstream", **metadata), "pubsub")


def test_a_nats_password_is_not_told(tmp_path: Path) -> None:
    log = open_log(written(tmp_path, "jetstream", natsURL="nats://app:s3cret@a:4222,nats://app:s3cret@b:4222"), "pubsub")
    assert isinstance(log, JetStreamLog)
    assert str(log.address) == "nats at a:4222, b:4222"


# ── what a broker needs first ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("kind", "needs"), [("redis", False), ("kafka", True), ("jetstream", True), ("rabbitmq", False), ("mqtt3", False)])
def test_only_kafka_and_jetstream_need_something_first(tmp_path: Path, kind: str, needs: bool) -> None:
    found = in_force(written(tmp_path, kind, brokers="a:1", authType="none", natsURL="nats://a:1"), "pubsub")
    assert found.needs_topics is needs
    assert (preparing(found) is not None) is needs
