"""A door in front of a server of this machine: it talks TLS where the server does not, or holds back what the server says."""

import asyncio
import contextlib
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidestream.launcher.network import LOOPBACK


@contextmanager
def tls_in_front_of(port: int, folder: Path) -> Iterator[int]:
    """Talk TLS, with a certificate that nobody vouches for; yield the door's own port."""
    with _open(_Door(port, context=_context(folder))) as own:
        yield own


@contextmanager
def held_after(port: int, most: int) -> Iterator[int]:
    """Hand on so many bytes of what the server says on one connection, and then no more; yield the door's own port."""
    with _open(_Door(port, most=most)) as own:
        yield own


@contextmanager
def _open(door: "_Door") -> Iterator[int]:
    thread = threading.Thread(target=door.run, daemon=True)
    thread.start()
    try:
        yield door.port()
    finally:
        door.close()
        thread.join()


def _context(folder: Path) -> ssl.SSLContext:
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    made = ("-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={LOOPBACK}", "-addext", f"subjectAltName=IP:{LOOPBACK}")
    words = ["openssl", "req", "-x509", *made, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


class _Door:
    """A loop of its own: who asks may block the test's."""

    def __init__(self, behind: int, *, context: ssl.SSLContext | None = None, most: float = float("inf")) -> None:
        self._behind = behind
        self._context = context
        self._most = most
        self._port = 0
        self._listening = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()

    def run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    def port(self) -> int:
        assert self._listening.wait(30), "the door did not open"
        return self._port

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._hand_on, LOOPBACK, 0, ssl=self._context)
        self._port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._over.wait()
        server.close()

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            behind, before = await asyncio.open_connection(LOOPBACK, self._behind)
            await asyncio.gather(_flow(reader, before, float("inf")), _flow(behind, writer, self._most))


async def _flow(source: asyncio.StreamReader, target: asyncio.StreamWriter, most: float) -> None:
    passed = 0
    try:
        while piece := await source.read(65536):
            passed += len(piece)
            if passed <= most:
                target.write(piece)
                await target.drain()
    finally:
        target.close()
