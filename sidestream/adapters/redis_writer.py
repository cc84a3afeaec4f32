"""Entries added to a Redis or Valkey stream as Dapr's pubsub.redis writes them: field `data` = the event."""

from collections.abc import Sequence
from typing import Any

import redis

from sidestream.adapters.redis_log import RedisAddress, connection_options
from sidestream.errors import LogUnavailable


class RedisWriter:
    """See `sidestream.logs.moving.LogWriter`."""

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self._server: Any = redis.Redis(connection_pool=redis.ConnectionPool(**connection_options(address)))

    def append(self, topic: str, wires: Sequence[bytes]) -> None:
        """See `sidestream.logs.moving.LogWriter`. One transaction: all of them or none."""
        pipeline = self._server.pipeline(transaction=True)
        for wire in wires:
            pipeline.xadd(topic, {"data": wire})
        try:
            pipeline.execute()
        except (redis.RedisError, OSError) as error:
            raise LogUnavailable(f"{self._address}: {topic}: not written: {error}") from error

    def close(self) -> None:
        """See `sidestream.logs.moving.LogWriter`."""
        self._server.close()
