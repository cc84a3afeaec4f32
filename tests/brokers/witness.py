"""A witness of what was published to RabbitMQ, which keeps no history: a durable queue of the test's own behind each exchange.

Just enough of AMQP 0-9-1 for that; whoever logs in is `sidestream.conformance.amqp`.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Final

from sidestream.conformance import amqp

_DURABLE: Final = 2
_EMPTY_TABLE: Final = b"\0\0\0\0"
_DECLARE_EXCHANGE, _EXCHANGE_DECLARED = (40, 10), (40, 11)
_DECLARE_QUEUE, _QUEUE_DECLARED = (50, 10), (50, 11)
_BIND, _BOUND = (50, 20), (50, 21)
_GET, _NOTHING_TO_GET = (60, 70), (60, 72)
_ACKNOWLEDGE: Final = (60, 80)
_ALL_SO_FAR: Final = b"\1"


class Witness:
    """What was published to each topic since `listen`. Not for use by several threads at once."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._seen: dict[str, list[bytes]] = {}

    def listen(self, topics: Iterable[str]) -> None:
        """Make exchanges as the sidecar does, and a queue behind each."""
        with amqp._connected(self._address) as connection:
            amqp._log_in(connection, self._address)
            for topic in topics:
                name, queue = amqp._short(topic), amqp._short(f"witness-{topic}")
                exchange = b"\0\0" + name + amqp._short("fanout") + bytes([_DURABLE]) + _EMPTY_TABLE
                connection.ask(1, _DECLARE_EXCHANGE, exchange, _EXCHANGE_DECLARED)
                connection.ask(1, _DECLARE_QUEUE, b"\0\0" + queue + bytes([_DURABLE]) + _EMPTY_TABLE, _QUEUE_DECLARED)
                connection.ask(1, _BIND, b"\0\0" + queue + name + amqp._short("") + b"\0" + _EMPTY_TABLE, _BOUND)
                self._seen[topic] = []

    def read(self, topic: str) -> Sequence[bytes]:
        """Take what has come since the last time; return everything."""
        seen = self._seen[topic]
        with amqp._connected(self._address) as connection:
            amqp._log_in(connection, self._address)
            taken = 0
            while (event := _get(connection, f"witness-{topic}")) is not None:
                seen.append(event)
                taken += 1
            if taken:
                # What is not acknowledged when the connection ends comes again, and would be a repeat that nobody published.
                connection.tell(1, _ACKNOWLEDGE, struct.pack(">Q", taken) + _ALL_SO_FAR)
            connection.ask(0, amqp._CLOSE, struct.pack(">H", 200) + amqp._short("") + b"\0" * 4, amqp._CLOSED)
        return list(seen)


def _get(connection: "amqp._Connection", queue: str) -> bytes | None:
    """Take one message, to be acknowledged; None where the queue is empty."""
    connection.tell(1, _GET, b"\0\0" + amqp._short(queue) + b"\0")
    if _frame(connection)[:4] == struct.pack(">HH", *_NOTHING_TO_GET):
        return None
    head = _frame(connection)  # class, weight, then the size of the body
    (size,) = struct.unpack(">Q", head[4:12])
    body = b""
    while len(body) < size:
        body += _frame(connection)
    return body


def _frame(connection: "amqp._Connection") -> bytes:
    """Return the payload of the next frame."""
    _, _, size = struct.unpack(">BHI", connection._take(7))
    return connection._take(size + 1)[:-1]
