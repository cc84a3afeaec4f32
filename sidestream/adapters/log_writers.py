"""Which logs can be written to in order, and by what."""

from sidestream.adapters.memory_log import MemoryLog
from sidestream.adapters.redis_log import RedisLog
from sidestream.errors import ConfigurationError
from sidestream.logs.moving import LogWriter
from sidestream.ports import EventLog


def writer_of(log: EventLog) -> LogWriter:
    """Return what adds entries to this log, as its broker's sidecar would.

    Raises:
        ConfigurationError: there is nothing for a log of its kind.
    """
    if isinstance(log, RedisLog):
        from sidestream.adapters.redis_writer import RedisWriter

        return RedisWriter(log.address)
    if isinstance(log, MemoryLog):
        return MemoryWriter(log)
    return _of_a_driver_that_is_an_extra(log)


def _of_a_driver_that_is_an_extra(log: EventLog) -> LogWriter:
    kind = type(log).__name__
    if kind == "KafkaLog":
        from sidestream.adapters.kafka_log import KafkaLog
        from sidestream.adapters.kafka_writer import KafkaWriter

        assert isinstance(log, KafkaLog)
        return KafkaWriter(log.address)
    if kind == "JetStreamLog":
        from sidestream.adapters.jetstream_log import JetStreamLog
        from sidestream.adapters.jetstream_writer import JetStreamWriter

        assert isinstance(log, JetStreamLog)
        return JetStreamWriter(log.address)
    raise ConfigurationError(
        f"expected a single Redis or Valkey server, Kafka or JetStream to write to, found {kind}. Name another broker."
    )


class MemoryWriter:
    """See `sidestream.logs.moving.LogWriter`."""

    def __init__(self, log: MemoryLog) -> None:
        self.append = log.record

    def close(self) -> None:
        """Nothing to release."""
