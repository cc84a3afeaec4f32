"""What the doctor sees in a real Kafka: topics that are missing, that expire, that have several partitions."""

from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # they are its documented door

from sidestream.adapters.kafka_topics import KafkaAddress, KafkaTopics
from sidestream.doctor.broker_probes import probe_broker
from tests.brokers.servers import Server

COMPONENT = """
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: pubsub}
spec:
  type: pubsub.kafka
  version: v1
  metadata:
    - {name: brokers, value: "%s"}
    - {name: authType, value: none}
"""


@pytest.fixture
def server(broker_server: Callable[[str], Server]) -> Server:
    return broker_server("kafka")


def test_topics_are_seen_as_they_are_kept(server: Server, tmp_path: Path) -> None:
    admin = AdminClient({"bootstrap.servers": server.address})
    wrong = [NewTopic("doctor-many", num_partitions=4, config={"retention.ms": "-1"}), NewTopic("doctor-week", num_partitions=1)]
    for future in admin.create_topics(wrong).values():
        future.result()
    KafkaTopics(KafkaAddress(brokers=server.address)).make(["doctor-sound"])
    (tmp_path / "pubsub.yaml").write_text(COMPONENT % server.address)

    found = probe_broker(tmp_path, "pubsub", ["doctor-many", "doctor-none", "doctor-sound", "doctor-week"], {})

    many, none, sound, week = found.topics
    assert (many.partitions, many.expires) == (4, ())
    assert not none.exists
    assert (sound.partitions, sound.expires, sound.gone_to) == (1, (), "")
    assert week.expires == ("retention.ms=604800000",)


def test_brokers_that_are_away_are_said(tmp_path: Path) -> None:
    (tmp_path / "pubsub.yaml").write_text(COMPONENT % "127.0.0.1:9")
    assert "kafka at 127.0.0.1:9" in probe_broker(tmp_path, "pubsub", ["votes"], {}).problem
