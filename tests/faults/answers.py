"""A wire between an app and its sidecar on which calls arrive and answers can be lost: what was sent stands in the log,
and the sender does not know it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sidestream.launcher.network import LOOPBACK


class Wire:
    """Passes bytes on in both directions; while `deaf`, nothing comes back. Made by `wire_to`."""

    def __init__(self, port: int) -> None:
        self.deaf = False
        self.lost = 0
        self.port = 0
        self._target = port
        self._open: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """End every connection, as a network that gives up."""
        for writer in tuple(self._open):
            writer.transport.abort()

    async def serve(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        try:
            far, onward = await asyncio.open_connection(LOOPBACK, self._target)
        except OSError:
            back.transport.abort()
            return
        self._open |= {back, onward}
        with suppress(OSError):
            await asyncio.gather(self._carry(near, onward), self._carry(far, back, answers=True))
        for writer in (back, onward):
            self._open.discard(writer)
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool = False) -> None:
        while found := await reader.read(1 << 16):
            if answers and self.deaf:
                self.lost += len(found)
                continue
            writer.write(found)
            await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def wire_to(port: int) -> AsyncIterator[Wire]:
    """A wire to a port of this machine; it listens on `port` of its own."""
    wire = Wire(port)
    server = await asyncio.start_server(wire.serve, LOOPBACK, 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        wire.cut()
