"""A log on a real broker together with that broker's own hand, for the contract of the event log."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import nats
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from nats.js.api import StreamConfig
from nats.js.errors import APIError, NotFoundError

from sidestream.adapters.jetstream_log import JetStreamLog
from sidestream.adapters.jetstream_streams import JetStreamStreams
from sidestream.adapters.kafka_log import KafkaLog
from sidestream.adapters.kafka_topics import KafkaAddress, KafkaTopics
from sidestream.adapters.nats_requests import NatsAddress, NatsRequests
from tests.brokers.waiting import wait_until

Answer = TypeVar("Answer")

_NO_FOLDER = 10049


class InKafka:
    def __init__(self, brokers: str, answer_seconds: float = 10.0) -> None:
        self.address = KafkaAddress(brokers=brokers, answer_seconds=answer_seconds)
        self.log = KafkaLog(self.address)
        self.topics = KafkaTopics(self.address)
        self.admin = AdminClient(self.address.options)
        self._producer = Producer({**self.address.options, "linger.ms": 1, "message.max.bytes": 8_000_000})
        self._written: set[str] = set()

    def record(self, topic: str, wires: Sequence[bytes]) -> None:
        if topic not in self._written:
            self.topics.make([topic])
            self._written.add(topic)
        for wire in wires:
            self._producer.produce(topic, wire, partition=0)
        assert self._producer.flush(10) == 0

    def trim(self, topic: str, upto: str) -> None:
        partition = TopicPartition(topic, 0, int(upto) + 1)
        self.admin.delete_records([partition])[partition].result()

    def flush(self, topic: str) -> None:
        self.admin.delete_topics([topic])[topic].result()
        wait_until(lambda: not self.topics.identity(topic))
        self._written.discard(topic)

    def close(self) -> None:
        self.log.close()
        for topic in sorted(self._written):
            if self.topics.identity(topic):
                self.flush(topic)


class InJetStream:
    def __init__(self, url: str) -> None:
        self.address = NatsAddress(url=url)
        self.log = JetStreamLog(self.address)
        self._requests = NatsRequests(self.address)
        self.streams = JetStreamStreams(self._requests)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._client = self.run(nats.connect(url))
        self.js = self._client.jetstream()
        self._written: set[str] = set()

    def run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def record(self, topic: str, wires: Sequence[bytes]) -> None:
        if topic not in self._written:
            self.streams.make([topic])
            self._written.add(topic)
        self.run(self._publish(topic, wires))

    async def _publish(self, topic: str, wires: Sequence[bytes]) -> None:
        for wire in wires:
            await self.js.publish(topic, wire)

    def trim(self, topic: str, upto: str) -> None:
        assert self.run(self.js.purge_stream(self._name(topic), seq=int(upto) + 1))

    def flush(self, topic: str) -> None:
        self.run(self.js.delete_stream(self._name(topic)))
        self._written.discard(topic)

    def add(self, config: StreamConfig) -> None:
        """Make a stream; the server may still be removing the folder of the one that was its last."""

        def made() -> bool:
            try:
                self.run(self.js.add_stream(config))
            except APIError as error:
                if error.err_code != _NO_FOLDER:
                    raise
                return False
            return True

        wait_until(made)

    def _name(self, topic: str) -> str:
        return topic.replace(".", "_")

    def close(self) -> None:
        self.log.close()
        self._requests.close()
        for topic in sorted(self._written):
            try:
                self.flush(topic)
            except NotFoundError:
                continue
        self.run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def open_written(broker: str, address: str) -> InKafka | InJetStream:
    """Open the log of a broker that has one."""
    return InKafka(address) if broker == "kafka" else InJetStream(address)
