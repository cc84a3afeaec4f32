"""Reads what was published to a broker by hand, without the product's code: every entry of a topic, in the order of the log.

RabbitMQ keeps no log: there a queue of the test's own, bound before anything is published, is the witness.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import nats
import redis
from confluent_kafka import Consumer, KafkaException, TopicPartition

from tests.brokers.witness import Witness

_SECONDS: Final = 10.0


class Hand(Protocol):
    """Reads one broker."""

    def read(self, topic: str) -> Sequence[bytes]:
        """Return every entry of a topic, the oldest first; it may be called again and again."""
        ...


class RedisHand:
    """Redis or Valkey: a stream per topic, the event in its field `data`."""

    def __init__(self, port: int) -> None:
        self._port = port

    def read(self, topic: str) -> Sequence[bytes]:
        with redis.Redis(port=self._port) as broker:
            entries: Any = broker.xrange(topic)
        return [entry[b"data"] for _, entry in entries]


class KafkaHand:
    """Kafka: a topic of one partition."""

    def __init__(self, address: str) -> None:
        self._options = {"bootstrap.servers": address, "group.id": "by-hand", "enable.auto.commit": False}

    def read(self, topic: str) -> Sequence[bytes]:
        consumer = Consumer(self._options)
        try:
            _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=_SECONDS)
            consumer.assign([TopicPartition(topic, 0, 0)])
            found: list[bytes] = []
            while len(found) < end:
                found += [self._value(message) for message in consumer.consume(5000, timeout=0.2)]
            return found[:end]
        finally:
            consumer.close()

    @staticmethod
    def _value(message: Any) -> bytes:
        if message.error():
            raise KafkaException(message.error())
        value: bytes = message.value()
        return value


class JetStreamHand:
    """JetStream: a stream per topic, named like it, asked for its messages by number."""

    def __init__(self, address: str) -> None:
        self._address = address

    def read(self, topic: str) -> Sequence[bytes]:
        return asyncio.run(self._read(topic))

    async def _read(self, topic: str) -> Sequence[bytes]:
        client = await nats.connect(self._address, allow_reconnect=False, connect_timeout=5)
        try:
            found: list[bytes] = []
            pending, after = 1, 0
            while pending:
                answers = client.new_inbox()
                waiting = await client.subscribe(answers, pending_msgs_limit=-1, pending_bytes_limit=-1)
                question = {"seq": after + 1, "next_by_subj": topic, "batch": 1000}
                await client.publish(f"$JS.API.DIRECT.GET.{topic}", json.dumps(question).encode(), reply=answers)
                pending = 0
                while (answer := await waiting.next_msg(_SECONDS)).header and "Status" not in answer.header:
                    found.append(answer.data)
                    after = int(answer.header["Nats-Sequence"])
                    pending = int(answer.header.get("Nats-Num-Pending", "0"))
                assert (answer.header or {}).get("Status") in {"204", "404"}, answer.header
                await waiting.unsubscribe()
            return found
        finally:
            await client.close()


HANDS: Final[Mapping[str, Callable[[str], Hand]]] = {
    "redis": lambda address: RedisHand(int(address.rpartition(":")[2])),
    "kafka": KafkaHand,
    "jetstream": JetStreamHand,
    "rabbitmq": Witness,
}
