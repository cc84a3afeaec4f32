"""The hands of a check: they kill its app, its sidecar and its broker, or stop somebody's broker for a moment, and undo it."""

import os
import signal
from typing import Literal

from sidestream.launcher.broker import Broker
from sidestream.launcher.parts import APP_IS_HEALTHY, Pair


class AppHand:
    """Kills the probe app and starts it again."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair

    async def kill(self) -> None:
        """See `sidestream.conformance.stage.Killable`."""
        await self._pair.app.kill()

    async def back(self) -> None:
        """See `sidestream.conformance.stage.Killable`."""
        await self._pair.app.start()
        await self._pair.app.ready(APP_IS_HEALTHY)


class SidecarHand:
    """Kills the sidecar and starts it again."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair

    async def kill(self) -> None:
        """See `sidestream.conformance.stage.Killable`."""
        await self._pair.sidecar.kill()

    async def back(self) -> None:
        """See `sidestream.conformance.stage.Killable`."""
        await self._pair.sidecar.start()
        await self._pair.ready()


class KilledBroker:
    """Kills the embedded broker and starts it again on its data."""

    kind: Literal["killed", "paused"] = "killed"

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def away(self) -> None:
        """See `sidestream.conformance.stage.Outage`."""
        await self._broker.kill()

    async def back(self) -> None:
        """See `sidestream.conformance.stage.Outage`."""
        await self._broker.start()
        await self._broker.ready()


class PausedBroker:
    """Stops the process of somebody's broker and lets it go on."""

    kind: Literal["killed", "paused"] = "paused"

    def __init__(self, pid: int) -> None:
        self._pid = pid

    async def away(self) -> None:
        """See `sidestream.conformance.stage.Outage`."""
        os.kill(self._pid, signal.SIGSTOP)

    async def back(self) -> None:
        """See `sidestream.conformance.stage.Outage`."""
        os.kill(self._pid, signal.SIGCONT)
