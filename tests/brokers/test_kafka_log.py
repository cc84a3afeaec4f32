"""What Kafka alone must hold: topics that forget are refused, markers are no events, readers share nothing.

Run where SIDESTREAM_BROKERS names kafka.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import Producer
from confluent_kafka.cimpl import NewTopic

from sidestream.errors import ConfigurationError
from tests.brokers.servers import Server
from tests.brokers.test_logs_on_brokers import EVENTS, data
from tests.brokers.waiting import wait_until
from tests.brokers.written import InKafka


@pytest.fixture
def in_kafka(broker_server: Callable[[str], Server]) -> Iterator[InKafka]:
    found = InKafka(broker_server("kafka").address)
    yield found
    found.close()


@pytest.mark.parametrize(
    ("partitions", "config", "said"),
    [
        (3, {"retention.ms": "-1"}, "expected one partition, found 3"),
        (1, {}, "found retention.ms=604800000"),
        (1, {"retention.ms": "-1", "cleanup.policy": "compact"}, "found cleanup.policy=compact"),
        (1, {"retention.ms": "-1", "retention.bytes": "1000"}, "found retention.bytes=1000"),
    ],
)
def test_a_topic_that_forgets_is_refused(in_kafka: InKafka, partitions: int, config: dict[str, str], said: str) -> None:
    in_kafka.admin.create_topics([NewTopic("forgetful", partitions, config=config)])["forgetful"].result()
    wait_until(lambda: bool(in_kafka.topics.identity("forgetful")))
    try:
        for ask in (lambda: in_kafka.log.read("forgetful", None, 1), lambda: in_kafka.topics.make(["forgetful"])):
            with pytest.raises(ConfigurationError, match="topic forgetful") as raised:
                ask()
            assert said in str(raised.value)
    finally:
        in_kafka.flush("forgetful")


def test_markers_of_a_transaction_are_no_events(in_kafka: InKafka) -> None:
    in_kafka.record("votes", EVENTS[:1])
    producer = Producer({**in_kafka.address.options, "transactional.id": "test"})
    producer.init_transactions(20)
    for wire in EVENTS[1:3]:
        producer.begin_transaction()
        producer.produce("votes", wire, partition=0)
        producer.commit_transaction(20)
    assert data(in_kafka.log.read("votes", None, 10)) == EVENTS[:3]
    assert data(in_kafka.log.read_back("votes", None, 10)) == EVENTS[:3][::-1]
    assert json.loads(in_kafka.log.read_back("votes", None, 1)[0].data) == {"n": 2}


def test_many_readers_share_nothing(in_kafka: InKafka) -> None:
    in_kafka.record("votes", EVENTS)
    in_kafka.record("orders", EVENTS[:5])
    with ThreadPoolExecutor(8) as threads:
        found = [threads.submit(in_kafka.log.read, topic, None, 100) for topic in ("votes", "orders") * 50]
        assert [len(each.result()) for each in found] == [25, 5] * 50
