"""Which apps are not ready, and why: asked of doors that answer what a test tells them."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sidestream.launcher.network import LOOPBACK
from sidestream.launcher.readiness import not_ready

READY = (200, {"status": "ready"})
WITHOUT_THE_DOOR = (404, {"detail": "Not Found"})
LONG = 300.0


def refuses(detail: str) -> tuple[int, dict[str, str]]:
    return 503, {"detail": detail}


@asynccontextmanager
async def door(*answers: tuple[int, object]) -> AsyncIterator[str]:
    """An app that gives these answers one after another, the last of them for ever."""
    given = list(answers)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        assert asked.startswith(b"GET /readyz ")
        status, said = given.pop(0) if len(given) > 1 else given[0]
        body = said if isinstance(said, bytes) else json.dumps(said).encode()
        writer.write(b"HTTP/1.1 %d It\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, LOOPBACK, 0)
    try:
        yield f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def reason_of(answers: Sequence[tuple[int, object]], patience: float) -> str:
    async with door(*answers) as url:
        return (await not_ready([("tally", url)], patience, LONG)).get("tally", "")


async def test_an_app_that_is_ready_or_has_no_such_door_is_not_named() -> None:
    async with door(READY) as one, door(WITHOUT_THE_DOOR) as other:
        assert await not_ready([("one", one), ("other", other)], LONG, LONG) == {}


async def test_an_app_that_needs_a_moment_is_waited_for() -> None:
    assert await reason_of([refuses("catching up"), refuses("catching up"), READY], LONG) == ""


async def test_an_app_that_stays_unready_is_named_with_what_it_said_last() -> None:
    assert await reason_of([refuses("first"), refuses("Deploy version 3.")], 0.0) == "Deploy version 3."


async def test_an_answer_that_is_no_problem_document_is_told_by_its_status() -> None:
    for said in (b"<html>", ["a list"], {"detail": ""}):
        assert await reason_of([(503, said)], 0.0) == "/readyz answers 503"


async def test_an_app_that_does_not_answer_is_named_beside_the_others() -> None:
    with socket.socket() as taken:  # and nobody listens
        taken.bind((LOOPBACK, 0))
        gone = f"http://{LOOPBACK}:{taken.getsockname()[1]}"
        async with door(READY) as one:
            found = await not_ready([("one", one), ("gone", gone)], 0.0, LONG)
    assert list(found) == ["gone"]
    assert found["gone"].startswith("/readyz: ")
