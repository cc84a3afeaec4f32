"""A Valkey server of a test's own, to be killed, paused and started again, and the hand that writes into its streams."""

import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
import redis

from sidestream.adapters.redis_log import RedisAddress, RedisLog
from sidestream.launcher.broker import _server
from tests.brokers.waiting import wait_until


class Server:
    """A valkey-server with an append-only file, to be killed, paused and started again."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        options = {"port": self.port, "bind": "127.0.0.1", "dir": self._folder, "appendonly": "yes", "appendfsync": "always", "save": ""}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._process = subprocess.Popen([_server(), *words], stdout=subprocess.DEVNULL)
        wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            with closing(redis.Redis(port=self.port)) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def send(self, signal_number: int) -> None:
        assert self._process is not None
        self._process.send_signal(signal_number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()


class InRedis:
    def __init__(self, port: int) -> None:
        self.log = RedisLog(RedisAddress(host="127.0.0.1", port=port))
        self.client = redis.Redis(port=port)

    def record(self, topic: str, wires: Sequence[bytes]) -> None:
        for wire in wires:
            self.client.xadd(topic, {"data": wire, "metadata": b'{"rawPayload":"false"}'})

    def trim(self, topic: str, upto: str) -> None:
        milliseconds, number = upto.split("-")
        self.client.xtrim(topic, minid=f"{milliseconds}-{int(number) + 1}", approximate=False)

    def flush(self, topic: str) -> None:
        self.client.delete(topic)

    def close(self) -> None:
        self.log.close()
        self.client.close()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("valkey"))
    yield server
    server.kill()


@pytest.fixture
def in_redis(server: Server) -> Iterator[InRedis]:
    written = InRedis(server.port)
    written.client.flushall()
    yield written
    written.close()
