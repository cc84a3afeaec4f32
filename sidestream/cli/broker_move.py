"""`sidestream broker move`: the log goes to another broker, with everything that stands in it.

The long copy runs beside the running system. Then writers stand still, the rest is copied and everything is compared, the
other broker is put in force, and whoever starts now writes there. Killed at any moment it is run again.
"""

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

if TYPE_CHECKING:
    from sidestream.adapters.broker_kinds import InForce
    from sidestream.launcher.folder import SystemFolder
    from sidestream.logs.moving import Move, Moved, Show
    from sidestream.ports import EventLog
    from sidestream.publishing.standstill import Mover

File = Annotated[Path, typer.Option("--file", "-f", help="the run file")]
Data = Annotated[Path | None, typer.Option("--data", help="the folder of the system; .sidestream beside the file")]

_NEARLY_DONE: Final = 1000
"""So few entries are left to the standstill."""
_ROUNDS: Final = 20
_PATIENCE_SECONDS: Final = 15.0
"""How long calls under way may take to end, and strangers to pause."""
_QUIET_SECONDS: Final = 0.5


class Done(msgspec.Struct, frozen=True):
    """What a move did: its topics, how long writers stood still, and what somebody should read."""

    source: str
    target: str
    topics: "Sequence[Moved]"
    standstill_seconds: float
    remarks: Sequence[str]


def move(
    source: Annotated[str, typer.Option("--from", help="the broker that holds the log now")],
    target: Annotated[str, typer.Option("--to", help="a folder below components/brokers")],
    address: Annotated[str, typer.Option("--address", help="where that broker is; kept in the secrets of the system's folder")] = "",
    trimmed: Annotated[bool, typer.Option("--trimmed", help="move what is left of a log whose beginning is gone")] = False,
    file: File = Path("dapr.yaml"),
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="print what was moved as one JSON object")] = False,
) -> None:
    """Move the log to another broker: copy it in order, stop the writers for seconds, compare, and switch.

    Runs beside the system. Writers answer 503 and say why; `sidestream up` then starts everything again on the other broker.
    """
    from sidestream.cli.output import counting
    from sidestream.errors import ConfigurationError
    from sidestream.launcher.folder import DEFAULT, SystemFolder
    from sidestream.publishing.standstill import moving

    if source == target:
        raise ConfigurationError(f"expected two brokers, found {source} twice. Name another one with --to.")
    file = file.resolve()
    place = SystemFolder(data or file.parent / DEFAULT)
    with contextlib.chdir(file.parent), moving(place.data, source, target) as mover, counting(f"{source} to {target}") as show:
        done = _Moving(file, place, mover).run(source, target, address, show, trimmed=trimmed)
    typer.echo(msgspec.json.encode(done).decode() if as_json else _told(done))


