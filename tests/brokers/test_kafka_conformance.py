"""A quick conformance run on Kafka. Run where SIDESTREAM_BROKERS names kafka."""

from collections.abc import Callable

import msgspec
import pytest
from confluent_kafka.admin import AdminClient

from sidestream.conformance.results import Run
from tests.brokers.servers import Server
from tests.brokers.test_conformance import RUN_FILE, assert_holds
from tests.brokers.waiting import wait_until
from tests.integration.sidestream_program import sidestream

pytestmark = pytest.mark.timeout(300)


async def test_kafka_keeps_what_event_sourcing_needs_and_is_left_as_it_was(broker_server: Callable[[str], Server]) -> None:
    address = broker_server("kafka").address
    admin = AdminClient({"bootstrap.servers": address})
    before = left_in(admin)
    ended = await sidestream("broker", "check", "kafka", "--address", address, "--quick", "--json", *RUN_FILE)
    found = msgspec.json.decode(ended.out, type=Run)
    assert_holds(found, "kafka")
    same_id = found.result("same-id")
    assert same_id is not None
    assert same_id.answer == "yes"
    wait_until(lambda: left_in(admin) == before)


def left_in(admin: AdminClient) -> tuple[set[str], set[str]]:
    """Return the topics and the consumer groups."""
    topics = {name for name in admin.list_topics(timeout=10).topics if not name.startswith("__")}
    return topics, {group.group_id for group in admin.list_consumer_groups().result().valid}
