"""The probe app: subscribes to the topics of a check, writes down what comes, and answers as each event asks it to.

A program of its own (`python -m sidestream.conformance.app SETTING.json`), because probes kill it. What it writes is on its way
to the disk before it answers, so that after a kill the record tells what it had been given.
"""

import asyncio
import base64
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sidestream.conformance.deliveries import Delivery, disturbing
from sidestream.conformance.events import ERROR, HANG, OK, Payload, read_payload

_RAW: Final = b'"'


class Subscribed(msgspec.Struct, frozen=True):
    """One topic the app takes.

    Attributes:
        bulk: many events a delivery, as a projection has them.
        raw: the very bytes, as the inbox has them; in bulk only.
        dead_letter: where the sidecar puts what is given up.
        answers_ok: whatever the event asks for.
    """

    topic: str
    bulk: bool = True
    raw: bool = False
    dead_letter: str = ""
    answers_ok: bool = False


class Setting(msgspec.Struct, frozen=True):
    """What the app is told."""

    pubsub: str
    record: str
    topics: tuple[Subscribed, ...]


class _Entry(msgspec.Struct, gc=False):
    entryId: str  # noqa: N815 - the sidecar's word
    event: msgspec.Raw = msgspec.Raw()


class _Bulk(msgspec.Struct, gc=False):
    entries: list[_Entry]


_decode: Final = msgspec.json.Decoder(_Bulk).decode
_encode: Final = msgspec.json.Encoder().encode
_STATUS: Final = {OK: "SUCCESS", ERROR: "RETRY"}


class Recorder:
    """Decides answers by how often an event came before, also before the app was killed, and writes down what it decides."""

    def __init__(self, record: Path) -> None:
        self._attempts: Counter[tuple[str, str, int]] = Counter()
        self._batch = 0
        self._disturbing = disturbing(record)
        if record.exists():
            earlier = (msgspec.json.decode(line, type=Delivery) for line in record.read_bytes().split(b"\n")[:-1])
            self._attempts.update((each.topic, each.label, each.n) for each in earlier)
        self._file = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def take(self, to: Subscribed, wires: Sequence[bytes]) -> list[str]:
        """Return the answer for each event of a delivery."""
        self._batch += 1
        now, lines, answers = time.time(), [], []
        for wire in wires:
            payload = read_payload(wire)
            if payload is None:
                answers.append(OK)
                continue
            delivery = self._delivery(to, payload, now, wire)
            lines.append(_encode(delivery) + b"\n")
            answers.append(delivery.answer)
        os.write(self._file, b"".join(lines))
        return answers

    async def hold(self) -> Response:
        """Hold a delivery until the check is calm again; it counts as failed."""
        while self._disturbing.exists():  # noqa: ASYNC110 - another process takes the file away
            await asyncio.sleep(0.05)
        return _failed()

    def _delivery(self, to: Subscribed, payload: Payload, now: float, wire: bytes) -> Delivery:
        key = (to.topic, payload.label, payload.n)
        attempt = self._attempts[key]
        self._attempts[key] += 1
        asked = payload.answers[attempt] if attempt < len(payload.answers) else OK
        if payload.meanwhile and self._disturbing.exists():
            asked = payload.meanwhile
        answer = OK if to.answers_ok else asked
        return Delivery(to.topic, payload.label, payload.n, attempt, answer, self._batch, now, wire.decode() if payload.show else "")


def create_app(setting: Setting) -> Starlette:
    """Build the app; the record is opened at once."""
    recorder = Recorder(Path(setting.record))
    subscriptions = [_subscription(setting.pubsub, each, f"/take/{at}") for at, each in enumerate(setting.topics)]

    async def healthy(_: Request) -> Response:
        return Response()

    async def listed(_: Request) -> Response:
        return Response(_encode(subscriptions), media_type="application/json")

    doors = [Route(f"/take/{at}", _door(recorder, each), methods=["POST"]) for at, each in enumerate(setting.topics)]
    return Starlette(routes=[Route("/healthz", healthy), Route("/dapr/subscribe", listed), *doors])


def _subscription(pubsub: str, to: Subscribed, route: str) -> dict[str, object]:
    from sidestream.web.deliveries import MAX_EVENTS, MAX_WAIT_MS

    found: dict[str, object] = {"pubsubname": pubsub, "topic": to.topic, "route": route}
    if to.bulk:
        found["bulkSubscribe"] = {"enabled": True, "maxMessagesCount": MAX_EVENTS, "maxAwaitDurationMs": MAX_WAIT_MS}
    if to.raw:
        found["metadata"] = {"rawPayload": "true"}
    if to.dead_letter:
        found["deadLetterTopic"] = to.dead_letter
    return found


def _door(recorder: Recorder, to: Subscribed) -> Callable[[Request], Awaitable[Response]]:
    async def one(request: Request) -> Response:
        answer = recorder.take(to, [await request.body()])[0]
        if answer == HANG:
            return await recorder.hold()
        if answer == ERROR:
            return _failed()
        return Response(b'{"status":"SUCCESS"}', media_type="application/json")

    async def many(request: Request) -> Response:
        entries = _decode(await request.body()).entries
        answers = recorder.take(to, [_wire(entry.event) for entry in entries])
        if HANG in answers:
            return await recorder.hold()
        statuses = [{"entryId": entry.entryId, "status": _STATUS[answer]} for entry, answer in zip(entries, answers, strict=True)]
        return Response(_encode({"statuses": statuses}), media_type="application/json")

    return many if to.bulk else one


def _failed() -> Response:
    return Response("asked to fail", status_code=500)


def _wire(event: msgspec.Raw) -> bytes:
    """Return the event's bytes: an object as it stands, a raw payload out of its base64."""
    plain = bytes(event)
    return base64.b64decode(plain[1:-1]) if plain.startswith(_RAW) else plain


def main() -> None:
    """Serve until a signal."""
    setting = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Setting)
    # Longer than a sidecar keeps an idle connection: one that ends while a delivery is on its way would lose it.
    alive = 120
    port = int(os.environ["APP_PORT"])
    uvicorn.run(create_app(setting), host="127.0.0.1", port=port, log_level="warning", access_log=False, timeout_keep_alive=alive)


if __name__ == "__main__":
    main()
