"""The event log in Redis or Valkey Streams, as Dapr's pubsub.redis writes it: a stream per topic, field `data` = the event.

Positions are the stream's entry ids, `<milliseconds>-<number>`; compared as numbers, never as text. A stream has no
identity that another one under its name would lack. Needs Redis 7 or Valkey (how many entries were ever added).
"""

import threading
from collections.abc import Sequence
from typing import Any, Final, overload

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from sidestream.errors import ForeignPosition, LogUnavailable
from sidestream.ports import LogEntry, LogExtent

_MAX_NUMBER: Final = 2**64 - 1
_ANNOUNCEMENTS: Final = 8
"""Reads that may be announced at once; each holds a connection and what the broker has sent on it."""
_NO_SUCH_KEY: Final = "no such key"


class RedisAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server is and how to get in.

    Attributes:
        tls: talk TLS.
        verify: check the server's certificate.
        connect_seconds, answer_seconds: how long to wait before it counts as away.
    """

    host: str
    port: int = 6379
    username: str = ""
    password: str = ""
    database: int = 0
    tls: bool = False
    verify: bool = True
    connect_seconds: float = 2.0
    answer_seconds: float = 10.0

    def __str__(self) -> str:
        return f"redis at {self.host}:{self.port}/{self.database}"


class RedisLog:
    """See `sidestream.ports.EventLog`. Connects when first asked; every thread takes a connection of a pool for each call."""

    def __init__(self, address: RedisAddress) -> None:
        self.address = address
        self._pool = redis.ConnectionPool(**connection_options(address))
        self._announced: dict[_Command, Any] = {}
        self._lock = threading.Lock()

    def read(self, topic: str, start: str | None, limit: int) -> Sequence[LogEntry]:
        """See `sidestream.ports.EventLog`."""
        command = _range(topic, start, limit)
        entries = _entries(self._answer_of(command))
        if len(entries) < limit:  # asked for a while ago, and more may stand there now
            entries = _entries(self._ask(*command))
        return entries

    def announce(self, topic: str, start: str | None, limit: int) -> None:
        """See `sidestream.ports.ReadsAhead`. What nobody reads is dropped when others are announced."""
        command, connection = _range(topic, start, limit), None
        try:
            connection = self._pool.get_connection()
            connection.send_command(*command)  # type: ignore[no-untyped-call]
        except (redis.RedisError, OSError):  # the read itself will say so
            self._discard(connection)
            return
        with self._lock:
            surplus = [self._announced.pop(command, None)]
            self._announced[command] = connection
            while len(self._announced) > _ANNOUNCEMENTS:
                surplus.append(self._announced.pop(next(iter(self._announced))))
        for unread in surplus:
            self._discard(unread)

    def _answer_of(self, command: "_Command") -> Any:
        """Return the answer to an announced command, nothing where it was not announced or has been lost."""
        with self._lock:
            connection = self._announced.pop(command, None)
        if connection is None:
            return None
        try:
            answer = connection.read_response()
        except (redis.RedisError, OSError):
            self._discard(connection)
            return None
        except BaseException:
            self._discard(connection)
            raise
        self._pool.release(connection)
        return answer

    def _discard(self, connection: Any) -> None:
        """Give a connection back whose answer nobody has read: it must not reach the next caller."""
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)

    def read_back(self, topic: str, before: str | None, limit: int) -> Sequence[LogEntry]:
        """See `sidestream.ports.EventLog`."""
        return list(_entries(self._ask("XREVRANGE", topic, f"({before}" if before else "+", "-", "COUNT", limit)))

    def extent(self, topic: str) -> LogExtent:
        """See `sidestream.ports.EventLog`."""
        try:
            flat = self._ask("XINFO", "STREAM", topic)
        except LogUnavailable as error:
            if _NO_SUCH_KEY in str(error):
                return LogExtent(first=None, last=None, trimmed_to=None, length=0)
            raise
        return self._extent(dict(zip(flat[::2], flat[1::2], strict=True)))

    def _extent(self, found: dict[bytes, Any]) -> LogExtent:
        if b"entries-added" not in found:
            raise LogUnavailable(f"{self.address}: expected Redis 7 or newer, or Valkey; found a server that does not count its entries.")
        first, last = found[b"first-entry"], found[b"last-entry"]
        return LogExtent(
            first=first[0].decode() if first else None,
            last=last[0].decode() if last else None,
            trimmed_to=_trimmed_to(found),
            length=found[b"length"],
        )

    def compare(self, left: str, right: str) -> int:
        """See `sidestream.ports.EventLog`."""
        one, other = _numbers(left), _numbers(right)
        return (one > other) - (one < other)

    def position_at(self, topic: str, recorded_ms: int) -> str:
        """See `sidestream.ports.SeeksTime`. A position begins with its time."""
        return f"{max(recorded_ms, 0)}-0"

    def close(self) -> None:
        """See `sidestream.ports.EventLog`."""
        while self._announced:
            self._discard(self._announced.popitem()[1])
        self._pool.disconnect()

    def _ask(self, *command: str | int) -> Any:
        """Send one command on a connection that is nobody else's now; return the answer as the driver parsed it.

        Plain lists, without the objects that redis-py's commands would make of them: half the time of a read.
        """
        try:
            connection = self._pool.get_connection()
            try:
                connection.send_command(*command)  # type: ignore[no-untyped-call]
                return connection.read_response()
            except BaseException:
                connection.disconnect()  # type: ignore[no-untyped-call]  # an answer under way must not reach the next caller
                raise
            finally:
                self._pool.release(connection)
        except (redis.RedisError, OSError) as error:
            raise LogUnavailable(f"{self.address}: {command[0]} {_topic_of(command)}: {error or type(error).__name__}") from error


def connection_options(address: RedisAddress) -> dict[str, Any]:
    """Return what redis-py wants to know of a connection to this address."""
    options: dict[str, Any] = {
        "host": address.host,
        "port": address.port,
        "db": address.database,
        "username": address.username or None,
        "password": address.password or None,
        "socket_connect_timeout": address.connect_seconds,
        "socket_timeout": address.answer_seconds,
        "socket_keepalive": True,
        "socket_read_size": 256 * 1024,
        "retry": Retry(NoBackoff(), 0),  # the projector tries again, and says so
        "protocol": 2,
        "driver_info": None,
    }
    if address.tls:
        options |= {"connection_class": redis.SSLConnection, "ssl_cert_reqs": "required" if address.verify else "none"}
        options["ssl_check_hostname"] = address.verify
    return options


def _topic_of(command: Sequence[str | int]) -> str | int:
    return command[2] if command[0] == "XINFO" else command[1]


_Command = tuple[str | int, ...]


def _range(topic: str, start: str | None, limit: int) -> _Command:
    return ("XRANGE", topic, start or "-", "+", "COUNT", limit)


class _Entries(Sequence[LogEntry]):
    """Entries as the driver parsed them; an object of one is made when somebody looks at it. Has `wires`."""

    def __init__(self, answer: Sequence[Any], wires: Sequence[bytes]) -> None:
        self._answer = answer
        self.wires = wires

    @overload
    def __getitem__(self, at: int) -> LogEntry: ...
    @overload
    def __getitem__(self, at: slice) -> "_Entries": ...
    def __getitem__(self, at: int | slice) -> "LogEntry | _Entries":
        if isinstance(at, slice):
            return _Entries(self._answer[at], self.wires[at])
        position: bytes = self._answer[at][0]
        return LogEntry(position.decode(), self.wires[at], int(position[: position.index(b"-")]))

    def __len__(self) -> int:
        return len(self._answer)


def _entries(answer: Sequence[Any] | None) -> _Entries:
    """Make entries of an answer; one to COUNT 0 is nothing at all."""
    # the field `data` comes first, as the sidecar writes it
    return _Entries(answer or (), [fields[1] if fields[0] == b"data" else _data(fields) for _, fields in answer or ()])


def _data(fields: Sequence[bytes]) -> bytes:
    """Return the field `data`; nothing where there is none, so that it becomes a dead letter and not a stop."""
    return next((value for name, value in zip(fields[::2], fields[1::2], strict=True) if name == b"data"), b"")


def _trimmed_to(found: dict[bytes, Any]) -> str | None:
    """Return the newest position that may have been removed.

    The server notes single deletions (max-deleted-entry-id) but not what XTRIM took: that was anything before the first
    entry. So the answer after a trim is the position just before the first entry, and never too old.
    """
    if found[b"entries-added"] <= found[b"length"]:
        return None
    deleted: str = found[b"max-deleted-entry-id"].decode()
    before: str = _before(found[b"first-entry"][0].decode()) if found[b"first-entry"] else found[b"last-generated-id"].decode()
    return max(deleted, before, key=_numbers)


def _before(position: str) -> str:
    milliseconds, number = _numbers(position)
    return f"{milliseconds}-{number - 1}" if number else f"{milliseconds - 1}-{_MAX_NUMBER}"


def _numbers(position: str) -> tuple[int, int]:
    milliseconds, _, number = position.partition("-")
    try:
        return int(milliseconds), int(number or 0)
    except ValueError:
        raise ForeignPosition(f"expected a position like 1526919030474-0, found {position!r}. It is of another kind of log.") from None
