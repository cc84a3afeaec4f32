"""The event log in Kafka, as Dapr's pubsub.kafka writes it: a topic with one partition, value = the event.

Positions are offsets. No consumer group: every read names the offset it begins at, so that nothing is remembered in the
broker and many may read at once. A topic's identity is its id, which another topic of the same name would not have.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any, Final, overload

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from sidestream.adapters.kafka_topics import NO_SUCH_TOPIC, PARTITION_EOF, TIMED_OUT, KafkaAddress, KafkaTopics, address_of
from sidestream.adapters.numbered_positions import BEGINS_A_LOG, compare, newest_first, number_of
from sidestream.errors import LogUnavailable
from sidestream.ports import LogEntry, LogExtent

_PARTITION: Final = 0
_READING: Final = {
    # asked for by librdkafka, never used: nothing is committed
    "group.id": "sidestream-log",
    "enable.auto.commit": False,
    # an offset that is gone is an error here, never a jump
    "auto.offset.reset": "error",
    # where a broker left markers among the offsets, the end is told and not waited for
    "enable.partition.eof": True,
    # an answered read leaves a request behind that waits this long, and the next read behind it
    "fetch.wait.max.ms": 5,
    # several requests are enough for the largest read; one of the default size halves the rate
    "max.partition.fetch.bytes": 2 * 1024 * 1024,
    "queued.min.messages": 20_000,
    # a full queue would be left alone for a second
    "fetch.queue.backoff.ms": 5,
}
_SLICE_SECONDS: Final = 0.2
"""Waited for so many messages as offsets stand there; longer only where a broker left markers among them."""


class KafkaLog:
    """See `sidestream.ports.EventLog`. Connects when first asked; every call has a consumer of a pool to itself."""

    def __init__(self, address: KafkaAddress) -> None:
        self.address = address
        self._topics = KafkaTopics(address)
        self._sound: set[str] = set()
        self._idle: list[Consumer] = []
        self._lock = threading.Lock()

    def read(self, topic: str, start: str | None, limit: int) -> Sequence[LogEntry]:
        """See `sidestream.ports.EventLog`."""
        wanted = 0 if start is None else number_of(start)
        with self._consumer(topic) as consumer:
            low, high = self._ends(consumer, topic)
            return self._between(consumer, topic, max(low, wanted), high, limit)

    def read_back(self, topic: str, before: str | None, limit: int) -> Sequence[LogEntry]:
        """See `sidestream.ports.EventLog`."""
        wanted = None if before is None else number_of(before)
        with self._consumer(topic) as consumer:
            low, high = self._ends(consumer, topic)
            end = high if wanted is None else min(wanted, high)
            return newest_first(limit, low, end, lambda begin, end: self._between(consumer, topic, begin, end, end - begin))

    def extent(self, topic: str) -> LogExtent:
        """See `sidestream.ports.EventLog`."""
        identity = self._topics.identity(topic)
        with self._consumer(topic) as consumer:
            low, high = self._ends(consumer, topic)
            is_whole = not low or self._between(consumer, topic, low, high, 1).begins_a_log
        return LogExtent(
            first=str(low) if low < high else None,
            last=str(high - 1) if low < high else None,
            trimmed_to=None if is_whole else str(low - 1),
            length=high - low,
            identity=identity,
        )

    def compare(self, left: str, right: str) -> int:
        """See `sidestream.ports.EventLog`."""
        return compare(left, right)

    def close(self) -> None:
        """See `sidestream.ports.EventLog`."""
        with self._lock:
            idle, self._idle = self._idle, []
        for consumer in idle:
            consumer.close()

    def _ends(self, consumer: Consumer, topic: str) -> tuple[int, int]:
        """Return the first offset and the one after the last; twice 0 for a topic that is not there."""
        self._make_sure(topic)
        try:
            return self._ask_ends(consumer, topic)
        except KafkaException as error:
            if error.args[0].code() not in NO_SUCH_TOPIC:
                raise
        if not self._topics.identity(topic):
            return 0, 0
        # made anew a moment ago: what this consumer knows of it is out of date
        consumer.list_topics(topic, timeout=self.address.answer_seconds)
        return self._ask_ends(consumer, topic)

    def _ask_ends(self, consumer: Consumer, topic: str) -> tuple[int, int]:
        partition = TopicPartition(topic, _PARTITION)
        ends: tuple[int, int] = consumer.get_watermark_offsets(partition, timeout=self.address.answer_seconds, cached=False)
        return ends

    def _make_sure(self, topic: str) -> None:
        """Refuse a topic that forgets, once: who changes it later is not caught."""
        if topic not in self._sound and self._topics.check(topic):
            self._sound.add(topic)

    def _between(self, consumer: Consumer, topic: str, begin: int, end: int, limit: int) -> "_Entries":
        """Read offsets from `begin` on and below `end`, up to `limit` entries."""
        messages: list[Any] = []
        if begin >= end or limit <= 0:
            return _Entries(messages, [])
        consumer.assign([TopicPartition(topic, _PARTITION, begin)])
        try:
            deadline = monotonic() + self.address.answer_seconds
            ended = False
            while not ended and len(messages) < limit:
                if monotonic() > deadline:
                    raise KafkaException(KafkaError(TIMED_OUT, "no answer in time"))
                # never more than there can be: the driver waits until it has so many, or its time is up
                following = messages[-1].offset() + 1 if messages else begin
                more, ended = _consumed(consumer, min(limit - len(messages), end - following))
                messages += more
                ended = ended or (bool(messages) and messages[-1].offset() >= end - 1)
        finally:
            consumer.unassign()
        while messages and messages[-1].offset() >= end:
            messages.pop()
        return _Entries(messages, [message.value() or b"" for message in messages])

    @contextmanager
    def _consumer(self, topic: str) -> Iterator[Consumer]:
        """Lend a consumer of the pool; one that failed is closed, because what it had asked for is still under way."""
        with self._lock:
            consumer = self._idle.pop() if self._idle else None
        consumer = consumer or Consumer({**self.address.options, **_READING})
        sound = False
        try:
            yield consumer
            sound = True
        except KafkaException as error:
            raise LogUnavailable(f"{self.address}: read {topic}: {error.args[0].str()}") from error
        finally:
            self._take_back(consumer) if sound else consumer.close()

    def _take_back(self, consumer: Consumer) -> None:
        with self._lock:
            self._idle.append(consumer)


def _consumed(consumer: Consumer, most: int) -> tuple[list[Any], bool]:
    """Return messages as they come, and whether the partition ends behind them; raises KafkaException."""
    found = consumer.consume(most, timeout=_SLICE_SECONDS)
    for problem in (message.error() for message in found):
        if problem is not None and problem.code() != PARTITION_EOF:
            raise KafkaException(problem)
    messages = [message for message in found if message.error() is None]
    return messages, len(messages) < len(found)


class _Entries(Sequence[LogEntry]):
    """Messages as the driver parsed them; an object of one is made when somebody looks at it. Has `wires`."""

    def __init__(self, messages: Sequence[Any], wires: Sequence[bytes]) -> None:
        self._messages = messages
        self.wires = wires

    @property
    def begins_a_log(self) -> bool:
        """Whether nothing is missing before the first of them although numbers are: the topic was written anew."""
        return any(name == BEGINS_A_LOG for message in self._messages[:1] for name, _ in message.headers() or ())

    @overload
    def __getitem__(self, at: int) -> LogEntry: ...
    @overload
    def __getitem__(self, at: slice) -> "_Entries": ...
    def __getitem__(self, at: int | slice) -> "LogEntry | _Entries":
        if isinstance(at, slice):
            return _Entries(self._messages[at], self.wires[at])
        message = self._messages[at]
        return LogEntry(str(message.offset()), self.wires[at], message.timestamp()[1])

    def __len__(self) -> int:
        return len(self._messages)


def open_kafka(where: str, metadata: Mapping[str, str]) -> KafkaLog:
    """Open the log behind a pubsub.kafka component; raises ConfigurationError where its metadata cannot be followed."""
    return KafkaLog(address_of(metadata, where))
