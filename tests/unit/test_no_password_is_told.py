"""Addresses and errors say where, never with which password; what is wrong with an address is said without showing it."""

import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from sidestream.adapters.broker_kinds import in_force
from sidestream.adapters.components import open_log
from sidestream.adapters.postgres_events import PostgresEventStore
from sidestream.adapters.postgres_inbox import PostgresInbox
from sidestream.adapters.postgres_read_model import PostgresReadModels
from sidestream.errors import SidestreamError
from sidestream.launcher.other_broker import OtherBroker
from sidestream.launcher.problem import CannotStart
from sidestream.settings import Settings
from tests.parts import REPOSITORY

PASSWORD = "hunter2-s3cret"
NO_ADDRESSES = {
    "a word is misspelt": f"postgres//me:{PASSWORD}@127.0.0.1:1/x",
    "a bad escape": f"postgresql://me:{PASSWORD}%zz@127.0.0.1/x",
    "half of it": f"me:{PASSWORD}",
}
DATABASES: dict[str, Callable[[str], object]] = {
    "read models": lambda url: PostgresReadModels(url, "p"),
    "event store": lambda url: PostgresEventStore(url, "p"),
    "inbox": lambda url: PostgresInbox(url, "p"),
}
COMPONENTS = {
    "redis away": ("redis", {"redisHost": "127.0.0.1:1", "redisPassword": PASSWORD}),
    "redis with a URL": ("redis", {"redisHost": f"redis://:{PASSWORD}@127.0.0.1:1"}),
    "redis with a login": ("redis", {"redisHost": f":{PASSWORD}@127.0.0.1:1"}),
    "redis cluster": ("redis", {"redisHost": "127.0.0.1:1", "redisType": "cluster", "redisPassword": PASSWORD}),
    "jetstream away": ("jetstream", {"natsURL": f"nats://me:{PASSWORD}@127.0.0.1:1"}),
    "jetstream without a port": ("jetstream", {"natsURL": f"nats://me:{PASSWORD}@127.0.0.1:x"}),
    "kafka with a login": ("kafka", {"brokers": f"me:{PASSWORD}@127.0.0.1:1", "authType": "none"}),
    "kafka with another mechanism": (
        "kafka",
        {"brokers": "127.0.0.1:1", "authType": "password", "saslUsername": "me", "saslPassword": PASSWORD, "saslMechanism": "PLAIN"},
    ),
}


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("url", NO_ADDRESSES.values(), ids=NO_ADDRESSES)
def test_an_address_that_is_none_is_refused_unseen(database: str, url: str) -> None:
    with pytest.raises(SidestreamError, match="expected an address like postgresql://") as refused:
        DATABASES[database](url)
    assert PASSWORD not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("case", COMPONENTS)
def test_what_goes_wrong_at_a_broker_is_said_without_its_password(tmp_path: Path, case: str) -> None:
    kind, metadata = COMPONENTS[case]
    items = [{"name": name, "value": value} for name, value in metadata.items()]
    spec = {"type": f"pubsub.{kind}", "version": "v1", "metadata": items}
    (tmp_path / "pubsub.yaml").write_text(yaml.safe_dump({"kind": "Component", "metadata": {"name": "pubsub"}, "spec": spec}))

    with pytest.raises(SidestreamError) as refused:
        open_log(tmp_path, "pubsub").read("votes", None, 1)

    assert PASSWORD not in "".join(traceback.format_exception(refused.value))


def test_settings_that_are_printed_show_neither_token_nor_address_of_a_database() -> None:
    url = f"postgresql://me:{PASSWORD}@database/x"
    settings = Settings(dapr_api_token=PASSWORD, app_api_token=PASSWORD, database_url=url, store_url=url)
    assert PASSWORD not in repr(settings)
    assert PASSWORD not in str(settings)


@pytest.mark.parametrize(
    "address", [f"amqp://me:{PASSWORD}/x@127.0.0.1:1", f"amqp://me:x#{PASSWORD}@127.0.0.1:1", f"me:{PASSWORD}", PASSWORD]
)
async def test_an_address_of_rabbitmq_that_is_none_is_refused_unseen(address: str) -> None:
    found = in_force(REPOSITORY / "components" / "brokers" / "rabbitmq", "pubsub")
    with pytest.raises(CannotStart, match="expected the address of rabbitmq as amqp://") as refused:
        await OtherBroker(found, address).ready([])
    assert PASSWORD not in "".join(traceback.format_exception(refused.value))
