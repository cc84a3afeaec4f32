"""Entries added to a Kafka topic as Dapr's pubsub.kafka writes them: one partition, key = the partition key, value = the event."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from confluent_kafka import KafkaException, Producer

from sidestream.adapters.kafka_topics import LARGEST_MESSAGE, KafkaAddress
from sidestream.adapters.numbered_positions import BEGINS_A_LOG
from sidestream.errors import LogUnavailable, UnreadableEvent
from sidestream.event import decode_event

_PARTITION: Final = 0
_WRITING: Final = {
    "acks": "all",
    # in order and once, also over the driver's own repeats
    "enable.idempotence": True,
    # nothing behind an entry that was given up
    "enable.gapless.guarantee": True,
    "message.max.bytes": LARGEST_MESSAGE,
    "linger.ms": 1,
}


class KafkaWriter:
    """See `sidestream.logs.moving.LogWriter`."""

    def __init__(self, address: KafkaAddress) -> None:
        self._address = address
        patience = {"message.timeout.ms": int(address.answer_seconds * 4000)}
        self._producer = Producer({**address.options, **_WRITING, **patience})

    def append(self, topic: str, wires: Sequence[bytes]) -> None:
        """See `sidestream.logs.moving.LogWriter`."""
        self._write(topic, wires)

    def begin(self, topic: str, wire: bytes) -> int:
        """Add an entry as the first of a log that is written anew; return its offset."""
        (offset,) = self._write(topic, [wire], {BEGINS_A_LOG: b"1"})
        return offset

    def _write(self, topic: str, wires: Sequence[bytes], headers: Mapping[str, bytes] = {}) -> list[int]:
        problems: list[str] = []
        offsets: list[int] = []

        def delivered(error: Any, message: Any) -> None:
            if error is not None:
                problems.append(error.str())
            else:
                offsets.append(message.offset())

        try:
            for wire in wires:
                self._producer.produce(topic, wire, key=_key(wire), partition=_PARTITION, on_delivery=delivered, headers=dict(headers))
            left = self._producer.flush(self._address.answer_seconds * 5)
        except (KafkaException, BufferError) as error:
            raise LogUnavailable(f"{self._address}: {topic}: not written: {error}") from error
        if problems or left:
            raise LogUnavailable(f"{self._address}: {topic}: not written: {problems[0] if problems else 'no answer in time'}")
        return offsets

    def close(self) -> None:
        """See `sidestream.logs.moving.LogWriter`."""
        self._producer.purge()


def _key(wire: bytes) -> bytes | None:
    """Return the key that its publisher gave: the subject."""
    try:
        subject = decode_event(wire).subject
    except UnreadableEvent:
        return None
    return subject.encode() if subject else None
