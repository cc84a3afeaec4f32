"""A quick conformance run on RabbitMQ, and that nothing stays in it. Run where SIDESTREAM_BROKERS names rabbitmq."""

import struct
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import yaml

from sidestream.conformance import amqp
from sidestream.conformance.clearing import clear
from sidestream.conformance.results import Run
from tests.brokers.servers import Server
from tests.brokers.test_conformance import RUN_FILE
from tests.integration.sidestream_program import sidestream

pytestmark = pytest.mark.timeout(300)

TOPIC, CONSUMER = "sidestream-check-t", "sidestream-check-a"
QUEUE = f"{CONSUMER}-{TOPIC}"
CHANNEL_CLOSED = (20, 40)
DECLARE_QUEUE, QUEUE_DECLARED = (50, 10), (50, 11)
DECLARE_EXCHANGE, EXCHANGE_DECLARED = (40, 10), (40, 11)


async def test_rabbitmq_delivers_everything_to_the_inbox(broker_server: Callable[[str], Server]) -> None:
    address = broker_server("rabbitmq").address
    ended = await sidestream("broker", "check", "rabbitmq", "--address", address, "--quick", "--json", *RUN_FILE)
    found = msgspec.json.decode(ended.out, type=Run)
    assert found.follow == "inbox"
    answers = {name: result.verdict for name in ("attributes-delivered", "delivered-all") if (result := found.result(name))}
    assert answers == {"attributes-delivered": "good", "delivered-all": "good"}
    assert not found.is_bad, found.results


async def test_clearing_deletes_queue_and_exchange_and_those_only(broker_server: Callable[[str], Server], tmp_path: Path) -> None:
    address = broker_server("rabbitmq").address
    declare(address, QUEUE, TOPIC)
    declare(address, "votes-queue", "votes")
    item = {"name": "connectionString", "value": address}
    spec = {"type": "pubsub.rabbitmq", "version": "v1", "metadata": [item]}
    (tmp_path / "pubsub.yaml").write_text(yaml.safe_dump({"kind": "Component", "metadata": {"name": "pubsub"}, "spec": spec}))
    assert there(address, QUEUE, TOPIC) == (True, True)
    for _ in range(2):  # what is not there any more is no problem
        await clear(tmp_path, "pubsub", [TOPIC], [CONSUMER])
        assert there(address, QUEUE, TOPIC) == (False, False)
    assert there(address, "votes-queue", "votes") == (True, True)


def declare(address: str, queue: str, exchange: str) -> None:
    with amqp._connected(address) as connection:
        amqp._log_in(connection, address)
        connection.ask(1, DECLARE_QUEUE, asked_queue(queue, passive=False), QUEUE_DECLARED)
        connection.ask(1, DECLARE_EXCHANGE, asked_exchange(exchange, passive=False), EXCHANGE_DECLARED)


def there(address: str, queue: str, exchange: str) -> tuple[bool, bool]:
    """Ask for them without making them: the server closes the channel over one that it does not have."""
    asked = (
        (DECLARE_QUEUE, asked_queue(queue, passive=True), QUEUE_DECLARED),
        (DECLARE_EXCHANGE, asked_exchange(exchange, passive=True), EXCHANGE_DECLARED),
    )
    found = []
    for method, arguments, answer in asked:
        with amqp._connected(address) as connection:
            amqp._log_in(connection, address)
            try:
                connection.ask(1, method, arguments, answer)
                found.append(True)
            except ConnectionError as closed:
                if str(CHANNEL_CLOSED) not in str(closed):
                    raise
                found.append(False)
    return found[0], found[1]


def asked_queue(name: str, *, passive: bool) -> bytes:
    return b"\0\0" + amqp._short(name) + bytes([passive | 2]) + struct.pack(">I", 0)


def asked_exchange(name: str, *, passive: bool) -> bytes:
    return b"\0\0" + amqp._short(name) + amqp._short("fanout") + bytes([passive | 2]) + struct.pack(">I", 0)
