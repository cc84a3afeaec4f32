"""Redis or Valkey whose streams move between servers: a master that sentinels elect, a cluster that spreads keys.

The log of each server is a `RedisLog`; here is only which one holds a topic now. After a failure it is looked up again and
asked once more: a failover costs one read, not a restart.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry
from redis.sentinel import Sentinel

from sidestream.adapters.redis_log import RedisAddress, RedisLog
from sidestream.errors import LogUnavailable
from sidestream.ports import LogEntry, LogExtent

Answer = TypeVar("Answer")
Place = tuple[str, int]
"""Host and port."""

_MASTER_SECONDS: Final = 1.0
"""How long a master is believed in: one that was replaced still answers, with what may be lost."""


class Servers(Protocol):
    """Knows which server holds a topic. Raises redis.RedisError or OSError when nobody can say."""

    def holding(self, topic: str) -> Place:
        """Return the server that holds it now."""
        ...

    def masters(self) -> Sequence[Place]:
        """Return every server that holds topics now."""
        ...

    def forget(self) -> None:
        """Look it up anew the next time."""
        ...


class SentinelServers:
    """The master of a name, as sentinels say."""

    def __init__(self, sentinels: Sequence[Place], master: str, options: Mapping[str, Any]) -> None:
        self._master = master
        self._sentinel = Sentinel(list(sentinels), **options)  # type: ignore[no-untyped-call]
        self._found: Place | None = None
        self._until = 0.0

    def holding(self, topic: str) -> Place:
        """See `Servers`; every topic is in the one master."""
        if self._found is None or time.monotonic() > self._until:
            host, port = self._sentinel.discover_master(self._master)  # type: ignore[no-untyped-call]
            self._found, self._until = (str(host), int(port)), time.monotonic() + _MASTER_SECONDS
        return self._found

    def masters(self) -> Sequence[Place]:
        """See `Servers`."""
        return [self.holding("")]

    def forget(self) -> None:
        """See `Servers`."""
        self._found = None


class ClusterServers:
    """The nodes of a cluster, as one of them says."""

    def __init__(self, nodes: Sequence[Place], options: Mapping[str, Any]) -> None:
        self._nodes = nodes
        self._options = options
        self._slots: list[tuple[int, int, Place]] = []

    def holding(self, topic: str) -> Place:
        """See `Servers`."""
        slot = key_slot(topic.encode())
        self._slots = self._slots or self._ask()
        for first, last, place in self._slots:
            if first <= slot <= last:
                return place
        self.forget()
        raise redis.RedisError(f"no node of the cluster holds slot {slot} of {topic}")

    def masters(self) -> Sequence[Place]:
        """See `Servers`."""
        self._slots = self._slots or self._ask()
        return sorted({place for _, _, place in self._slots})

    def forget(self) -> None:
        """See `Servers`."""
        self._slots = []

    def _ask(self) -> list[tuple[int, int, Place]]:
        problem: Exception = redis.ConnectionError("no node was named")
        for host, port in self._nodes:
            try:
                with redis.Redis(host=host, port=port, **self._options) as client:
                    answer: Any = client.execute_command("CLUSTER SHARDS")
            except (redis.RedisError, OSError) as error:
                problem = error
            else:
                return [part for shard in answer for part in _slots_of(shard, host)]
        raise problem


def _slots_of(shard: Any, asked: str) -> list[tuple[int, int, Place]]:
    """Return the ranges of a shard with its master; a node that does not know its own address is the one that was asked."""
    found = _members(shard)
    for node in map(_members, found["nodes"]):
        if _text(node["role"]) == "master":
            host = _text(node.get("endpoint") or node.get("ip") or b"")
            place = (host if host not in {"", "?"} else asked, int(node.get("tls-port") or node["port"]))
            ranges = [int(number) for number in found["slots"]]
            return [(first, last, place) for first, last in zip(ranges[::2], ranges[1::2], strict=True)]
    return []


def _members(answer: Any) -> dict[str, Any]:
    """Return a map of the server's answer: RESP3 gives one, RESP2 a list of names and values in turn."""
    found = answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))
    return {_text(name): value for name, value in found.items()}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class MovingRedisLog:
    """See `sidestream.ports.EventLog`. The log of whichever server holds a topic now."""

    def __init__(self, address: RedisAddress, servers: Servers) -> None:
        self.address = address
        self.servers = servers
        self._logs: dict[Place, RedisLog] = {}
        self._lock = threading.Lock()

    def read(self, topic: str, start: str | None, limit: int) -> Sequence[LogEntry]:
        """See `sidestream.ports.EventLog`."""
        return self._asked(topic, lambda log: log.read(topic, start, limit))

    def announce(self, topic: str, start: str | None, limit: int) -> None:
        """See `sidestream.ports.ReadsAhead`."""
        try:
            self._holding(topic).announce(topic, start, limit)
        except LogUnavailable:
            return  # the read itself will say so

    def read_back(self, topic: str, before: str | None, limit: int) -> Sequence[LogEntry]:
        """See `sidestream.ports.EventLog`."""
        return self._asked(topic, lambda log: log.read_back(topic, before, limit))

    def extent(self, topic: str) -> LogExtent:
        """See `sidestream.ports.EventLog`."""
        return self._asked(topic, lambda log: log.extent(topic))

    def compare(self, left: str, right: str) -> int:
        """See `sidestream.ports.EventLog`."""
        return RedisLog(self.address).compare(left, right)

    def close(self) -> None:
        """See `sidestream.ports.EventLog`."""
        with self._lock:
            logs, self._logs = self._logs, {}
        for log in logs.values():
            log.close()

    def _asked(self, topic: str, ask: Callable[[RedisLog], Answer]) -> Answer:
        try:
            return ask(self._holding(topic))
        except LogUnavailable:
            with self._lock:
                self.servers.forget()
            return ask(self._holding(topic))

    def _holding(self, topic: str) -> RedisLog:
        with self._lock:
            try:
                place = self.servers.holding(topic)
            except (redis.RedisError, OSError) as error:
                raise LogUnavailable(f"{self.address}: which server holds {topic}: {error or type(error).__name__}") from error
            if place not in self._logs:
                self._logs[place] = RedisLog(msgspec.structs.replace(self.address, host=place[0], port=place[1]))
            return self._logs[place]


def asking_options(address: RedisAddress, username: str, password: str) -> dict[str, Any]:
    """Return how to connect to those who know: sentinels, or nodes of the cluster."""
    options: dict[str, Any] = {
        "username": username or None,
        "password": password or None,
        "socket_connect_timeout": address.connect_seconds,
        "socket_timeout": address.connect_seconds,
        "retry": Retry(NoBackoff(), 0),
    }
    if address.tls:
        options |= {"ssl": True, "ssl_cert_reqs": "required" if address.verify else "none", "ssl_check_hostname": address.verify}
    return options
