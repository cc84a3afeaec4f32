"""Deletes queues and exchanges in RabbitMQ: the only thing a check asks of AMQP 0-9-1 itself, so a page of it is enough.

A frame is type, channel, size, payload and an end mark; a method's payload begins with its class and its number.
"""

import socket
import ssl
import struct
from collections.abc import Collection
from typing import Final
from urllib.parse import unquote, urlsplit

_GREETING: Final = b"AMQP\x00\x00\x09\x01"
_METHOD: Final = 1
_HEARTBEAT: Final = 8
_END: Final = b"\xce"
_SECONDS: Final = 10.0

Method = tuple[int, int]
_START, _START_OK, _TUNE, _TUNE_OK = (10, 10), (10, 11), (10, 30), (10, 31)
_OPEN, _OPENED, _CLOSE, _CLOSED = (10, 40), (10, 41), (10, 50), (10, 51)
_CHANNEL_OPEN, _CHANNEL_OPENED = (20, 10), (20, 11)
_EXCHANGE_DELETE, _EXCHANGE_DELETED = (40, 20), (40, 21)
_QUEUE_DELETE, _QUEUE_DELETED = (50, 40), (50, 41)


def delete(url: str, queues: Collection[str], exchanges: Collection[str]) -> None:
    """Delete them; the server takes one that is not there for deleted.

    Raises:
        OSError: no connection, or an answer that is not the expected one.
    """
    with _connected(url) as connection:
        _log_in(connection, url)
        for queue in queues:
            connection.ask(1, _QUEUE_DELETE, b"\0\0" + _short(queue) + b"\0", _QUEUE_DELETED)
        for exchange in exchanges:
            connection.ask(1, _EXCHANGE_DELETE, b"\0\0" + _short(exchange) + b"\0", _EXCHANGE_DELETED)
        connection.ask(0, _CLOSE, struct.pack(">H", 200) + _short("") + b"\0" * 4, _CLOSED)


class _Connection:
    """One connection, asked one thing after another."""

    def __init__(self, stream: socket.socket) -> None:
        self._socket = stream
        self._file = stream.makefile("rb")

    def __enter__(self) -> "_Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def greet(self) -> None:
        """Begin, and wait for the server's first word."""
        self._socket.sendall(_GREETING)
        self.expect(_START)

    def tell(self, channel: int, method: Method, arguments: bytes) -> None:
        """Send a method."""
        payload = struct.pack(">HH", *method) + arguments
        self._socket.sendall(struct.pack(">BHI", _METHOD, channel, len(payload)) + payload + _END)

    def ask(self, channel: int, method: Method, arguments: bytes, answer: Method) -> bytes:
        """Send a method and wait for the answer that belongs to it."""
        self.tell(channel, method, arguments)
        return self.expect(answer)

    def expect(self, method: Method) -> bytes:
        """Return the arguments of the next method, which must be this one; raises ConnectionError."""
        kind = _HEARTBEAT
        while kind == _HEARTBEAT:
            kind, _, size = struct.unpack(">BHI", self._take(7))
            payload = self._take(size + 1)[:-1]
        found = struct.unpack(">HH", payload[:4])
        if kind != _METHOD or found != method:
            raise ConnectionError(f"AMQP: expected method {method}, found {found}: {payload[4:200]!r}")
        return payload[4:]

    def _take(self, size: int) -> bytes:
        found = self._file.read(size)
        if len(found) < size:
            raise ConnectionError("AMQP: the server ended the connection; is it RabbitMQ, and are user and password right?")
        return found


def _connected(url: str) -> _Connection:
    parts = urlsplit(url)
    tls = parts.scheme == "amqps"
    plain = socket.create_connection((parts.hostname or "localhost", parts.port or (5671 if tls else 5672)), timeout=_SECONDS)
    return _Connection(ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname) if tls else plain)


def _log_in(connection: _Connection, url: str) -> None:
    parts = urlsplit(url)
    user, password = unquote(parts.username or "guest"), unquote(parts.password or "guest")
    secret = f"\0{user}\0{password}".encode()
    connection.greet()
    connection.tell(0, _START_OK, b"\0" * 4 + _short("PLAIN") + struct.pack(">I", len(secret)) + secret + _short("en_US"))
    limits = connection.expect(_TUNE)
    # The server's limits, without heartbeats: this is over in a moment.
    connection.tell(0, _TUNE_OK, limits[:6] + b"\0\0")
    virtual_host = unquote(parts.path[1:]) or "/"
    connection.ask(0, _OPEN, _short(virtual_host) + _short("") + b"\0", _OPENED)
    connection.ask(1, _CHANNEL_OPEN, _short(""), _CHANNEL_OPENED)


def _short(text: str) -> bytes:
    plain = text.encode()
    return bytes([len(plain)]) + plain
