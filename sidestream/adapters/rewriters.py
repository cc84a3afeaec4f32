"""Which logs can be written anew, and by what."""

from typing import Final

from sidestream.adapters.memory_log import MemoryLog
from sidestream.adapters.redis_log import RedisLog
from sidestream.errors import ConfigurationError
from sidestream.logs.rewriting import LogRewriter
from sidestream.logs.rewriting_in_place import InPlace
from sidestream.ports import EventLog

_IN_PLACE: Final = frozenset({"KafkaLog", "JetStreamLog"})


def can_be_rewritten(log: EventLog) -> bool:
    """Whether there is something that replaces topics of this log."""
    return isinstance(log, RedisLog | MemoryLog) or type(log).__name__ in _IN_PLACE


def rewriter_of(log: EventLog) -> LogRewriter:
    """Return what replaces topics of this log.

    Raises:
        ConfigurationError: a log of its kind cannot be written anew.
    """
    if isinstance(log, RedisLog):
        from sidestream.adapters.redis_rewriter import RedisRewriter

        return RedisRewriter(log.address)
    if isinstance(log, MemoryLog):
        return log
    return _of_a_driver_that_is_an_extra(log)


def _of_a_driver_that_is_an_extra(log: EventLog) -> LogRewriter:
    kind = type(log).__name__
    if kind == "KafkaLog":
        from sidestream.adapters.kafka_log import KafkaLog
        from sidestream.adapters.kafka_rewriter import KafkaEnds

        assert isinstance(log, KafkaLog)
        return InPlace(log, KafkaEnds(log.address))
    if kind == "JetStreamLog":
        from sidestream.adapters.jetstream_log import JetStreamLog
        from sidestream.adapters.jetstream_rewriter import JetStreamEnds

        assert isinstance(log, JetStreamLog)
        return InPlace(log, JetStreamEnds(log.address))
    raise ConfigurationError(
        f"expected a log in a single Redis or Valkey server, in Kafka or in JetStream to write a topic anew, found {kind}. "
        "Make an empty topic there by the broker's own means; the store's events are in the store."
    )
