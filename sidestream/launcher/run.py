"""`sidestream up` from start to stop: the signals, what is said when everything is healthy, the command run then.

Where `sidestream broker move` has put another broker in force meanwhile, everything is started once more, on that one.
"""

import asyncio
import json
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from rich.console import Console

from sidestream.errors import ConfigurationError
from sidestream.launcher.interruption import Interruption
from sidestream.launcher.parts import Pair
from sidestream.launcher.plan import Wishes
from sidestream.launcher.process import Process, Program
from sidestream.launcher.readiness import not_ready
from sidestream.launcher.settings import LauncherSettings
from sidestream.launcher.system import System
from sidestream.publishing.standstill import LOOK_SECONDS, switches_in


@dataclass(frozen=True)
class Address:
    """Where one app answers, and the number of its process. In one process there is no sidecar."""

    app: str
    url: str
    sidecar: str | None = None
    process: int | None = None


@dataclass(frozen=True)
class Session:
    """What the one who typed `sidestream up` asked for."""

    run_file: Path
    folder: Path | None
    wishes: Wishes
    console: Console
    # A command run when everything is healthy; empty for none.
    then: str = ""
    as_json: bool = False
    settings: LauncherSettings = field(default_factory=LauncherSettings)


async def run(session: Session) -> int:
    """Start, run until a signal, stop. Return 0, or 1 when a part had died or the command had failed.

    Raises:
        CannotStart: something does not start; what had been started was stopped.
    """
    problems: list[str] = []
    with Interruption() as interruption:
        while True:
            await _run_until_moved(session, interruption, problems)
            session = _after_a_move(session)
    session.console.print("Stopped.")
    return int(bool(problems))


def _after_a_move(session: Session) -> Session:
    """The command was for the first start, and an address that the environment names is the old broker's."""
    if session.settings.broker:
        session.console.print("SIDESTREAM_BROKER is left aside: it names the broker before. Unset it before the next start.")
    return replace(session, then="", settings=session.settings.model_copy(update={"broker": ""}))


async def _run_until_moved(session: Session, interruption: Interruption, problems: list[str]) -> None:
    """Start, run until the log is on another broker, stop; whatever went wrong is added to the problems."""
    async with System.prepared(
        session.run_file, folder=session.folder, wishes=session.wishes, console=session.console, settings=session.settings
    ) as system:
        interruption.on_second = system.end_at_once
        try:
            moves, _ = switches_in(system.folder.data)
            await _up(system, session)
            if code := await after_start(session, [_address(pair) for pair in system]):
                problems.append(f"`{session.then}` ended with exit code {code}")
                system.log.say(f"{problems[-1]}. Everything keeps running.", style="bold red")
            broker = await _moved(system, moves)
            system.log.say(f"The log was moved to {broker}. Everything starts again on it.")
        finally:
            problems += system.deaths
            system.log.say("Stopping: sidecars, then apps, then the broker.")


async def _moved(system: System, moves: int) -> str:
    """Wait until `sidestream broker move` has put another broker in force; return which."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        with suppress(ConfigurationError):
            found, broker = switches_in(system.folder.data)
            if found > moves:
                return broker


async def _up(system: System, session: Session) -> None:
    begun = time.monotonic()
    system.log.say("Starting; Ctrl-C stops everything.")
    await system.up()
    seconds = time.monotonic() - begun
    unready = await not_ready((pair.name, pair.url) for pair in system if not pair.left_out)
    found = "Everything runs, and not all of it is ready," if unready else "Everything is healthy"
    system.log.say(f"{found} after {seconds:.1f} s. Broker {system.broker_named}, data and logs in {system.folder.path}")
    for app, reason in unready.items():
        system.log.say(f"{app} is not ready: {reason.removeprefix('Not ready: ')}", style="yellow")
    announce([_address(pair) for pair in system], session)
    for pair in system:
        if pair.left_out:
            system.log.say(f"{pair.name} is left to you. Start it with:")
            system.log.say(f"  {pair.app.program.line()}")


def announce(addresses: Sequence[Address], session: Session) -> None:
    """Print where the apps answer: a table, or one JSON object on standard output."""
    if session.as_json:
        sys.stdout.write(json.dumps({"apps": [asdict(address) for address in addresses]}) + "\n")
        sys.stdout.flush()
        return
    # The longest line has 105 columns; a rich table would cut the addresses on a narrow terminal.
    rows = [("app", "url", "OpenAPI page", "sidecar", "process")]
    rows += [_as_row(address) for address in addresses]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        session.console.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)


def _as_row(address: Address) -> tuple[str, str, str, str, str]:
    process = "yours" if address.process is None else str(address.process)
    if address.sidecar is None:
        return address.app, address.url, f"{address.url}/docs", "none", "this one"
    return address.app, address.url, f"{address.url}/docs", address.sidecar, process


async def after_start(session: Session, addresses: Sequence[Address]) -> int:
    """Run the command given with --then, its output untagged; return its exit code."""
    if not session.then:
        return 0
    environment = {f"SIDESTREAM_URL_{address.app.upper().replace('-', '_')}": address.url for address in addresses}
    program = Program("then", shlex.split(session.then), session.run_file.resolve().parent, environment)
    process = Process(program, on_line=_untagged)
    try:
        await process.start()
        return await process.wait()
    finally:
        await process.stop()


def _untagged(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _address(pair: Pair) -> Address:
    return Address(pair.name, pair.url, pair.sidecar_url, None if pair.left_out else pair.app.pid)
