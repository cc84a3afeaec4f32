"""`sidestream up` and `sidestream broker use` on other brokers: what the one who types them is told."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sidestream.launcher.network import free_ports
from tests.brokers.chosen import with_a_log
from tests.brokers.servers import Server
from tests.integration.sidestream_program import sidestream
from tests.parts import REPOSITORY

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A run file with votes and tally, and components of its own."""
    shutil.copytree(REPOSITORY / "components", tmp_path / "components")
    text = (REPOSITORY / "tests" / "apps" / "voting.yaml").read_text()
    text = text.replace("../../components", str(tmp_path / "components")).replace("../..", str(REPOSITORY))
    for old, new in zip(range(8), free_ports(8), strict=True):
        text = text.replace(["18101", "13601", "15601", "19101", "18201", "13611", "15611", "19111"][old], str(new))
    (tmp_path / "dapr.yaml").write_text(text)
    return tmp_path


def where(tree: Path) -> tuple[str, ...]:
    return ("-f", str(tree / "dapr.yaml"), "--data", str(tree / ".sidestream"))


@pytest.mark.parametrize("broker", with_a_log())
async def test_using_a_broker_makes_what_it_needs_once(tree: Path, broker: str, broker_server: Callable[[str], Server]) -> None:
    address = broker_server(broker).address
    first = json.loads((await sidestream("broker", "use", broker, "--address", address, *where(tree), "--json")).out)
    assert first["files"] == ["pubsub.yaml"]
    assert {"votes", "assets", "external"} <= set(first["topics"])
    again = json.loads((await sidestream("broker", "use", broker, *where(tree), "--json")).out)
    assert (again["files"], again["topics"]) == ([], [])


@pytest.mark.parametrize(
    ("broker", "address"),
    [("kafka", "127.0.0.1:1"), ("jetstream", "nats://u:s3cret@127.0.0.1:1"), ("rabbitmq", "amqp://u:s3cret@127.0.0.1:1")],
)
async def test_a_broker_that_does_not_answer_is_one_sentence_and_nothing_starts(tree: Path, broker: str, address: str) -> None:
    shutil.copytree(tree / "components" / "brokers" / broker, tree / "components", dirs_exist_ok=True)
    ended = await sidestream("up", *where(tree), code=2, SIDESTREAM_BROKER=address)
    said = " ".join(ended.err.split()) or " ".join(ended.out.split())
    assert f"no usable {broker} at 127.0.0.1:1" in said
    assert "s3cret" not in ended.err + ended.out
    assert "Traceback" not in ended.err


async def test_a_broker_without_an_address_is_one_sentence(tree: Path) -> None:
    shutil.copytree(tree / "components" / "brokers" / "kafka", tree / "components", dirs_exist_ok=True)
    ended = await sidestream("up", *where(tree), code=2)
    assert "expected the address of kafka, found none" in ended.err


async def test_a_broker_that_each_sidecar_has_for_itself_is_refused_for_several_apps(tree: Path) -> None:
    shutil.copytree(tree / "components" / "brokers" / "in-memory", tree / "components", dirs_exist_ok=True)
    ended = await sidestream("up", *where(tree), code=2)
    assert "each sidecar has its own" in ended.err


async def test_a_broker_that_is_not_rabbitmq_is_said(tree: Path, broker_server: Callable[[str], Server]) -> None:
    shutil.copytree(tree / "components" / "brokers" / "rabbitmq", tree / "components", dirs_exist_ok=True)
    address = broker_server("jetstream").address.replace("nats://", "amqp://u:s3cret@")
    ended = await sidestream("up", *where(tree), code=2, SIDESTREAM_BROKER=address)
    assert "does not speak AMQP" in ended.err
    assert "s3cret" not in ended.err


async def test_another_broker_is_refused_while_a_system_runs(tree: Path) -> None:
    from sidestream.launcher.folder import SystemFolder

    with SystemFolder(tree / ".sidestream").claimed("a test"):
        ended = await sidestream("broker", "use", "kafka", "--address", "a:1", *where(tree), code=2)
    assert "a system runs on this folder already" in ended.err
