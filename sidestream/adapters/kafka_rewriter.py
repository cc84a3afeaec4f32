"""The ends of a Kafka topic: entries added behind what stands there, and the records before one of them deleted.

The topic stays the same one for the broker: whoever publishes or subscribes notices nothing. That the log begins anew says
its first record, by a header (`numbered_positions.BEGINS_A_LOG`); readers then do not take what was before it for lost.
"""

from collections.abc import Sequence
from typing import Any, Final

from confluent_kafka import KafkaException, TopicPartition

from sidestream.adapters.kafka_topics import KafkaAddress, KafkaTopics
from sidestream.adapters.kafka_writer import KafkaWriter
from sidestream.errors import LogUnavailable

_PARTITION: Final = 0


class KafkaEnds:
    """See `sidestream.logs.rewriting_in_place.LogEnds`."""

    def __init__(self, address: KafkaAddress) -> None:
        self._address = address
        self._topics = KafkaTopics(address)
        self._writer = KafkaWriter(address)

    def begin(self, topic: str, wire: bytes) -> str:
        """See `sidestream.logs.rewriting_in_place.LogEnds`."""
        self._topics.make([topic])
        return str(self._writer.begin(topic, wire))

    def append(self, topic: str, wires: Sequence[bytes]) -> None:
        """See `sidestream.logs.rewriting_in_place.LogEnds`."""
        self._writer.append(topic, wires)

    def forget_before(self, topic: str, position: str) -> None:
        """See `sidestream.logs.rewriting_in_place.LogEnds`."""
        before: Any = TopicPartition(topic, _PARTITION, int(position))
        try:
            self._topics.admin().delete_records([before], request_timeout=self._address.answer_seconds)[before].result()
        except KafkaException as error:
            raise LogUnavailable(
                f"{self._address}: {topic}: what stands before {position} was not given up: {error.args[0].str()}. Try again."
            ) from error

    def close(self) -> None:
        """See `sidestream.logs.rewriting_in_place.LogEnds`."""
        self._writer.close()
        self._topics.close()
