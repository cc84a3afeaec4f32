import json
from pathlib import Path

import pytest

from sidestream.adapters.components import log_of, named, open_log, read_components
from sidestream.adapters.redis_log import RedisAddress, RedisLog
from sidestream.errors import ConfigurationError

PUBSUB = """
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: pubsub}
spec:
  type: pubsub.redis
  version: v1
  metadata:
"""
SECRETS = """
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: secrets}
spec:
  type: secretstores.local.file
  version: v1
  metadata:
    - {name: secretsFile, value: %s}
"""
FROM_SECRET = """
    - name: redisHost
      secretKeyRef: {name: "redis:host", key: "redis:host"}
auth: {secretStore: secrets}
"""


class Folder:
    """A folder of resources for a test."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, *documents: str) -> "Folder":
        (self.path / name).write_text("\n---\n".join(documents), encoding="utf-8")
        return self

    def pubsub(self, *metadata: str) -> "Folder":
        return self.write("pubsub.yaml", PUBSUB + "\n".join(f"    - {item}" for item in metadata))

    def secrets(self, content: object, *more: str) -> "Folder":
        file = self.path / "secrets.json"
        file.write_text(json.dumps(content), encoding="utf-8")
        return self.write("secrets.yaml", SECRETS % file + "\n".join(f"    - {item}" for item in more))

    def address(self, pubsub: str = "pubsub") -> RedisAddress:
        log = open_log(self.path, pubsub)
        assert isinstance(log, RedisLog)
        return log.address

    def refusal(self, pubsub: str = "pubsub") -> str:
        with pytest.raises(ConfigurationError) as raised:
            open_log(self.path, pubsub)
        return str(raised.value)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


# ── what can be read ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_component_with_plain_values_is_read(folder: Folder) -> None:
    folder.pubsub(
        "{name: redisHost, value: 'broker:6380'}",
        "{name: redisUsername, value: app}",
        "{name: redisPassword, value: s3cret}",
        "{name: redisDB, value: 2}",
        "{name: enableTLS, value: true}",
    )
    expected = RedisAddress(host="broker", port=6380, username="app", password="s3cret", database=2, tls=True)
    assert folder.address() == expected


@pytest.mark.parametrize(
    ("value", "host", "port"),
    [
        ("localhost", "localhost", 6379),
        ("127.0.0.1:7000", "127.0.0.1", 7000),
        ("'[::1]:7000'", "::1", 7000),
        ("'[::1]'", "::1", 6379),
        ("'::1'", "::1", 6379),
    ],
)
def test_a_host_may_stand_with_or_without_a_port(folder: Folder, value: str, host: str, port: int) -> None:
    address = folder.pubsub(f"{{name: redisHost, value: {value}}}").address()
    assert (address.host, address.port) == (host, port)


def test_names_are_compared_without_case_and_the_port_may_stand_apart(folder: Folder) -> None:
    address = folder.pubsub("{name: REDISHOST, value: broker}", "{name: redisPort, value: '7001'}").address()
    assert (address.host, address.port) == ("broker", 7001)


def test_the_certificate_is_checked_unless_the_component_says_not_to(folder: Folder) -> None:
    assert folder.pubsub("{name: redisHost, value: a}", "{name: enableTLS, value: 'true'}").address().verify
    items = ("{name: redisHost, value: a}", "{name: enableTLS, value: 'true'}", "{name: insecureSkipTLSVerify, value: 'true'}")
    assert not folder.pubsub(*items).address().verify


def test_components_may_share_a_file_with_other_resources(folder: Folder) -> None:
    other = "apiVersion: dapr.io/v1alpha1\nkind: Subscription\nmetadata: {name: pubsub}\nspec: {}"
    folder.write("all.yml", other, "", PUBSUB + "    - {name: redisHost, value: broker}", "just text")
    (folder.path / "README.md").write_text("kind: Component: no YAML at all")
    (folder.path / "brokers.yaml").mkdir()
    assert folder.address().host == "broker"
    assert [component.name for component in read_components(folder.path)] == ["pubsub"]


def test_the_repository_s_own_component_is_read(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Path(__file__).resolve().parents[2] / "components"
    monkeypatch.chdir(folder.path)
    Path(".sidestream").mkdir()
    Path(".sidestream/secrets.json").write_text('{"redisHost": "127.0.0.1:4711"}')
    log = open_log(own, "pubsub")
    assert isinstance(log, RedisLog)
    assert log.address == RedisAddress(host="127.0.0.1", port=4711)


def test_a_file_of_secrets_with_a_relative_path_lies_where_the_sidecar_starts(folder: Folder) -> None:
    folder.write("pubsub.yaml", PUBSUB + FROM_SECRET).write("secrets.yaml", SECRETS % "kept/secrets.json")
    base = folder.path / "elsewhere"
    (base / "kept").mkdir(parents=True)
    (base / "kept" / "secrets.json").write_text('{"redis": {"host": "there:1"}}')
    log = log_of(named(read_components(folder.path), "pubsub", folder.path), base)
    assert isinstance(log, RedisLog)
    assert log.address.host == "there"


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nested_secrets_are_joined_by_a_colon(folder: Folder) -> None:
    folder.write("pubsub.yaml", PUBSUB + FROM_SECRET).secrets({"redis": {"host": "deep:1"}})
    assert folder.address().host == "deep"


def test_nested_secrets_are_joined_by_the_separator_of_the_store(folder: Folder) -> None:
    folder.write("pubsub.yaml", PUBSUB + FROM_SECRET.replace("redis:host", "redis/0/host"))
    folder.secrets({"redis": [{"host": "deep:1"}]}, "{name: nestedSeparator, value: /}")
    assert folder.address().host == "deep"


def test_a_multi_valued_store_has_keys_below_each_name(folder: Folder) -> None:
    reference = FROM_SECRET.replace('name: "redis:host", key: "redis:host"', "name: redis, key: host")
    folder.write("pubsub.yaml", PUBSUB + reference).secrets({"redis": {"host": "several:1"}}, "{name: multiValued, value: 'true'}")
    assert folder.address().host == "several"


def test_the_key_may_be_left_out(folder: Folder) -> None:
    reference = FROM_SECRET.replace('name: "redis:host", key: "redis:host"', "name: redisHost")
    folder.write("pubsub.yaml", PUBSUB + reference).secrets({"redisHost": "short:1"})
    assert folder.address().host == "short"


def test_secrets_may_stand_in_the_environment(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_REDIS", "from-env:1")
    reference = FROM_SECRET.replace('name: "redis:host", key: "redis:host"', "name: REDIS")
    store = SECRETS.replace("local.file", "local.env").replace("secretsFile", "prefix") % "MY_"
    folder.write("all.yaml", PUBSUB + reference, store)
    assert folder.address().host == "from-env"
    monkeypatch.delenv("MY_REDIS")
    assert "MY_REDIS" in folder.refusal()


def test_a_value_may_name_an_environment_variable(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS", "from-env:1")
    assert folder.pubsub("{name: redisHost, envRef: REDIS}").address().host == "from-env"


@pytest.mark.parametrize("name", ["DAPR_API_TOKEN", "app_api_token"])
def test_the_tokens_are_given_to_no_component(folder: Folder, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "s3cret")
    assert "given to no component" in folder.pubsub(f"{{name: redisHost, envRef: {name}}}").refusal()


# ── what cannot ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_folder_is_said_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere.*SIDESTREAM_COMPONENTS"):
        open_log(tmp_path / "nowhere", "pubsub")


def test_a_missing_component_is_said_with_what_is_there(folder: Folder) -> None:
    assert "expected a component 'pubsub', found none" in folder.refusal()
    assert "expected a component 'other', found pubsub" in folder.pubsub("{name: redisHost, value: a}").refusal("other")


def test_two_components_of_one_name_are_refused_with_their_files(folder: Folder) -> None:
    folder.pubsub("{name: redisHost, value: a}").write("second.yaml", PUBSUB)
    assert "found 2" in folder.refusal()
    assert "second.yaml" in folder.refusal()


def test_a_component_of_another_kind_is_refused(folder: Folder) -> None:
    folder.write("pubsub.yaml", PUBSUB.replace("pubsub.redis", "state.redis") + "    - {name: redisHost, value: a}")
    assert "expected a pub/sub component, found type state.redis" in folder.refusal()


def test_a_broker_without_a_reader_is_refused_with_those_that_have_one(folder: Folder) -> None:
    folder.write("pubsub.yaml", PUBSUB.replace("pubsub.redis", "pubsub.mqtt3") + "    - {name: url, value: a}")
    assert "expected one of pubsub.redis, pubsub.kafka, pubsub.jetstream, found pubsub.mqtt3" in folder.refusal()
    assert "runs on the inbox log: SIDESTREAM_FOLLOW=inbox" in folder.refusal()
    assert "--memory" in folder.refusal()


def test_broken_yaml_is_said_with_file_and_line(folder: Folder) -> None:
    folder.write("broken.yaml", "kind: Component\nmetadata: {name: [}\n")
    assert "broken.yaml:2: expected YAML" in folder.refusal()


def test_a_file_that_is_no_text_is_said(folder: Folder) -> None:
    (folder.path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "binary.yaml" in folder.refusal()


@pytest.mark.parametrize(
    "document",
    [
        "kind: Component",
        "kind: Component\nmetadata: {name: pubsub}",
        "kind: Component\nmetadata: pubsub\nspec: {type: a}",
        "kind: Component\nmetadata: {name: 5}\nspec: {type: a}",
        "kind: Component\nmetadata: {name: pubsub}\nspec: {type: pubsub.redis, metadata: {redisHost: a}}",
        "kind: Component\nmetadata: {name: pubsub}\nspec: {type: pubsub.redis, metadata: [redisHost]}",
        "kind: Component\nmetadata: {name: pubsub}\nspec: {type: pubsub.redis, metadata: [{name: redisHost, value: [a]}]}",
        "kind: Component\nmetadata: {name: pubsub}\nspec: {type: pubsub.redis, metadata: [{name: redisHost, secretKeyRef: a}]}",
    ],
)
def test_a_malformed_component_is_said_with_its_file(folder: Folder, document: str) -> None:
    assert "odd.yaml" in folder.write("odd.yaml", document).refusal()


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ((), "expected redisHost"),
        (("{name: redisHost, value: ''}",), "expected redisHost"),
        (("{name: redisHost, value: 'a:b'}",), "redisHost: expected a number, found 'b'"),
        (("{name: redisHost, value: 'a:99999'}",), "expected a number"),
        (("{name: redisHost, value: a}", "{name: redisDB, value: first}"), "redisDB: expected a number, found 'first'"),
        (("{name: redisHost, value: 'a:1,b:1'}",), "found several. Say redisType: cluster"),
        (("{name: redisHost, value: 'a:1,'}", "{name: redisType, value: cluster}"), "expected redisHost"),
        (("{name: redisHost, value: a}", "{name: failover, value: 'true'}"), "expected sentinelMasterName"),
        (("{name: redisHost, value: a}", "{name: useEntraID, value: 'true'}"), "useentraid: the log cannot"),
        (("{name: redisHost, envRef: NOT_SET_ANYWHERE}",), "NOT_SET_ANYWHERE"),
        (("{name: redisHost, secretKeyRef: {name: a}}",), "auth.secretStore"),
    ],
)
def test_metadata_that_names_no_server_is_refused(folder: Folder, metadata: tuple[str, ...], said: str) -> None:
    assert said in folder.pubsub(*metadata).refusal()


@pytest.mark.parametrize("content", [{}, {"redis": {}}, {"redis": {"host": ""}}, {"redis": {"host": 5}}, {"redis:host": None}])
def test_an_unknown_secret_is_said_with_its_store(folder: Folder, content: object) -> None:
    refusal = folder.write("pubsub.yaml", PUBSUB + FROM_SECRET).secrets(content).refusal()
    assert "redisHost: expected the secret 'redis:host'" in refusal
    assert "component 'secrets'" in refusal


def test_a_missing_secrets_file_is_said_with_who_writes_it(folder: Folder) -> None:
    folder.write("all.yaml", PUBSUB + FROM_SECRET, SECRETS % "nowhere.json")
    assert "expected the secrets file nowhere.json, found none" in folder.refusal()
    assert "sidestream up" in folder.refusal()


@pytest.mark.parametrize("content", ["", "{", "[]", '"a"'])
def test_a_secrets_file_that_is_no_json_object_is_said(folder: Folder, content: str) -> None:
    folder.write("pubsub.yaml", PUBSUB + FROM_SECRET).secrets({})
    (folder.path / "secrets.json").write_text(content)
    assert "secrets.json as" in folder.refusal()


def test_a_store_that_is_not_there_or_cannot_be_read_here_is_said(folder: Folder) -> None:
    folder.write("pubsub.yaml", PUBSUB + FROM_SECRET)
    assert "expected a component 'secrets'" in folder.refusal()
    folder.write("secrets.yaml", SECRETS.replace("local.file", "hashicorp.vault") % "a")
    assert "found secretstores.hashicorp.vault" in folder.refusal()
    folder.write("secrets.yaml", (SECRETS % "a").replace("secretsFile", "other"))
    assert "expected secretsFile" in folder.refusal()
