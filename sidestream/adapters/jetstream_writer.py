"""Entries added to a JetStream stream as Dapr's pubsub.jetstream writes them: a subject per topic, body = the event.

Without the id that a sidecar sends along: the server would drop the second of two entries under one id. Each entry names the
number it expects before it instead, so that none is stored behind one that was not, and nobody else's comes between.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from sidestream.adapters.jetstream_streams import JetStreamStreams
from sidestream.adapters.nats_requests import NatsAddress, NatsRequests
from sidestream.adapters.numbered_positions import BEGINS_A_LOG
from sidestream.errors import LogUnavailable

_Entry = tuple[bytes, Mapping[str, str]]
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
        last = stream.state.last_seq
        self._write(topic, [(wire, {_EXPECTED: str(last + at)}) for at, wire in enumerate(wires)])

    def add(self, topic: str, wires: Sequence[bytes]) -> None:
        """Add entries in order; others may add theirs in between. Raises LogUnavailable: some of them may stand there."""
        self._write(topic, [(wire, {}) for wire in wires])

    def begin(self, topic: str, wire: bytes) -> int:
        """Add an entry as the first of a log that is written anew; return its number."""
        (number,) = self._write(topic, [(wire, {BEGINS_A_LOG: "1"})])
        return number

    def _write(self, topic: str, entries: Sequence[_Entry]) -> list[int]:
        """Send entries with their headers, wait for every answer, and return the numbers they got."""
        try:
            return self._runner.run(self._sent(topic, entries))
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise LogUnavailable(f"{self._address}: {topic}: not written: {error or type(error).__name__}") from error

    async def _sent(self, topic: str, entries: Sequence[_Entry]) -> list[int]:
        client = await self._connected()
        answers: list[_Answer] = []
        complete = asyncio.Event()

        async def answered(message: Msg) -> None:
            answers.append(_answer_in(message))
            if answers[-1].error is not None or len(answers) == len(entries):
                complete.set()

        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox, cb=answered)
        try:
            for wire, headers in entries:
                await client.publish(topic, wire, reply=inbox, headers=dict(headers))
            await asyncio.wait_for(complete.wait(), self._address.answer_seconds)
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()
        refused = [answer.error.description for answer in answers if answer.error is not None]
        if refused:
            raise LogUnavailable(f"{self._address}: {topic}: not written: {refused[0]}. Somebody else writes there, or it is full.")
        return [answer.seq for answer in answers]

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
