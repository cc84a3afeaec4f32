"""A Redis or Valkey stream replaced in one step: the new one is filled beside it, then renamed over it.

Entries get new ids, so that a checkpoint of the old stream is not taken for one of the new. An id is the time of recording:
the new ones begin now, however old the old ones were. Consumer groups do not survive the renaming; the sidecar makes them again.
Not for Redis Cluster, where two keys may lie on two servers.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, Final

import redis

from sidestream.adapters.redis_log import RedisAddress, connection_options
from sidestream.errors import LeaseLost, LogUnavailable

_BULK: Final = 500
_BEGINNING: Final = "0-0"
"""Before every entry."""
_TAKE_PLACE: Final = """
local added = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2] + 1)
if #added > tonumber(ARGV[2]) then return 0 end
for _, entry in ipairs(added) do redis.call('XADD', KEYS[2], '*', unpack(entry[2])) end
if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('RENAME', KEYS[2], KEYS[1]) else redis.call('DEL', KEYS[1]) end
return 1
"""
"""Copies what was added since the last look, if it is not much, and renames: nobody can add between the two."""


class RedisRewriter:
    """See `sidestream.logs.rewriting.LogRewriter`."""

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self._server: Any = redis.Redis(connection_pool=redis.ConnectionPool(**connection_options(address)))
        self._take_place = self._server.register_script(_TAKE_PLACE)

    def rewrite(
        self, topic: str, wires: Iterable[bytes], keep: Callable[[bytes], bool], may_write: Callable[[], None] = lambda: None
    ) -> None:
        """See `sidestream.logs.rewriting.LogRewriter`."""
        beside = f"{topic}:anew"
        with self._translated(topic):
            copied_to = self._end(topic)
            may_write()
            self._server.delete(beside)
            try:
                others = filter(keep, self._between(topic, _BEGINNING, copied_to))
                self._add(beside, chain(wires, others), may_write, self._now_behind(copied_to))
                while not self._has_taken_place(topic, beside, copied_to, may_write):
                    end = self._end(topic)
                    self._add(beside, self._between(topic, copied_to, end), may_write)
                    copied_to = end
            except LeaseLost:  # what stands beside may be somebody else's by now; whoever repairs next begins it anew
                raise
            except BaseException:
                self._server.delete(beside)
                raise

    def close(self) -> None:
        """Release the connections."""
        self._server.close()

    def _end(self, topic: str) -> str:
        newest = self._server.xrevrange(topic, count=1)
        return str(newest[0][0].decode()) if newest else _BEGINNING

    def _now_behind(self, end: str) -> str:
        """Return an id of now, of a later millisecond than the old stream's last entry in any case; the server counts on from it."""
        seconds, microseconds = self._server.time()
        return f"{max(seconds * 1000 + microseconds // 1000, int(end.partition('-')[0]) + 1)}-0"

    def _between(self, topic: str, after: str, end: str) -> Iterator[bytes]:
        """Yield what was added after one entry up to another."""
        while entries := self._server.xrange(topic, f"({after}", end, count=_BULK):
            yield from (fields.get(b"data", b"") for _, fields in entries)
            after = entries[-1][0].decode()

    def _has_taken_place(self, topic: str, beside: str, copied_to: str, may_write: Callable[[], None]) -> bool:
        may_write()
        return bool(self._take_place(keys=[topic, beside], args=[copied_to, _BULK]))

    def _add(self, key: str, wires: Iterable[bytes], may_write: Callable[[], None], first: str = "*") -> None:
        rest = iter(wires)
        while bulk := list(islice(rest, _BULK)):
            may_write()
            pipeline = self._server.pipeline(transaction=False)
            for wire in bulk:
                pipeline.xadd(key, {"data": wire}, id=first)
                first = "*"
            pipeline.execute()

    @contextmanager
    def _translated(self, topic: str) -> Iterator[None]:
        try:
            yield
        except (redis.RedisError, OSError) as error:
            problem = f"{topic} was not written anew, or only the answer was lost. It is whole; run it again"
            raise LogUnavailable(f"{self._address}: {problem}: {error}") from error
