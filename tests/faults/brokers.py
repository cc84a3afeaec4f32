"""The broker of a bad day as a value: what is killed and frozen, and what is read by hand. The faults know no more of it.

The embedded Valkey is a part of the system; any other broker is a server beside it, and only the folder of components differs.
"""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from sidestream.launcher.broker import Broker as Valkey
from sidestream.launcher.plan import Wishes
from sidestream.launcher.settings import LauncherSettings
from sidestream.launcher.system import System
from tests.brokers.hands import HANDS, Hand, RedisHand
from tests.brokers.run_files import run_file_on
from tests.brokers.servers import Server, running_server
from tests.brokers.witness import Witness
from tests.parts import REPOSITORY, running_system

EMBEDDED: Final = "valkey"
TOPICS: Final = ("votes", "accounts")
RUN_FILE: Final = REPOSITORY / "tests" / "apps" / "faults.yaml"
SPEAK_REDIS: Final = (EMBEDDED, "redis")


class Breakable(Protocol):
    """What can be killed, frozen and started again."""

    @property
    def name(self) -> str: ...

    async def start(self) -> None: ...

    async def kill(self) -> None: ...

    def end_at_once(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Broker(Breakable, Protocol):
    """The broker of a day."""

    @property
    def kind(self) -> str:
        """Which one it is: `valkey`, or one of tests/brokers/chosen.py."""
        ...

    @property
    def run_file(self) -> Path:
        """The run file whose components lead to it."""
        ...

    @property
    def port(self) -> int:
        """Where it listens."""
        ...

    def entries(self, topic: str) -> list[dict[str, Any]]:
        """Read the log by hand: every entry of a topic."""
        ...


class Embedded:
    """The system's own Valkey."""

    kind, run_file = EMBEDDED, RUN_FILE

    def __init__(self, broker: Valkey) -> None:
        self._broker = broker
        self._hand = RedisHand(broker.port)
        self.name, self.port = broker.name, broker.port
        self.kill, self.end_at_once, self.pause, self.resume = broker.kill, broker.end_at_once, broker.pause, broker.resume

    async def start(self) -> None:
        """Whoever is started after it finds it."""
        await self._broker.start()
        await self._broker.ready()

    def entries(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(event) for event in self._hand.read(topic)]


class Beside:
    """A server of the test's own."""

    name = "broker"

    def __init__(self, kind: str, server: Server, hand: Hand, run_file: Path) -> None:
        self.kind, self.run_file, self.port = kind, run_file, server.port
        self._server, self._hand = server, hand

    async def start(self) -> None:
        await asyncio.to_thread(self._server.start)

    async def kill(self) -> None:
        await asyncio.to_thread(self._server.kill)

    def end_at_once(self) -> None:
        self._server.send(signal.SIGKILL)

    def pause(self) -> None:
        self._server.send(signal.SIGSTOP)

    def resume(self) -> None:
        self._server.send(signal.SIGCONT)

    def entries(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(event) for event in self._hand.read(topic)]


@asynccontextmanager
async def system_on(kind: str, folder: Path, environment: Mapping[str, str]) -> AsyncIterator[tuple[System, Broker]]:
    """Everything in the run file of the faults, and its broker."""
    if kind == EMBEDDED:
        async with running_system(folder, RUN_FILE, environment=environment, guarded=False) as system:
            yield system, Embedded(system.broker)
        return
    with running_server(kind, folder / "server") as server:
        hand = HANDS[kind](server.address)
        if isinstance(hand, Witness):
            hand.listen(TOPICS)
        run_file = run_file_on(kind, RUN_FILE, folder)
        wishes = Wishes(free_ports=True, topics=TOPICS, environment=environment, guarded=False)
        async with System.start(run_file, folder=folder, wishes=wishes, settings=LauncherSettings(broker=server.address)) as system:
            yield system, Beside(kind, server, hand, run_file)
