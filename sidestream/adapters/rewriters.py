"""Which logs can be written anew, and by what."""

from sidestream.adapters.memory_log import MemoryLog
from sidestream.adapters.redis_log import RedisLog
from sidestream.adapters.redis_rewriter import RedisRewriter
from sidestream.errors import ConfigurationError
from sidestream.logs.rewriting import LogRewriter
from sidestream.ports import EventLog


def rewriter_of(log: EventLog) -> LogRewriter:
    """Return what replaces topics of this log.

    Raises:
        ConfigurationError: a log of its kind cannot be written anew.
    """
    if isinstance(log, RedisLog):
        return RedisRewriter(log.address)
    if isinstance(log, MemoryLog):
        return log
    raise ConfigurationError(
        f"expected a log in Redis or Valkey to write a topic anew, found {type(log).__name__}. "
        "Make an empty topic there by the broker's own means; the store's events are in the store."
    )
