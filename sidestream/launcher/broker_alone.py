"""`sidestream broker start`: the embedded broker in the foreground, for apps that somebody else starts."""

import json
import sys
from pathlib import Path

from rich.console import Console

from sidestream.launcher.broker import Broker
from sidestream.launcher.console import LogFiles, MergedLog
from sidestream.launcher.folder import SystemFolder
from sidestream.launcher.interruption import Interruption
from sidestream.launcher.settings import LauncherSettings


async def run(folder: Path, console: Console, *, as_json: bool) -> int:
    """Run until a signal (0), or until the broker ends by itself (1).

    Raises:
        CannotStart: the folder is in use, or the broker does not start.
    """
    place = SystemFolder(folder)
    with Interruption() as interruption, place.claimed("a broker"):
        log = MergedLog(LogFiles(place.logs), console)
        broker = Broker.prepare(place.broker, LauncherSettings().appendfsync, log.sink("broker", "broker"))
        interruption.on_second = broker.end_at_once
        try:
            await _start(broker, place)
            _announce(broker, place, log, as_json=as_json)
            await broker.wait()
            log.say(f"The broker {broker.describe_end()}.", style="bold red")
            return 1
        finally:
            await broker.stop()
            log.close()
    return 0


async def _start(broker: Broker, place: SystemFolder) -> None:
    await broker.start()
    await broker.ready()
    place.write_secrets(broker.address)


def _announce(broker: Broker, place: SystemFolder, log: MergedLog, *, as_json: bool) -> None:
    log.say(f"Broker on {broker.address}, written to {place.secrets}. Ctrl-C stops it.")
    if as_json:
        sys.stdout.write(json.dumps({"broker": broker.address}) + "\n")
        sys.stdout.flush()
