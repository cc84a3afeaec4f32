"""A connection to NATS for synchronous callers in many threads: one event loop in a thread of its own behind it.

Answers to a read come as they stand on the wire, head and body, without the objects that nats-py would make of each: ten
times the rate. A lost connection is not mended behind the caller's back: its questions fail, and the next one connects anew.
"""

import asyncio
import ssl
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import msgspec
import nats.errors
from nats.aio.client import Client

from sidestream.errors import LogUnavailable

Answer = TypeVar("Answer")
Part = tuple[bytes, bytes]
"""The head and the body of one message."""

_STATUS: Final = b"NATS/1.0 "


class NatsAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where the servers are and how to get in.

    Attributes:
        url: nats://[user:password@]host:port, several with commas.
        certificate, key: files of a TLS client certificate.
        prefix: what the JetStream API's subjects begin with.
        stream: the stream that holds every topic; empty: found by its subject.
        connect_seconds, answer_seconds: how long to wait before it counts as away.
    """

    url: str
    token: str = ""
    certificate: str = ""
    key: str = ""
    prefix: str = "$JS.API"
    stream: str = ""
    connect_seconds: float = 2.0
    answer_seconds: float = 10.0

    def __str__(self) -> str:
        return f"nats at {', '.join(url.rpartition('@')[2].removeprefix('nats://') for url in self.url.split(','))}"

    @property
    def tls(self) -> ssl.SSLContext | None:
        """The client certificate's context; without one nats-py takes the url's word for TLS."""
        if not self.certificate:
            return None
        context = ssl.create_default_context()
        context.load_cert_chain(self.certificate, self.key)
        return context


class _Pending:
    """One read under way: its parts in the order they came; done with the first part that is a status."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def take(self, head: bytes | None, body: bytes) -> None:
        if head and head.startswith(_STATUS):
            if not self.done.done():
                self.done.set_result(head)
            return
        self.parts.append((head or b"", body))


class _RawClient(Client):
    """nats-py's client; what arrives for a read is handed over untouched."""

    def __init__(self) -> None:
        super().__init__()
        self.pending: dict[bytes, _Pending] = {}
        self.inbox = ""
        self.reads = 0

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        pending = self.pending.get(bytes(subject))
        if pending is None:
            await super()._process_msg(sid, subject, reply, data, headers)
        else:
            pending.take(headers, data)


class NatsRequests:
    """Asks a server; connects when first asked. Every method raises LogUnavailable when there is no answer."""

    def __init__(self, address: NatsAddress) -> None:
        self.address = address
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._client: _RawClient | None = None
        self._connecting = asyncio.Lock()
        self._lock = threading.Lock()

    def ask(self, subject: str, question: bytes = b"") -> bytes:
        """Return the one answer to a question to the JetStream API."""
        return self._run(subject, self._ask(subject, question))

    def collect(self, subject: str, question: bytes) -> tuple[bytes, list[Part]]:
        """Return everything that a question to the JetStream API is answered with, and the status that ended it."""
        return self._run(subject, self._collect(subject, question))

    def largest_message(self) -> int:
        """Return how many bytes the server takes in one message."""
        return self._run("INFO", self._largest_message())

    def close(self) -> None:
        """Disconnect and end the thread."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._disconnect(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    # ── in the thread ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _ask(self, subject: str, question: bytes) -> bytes:
        client = await self._connected()
        answer = await client.request(f"{self.address.prefix}.{subject}", question, timeout=self.address.answer_seconds)
        return bytes(answer.data)

    async def _collect(self, subject: str, question: bytes) -> tuple[bytes, list[Part]]:
        client = await self._connected()
        inbox = f"{client.inbox}.{client.reads}"
        client.reads += 1
        client.pending[inbox.encode()] = pending = _Pending()
        try:
            await client.publish(f"{self.address.prefix}.{subject}", question, reply=inbox)
            status = await asyncio.wait_for(pending.done, self.address.answer_seconds)
        finally:
            del client.pending[inbox.encode()]
        return status, pending.parts

    async def _largest_message(self) -> int:
        return (await self._connected()).max_payload

    async def _connected(self) -> "_RawClient":
        async with self._connecting:
            if self._client is None or not self._client.is_connected:
                await self._disconnect()
                self._client = await self._connect()
            return self._client

    async def _connect(self) -> "_RawClient":
        client = _RawClient()
        problems: list[Exception] = []

        async def lost() -> None:
            for pending in client.pending.values():
                if not pending.done.done():
                    pending.done.set_exception(nats.errors.ConnectionClosedError())

        async def gone_wrong(problem: Exception) -> None:  # nats-py would print it
            problems.append(problem)

        # seconds, in fractions too, which the driver's types do not say
        options: dict[str, Any] = {"reconnect_time_wait": 0.05, "connect_timeout": self.address.connect_seconds}
        options |= {"token": self.address.token or None, "tls": self.address.tls}
        try:
            await client.connect(
                servers=[url.strip() for url in self.address.url.split(",")],
                name="sidestream log",
                allow_reconnect=False,
                # twice each, at once: whoever asks tries again later
                max_reconnect_attempts=1,
                error_cb=gone_wrong,
                closed_cb=lost,
                **{name: value for name, value in options.items() if value is not None},
            )
        except nats.errors.NoServersError as error:
            raise problems[-1] if problems else error from None
        client.inbox = client.new_inbox()
        await client.subscribe(f"{client.inbox}.*")
        return client

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None and not client.is_closed:
            await client.close()

    # ── from other threads ───────────────────────────────────────────────────────────────────────────────────────────

    def _run(self, subject: str, work: Coroutine[Any, Any, Answer]) -> Answer:
        try:
            return asyncio.run_coroutine_threadsafe(work, self._running_loop()).result()
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise LogUnavailable(f"{self.address}: {subject}: {error or type(error).__name__}") from error

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="nats", daemon=True)
                self._thread.start()
            return self._loop