class _Moving:
    """One move of one system."""

    def __init__(self, file: Path, place: "SystemFolder", mover: "Mover") -> None:
        self._file = file
        self._place = place
        self._mover = mover

    def run(self, source: str, target: str, address: str, show: "Show", *, trimmed: bool) -> Done:
        """Copy, stop the writers, compare, switch."""
        from sidestream.adapters.log_writers import writer_of
        from sidestream.logs.moving import Move

        topics = self._topics()
        with self._log_of(source) as old, self._made(target, address, topics) as new, contextlib.closing(writer_of(new)) as writer:
            move = Move(old, new, writer, topics)
            move.begin(although_trimmed=trimmed)
            for _ in range(_ROUNDS):
                if move.copy(show) <= _NEARLY_DONE:
                    break
            moved, seconds = self._finish(move, target, address, show)
        return Done(source, target, moved, round(seconds, 2), _remarks())

    def _finish(self, move: "Move", target: str, address: str, show: "Show") -> "tuple[list[Moved], float]":
        from sidestream.cli import swapping

        with ExitStack() as stack:
            begun = time.monotonic()
            stack.enter_context(self._mover.standstill(_PATIENCE_SECONDS))
            self._stop_relays(stack)
            _copy_until_quiet(move, show)
            moved = move.verified()
            self._mover.switching()
            swapping.use(swapping.folder_in_force(self._file), target, self._place, address, leave_history=True)
            self._mover.moved()
            return moved, time.monotonic() - begun

    def _stop_relays(self, stack: ExitStack) -> None:
        """Relays of processes elsewhere on the same stores stand back too, and no topic is written anew meanwhile."""
        from sidestream.cli.log import relays_away
        from sidestream.cli.stores import kept

        for each in stack.enter_context(kept(self._file, self._place.path)):
            stack.enter_context(relays_away(each, stack.enter_context(each.opened())))

    def _topics(self) -> list[str]:
        """Return every topic of the language, and of the stores."""
        from sidestream.cli.language import language_of
        from sidestream.cli.stores import kept

        topics = set(language_of(self._file, self._file.parent / "tests" / "golden").registry.topics)
        with kept(self._file, self._place.path) as stores:
            for each in stores:
                with each.opened() as store:
                    topics.update(store.topics())
        return sorted(topics)

    @contextmanager
    def _made(self, target: str, address: str, topics: Sequence[str]) -> "Iterator[EventLog]":
        """Note where the other broker is, make what it needs, and open its log."""
        from sidestream.adapters.broker_kinds import WITHOUT_A_LOG
        from sidestream.errors import ConfigurationError
        from sidestream.launcher.other_broker import OtherBroker

        with self._component(target) as found:
            if not found.kind.has_log:
                raise ConfigurationError(f"{found.kind.name} {WITHOUT_A_LOG} Nothing can be moved there; `sidestream broker use` takes it.")
            other = OtherBroker.of(found, self._place, address)
            if found.secret and address:
                self._place.write_secrets(address, found.secret)
            asyncio.run(other.ready(topics))
        with self._log_of(target) as log:
            yield log

    @contextmanager
    def _log_of(self, name: str) -> "Iterator[EventLog]":
        """Open a broker's log."""
        from sidestream.adapters.components import log_of

        with self._component(name) as found, contextlib.closing(log_of(found.component)) as log:
            yield log

    @contextmanager
    def _component(self, name: str) -> "Iterator[InForce]":
        """Read a broker's folder of resources, with the secrets of this system for as long as the block lasts."""
        from sidestream.adapters.broker_kinds import in_force
        from sidestream.launcher.resources import moved
        from sidestream.launcher.settings import LauncherSettings

        with tempfile.TemporaryDirectory() as folder:
            resources = moved(self._folder_of(name), Path(folder) / name, self._place.secrets)
            yield in_force(resources, LauncherSettings().pubsub)

    def _folder_of(self, name: str) -> Path:
        """Return the folder in force where it is this broker's, because that may be changed by hand; else the one it is copied from."""
        from sidestream.cli import swapping
        from sidestream.errors import ConfigurationError

        folder = swapping.folder_in_force(self._file)
        offered = {each.name: each for each in swapping.offered(folder)}
        if name not in offered:
            names = ", ".join(offered)
            raise ConfigurationError(f"{folder / swapping.BROKERS}: expected one of {names}, found {name!r}. Correct the name.")
        return folder if offered[name].state else folder / swapping.BROKERS / name


def _copy_until_quiet(move: "Move", show: "Show") -> None:
    """Copy what was under way, and what strangers add, until nobody writes."""
    from sidestream.errors import ConfigurationError

    now = time.monotonic()
    quiet_since, until = now, now + _PATIENCE_SECONDS
    while now - quiet_since < _QUIET_SECONDS:
        copied = move.copy(show)
        now = time.monotonic()
        if now > until:
            raise ConfigurationError(
                f"expected a quiet log when our writers stand still, found entries added for {_PATIENCE_SECONDS:g} s: "
                "somebody else writes there. Stop it, or point it to the other broker, and try again. Nothing was switched; writers go on."
            )
        if copied:
            quiet_since = now
        time.sleep(0.05)


def _remarks() -> list[str]:
    remarks = [
        "`sidestream up` starts everything again on it; apps that something else runs answer 503 until they and their sidecars "
        "are restarted."
    ]
    if os.environ.get("SIDESTREAM_BROKER"):
        remarks.append("SIDESTREAM_BROKER names the old broker's address here: unset it before the next start.")
    return remarks


def _told(done: Done) -> str:
    lines = [f"The log was moved from {done.source} to {done.target}. Writers stood still for {done.standstill_seconds:g} s."]
    for each in done.topics:
        unreadable = f", {each.summed.unreadable:,} that cannot be read" if each.summed.unreadable else ""
        lines.append(f"{each.topic}: {each.summed.events:,} events{unreadable}, digest {each.summed.digest}, the same in both logs.")
    return "\n".join([*lines, *done.remarks])
