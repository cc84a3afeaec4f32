"""Entries added to a JetStream stream as Dapr's pubsub.jetstream writes them: a subject per topic, body = the event.

Without the id that a sidecar sends along: the server would drop the second of two entries under one id. Each entry names the
number it expects before it instead, so that none is stored behind one that was not, and nobody else's comes between.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from sidestream.adapters.jetstream_streams import JetStreamStreams
from sidestream.adapters.nats_requests import NatsAddress, NatsRequests
from sidestream.errors import LogUnavailable

_EXPECTED: Final = "Nats-Expected-Last-Sequence"


class _Problem(msgspec.Struct, frozen=True):
    description: str = ""


class _Answer(msgspec.Struct, frozen=True):
    error: _Problem | None = None
    seq: int = 0


class JetStreamWriter:
    """See `sidestream.logs.moving.LogWriter`. Connects when first asked; belongs to one thread."""

    def __init__(self, address: NatsAddress) -> None:
        self._address = address
        self._requests = NatsRequests(address)
        self._streams = JetStreamStreams(self._requests)
        self._runner = asyncio.Runner()
        self._client: Client | None = None

    def append(self, topic: str, wires: Sequence[bytes]) -> None:
        """See `sidestream.logs.moving.LogWriter`."""
        name = self._streams.name(topic)
        stream = self._streams.describe(name, topic) if name else None
        if stream is None:
            raise LogUnavailable(f"{self._address}: {topic}: expected a stream that holds it, found none. Make it first.")
        try:
            self._runner.run(self._append(topic, wires, stream.state.last_seq))
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise LogUnavailable(f"{self._address}: {topic}: not written: {error or type(error).__name__}") from error

    async def _append(self, topic: str, wires: Sequence[bytes], last: int) -> None:
        client = await self._connected()
        answers: list[_Answer] = []
        complete = asyncio.Event()

        async def answered(message: Msg) -> None:
            answers.append(_answer_in(message))
            if answers[-1].error is not None or len(answers) == len(wires):
                complete.set()

        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox, cb=answered)
        try:
            for at, wire in enumerate(wires):
                await client.publish(topic, wire, reply=inbox, headers={_EXPECTED: str(last + at)})
            await asyncio.wait_for(complete.wait(), self._address.answer_seconds)
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()
        refused = [answer.error.description for answer in answers if answer.error is not None]
        if refused:
            raise LogUnavailable(f"{self._address}: {topic}: not written: {refused[0]}. Somebody else writes there, or it is full.")

    async def _connected(self) -> Client:
        if self._client is None or not self._client.is_connected:
            options: dict[str, Any] = {"token": self._address.token or None, "tls": self._address.tls}
            self._client = await nats.connect(
                [url.strip() for url in self._address.url.split(",")],
                name="sidestream move",
                allow_reconnect=False,
                connect_timeout=int(self._address.connect_seconds),
                error_cb=_told_elsewhere,
                **{name: value for name, value in options.items() if value is not None},
            )
        return self._client

    def close(self) -> None:
        """See `sidestream.logs.moving.LogWriter`."""
        if self._client is not None and not self._client.is_closed:
            self._runner.run(self._client.close())
        self._runner.close()
        self._requests.close()


async def _told_elsewhere(_: Exception) -> None:
    """Print nothing: whoever asks is told."""


def _answer_in(message: Msg) -> _Answer:
    if not message.data:  # no stream takes the subject
        return _Answer(_Problem(f"no stream takes it ({(message.headers or {}).get('Status', 'no answer')})"))
    return msgspec.json.decode(message.data, type=_Answer)
