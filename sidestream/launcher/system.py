"""A whole system of dapr.yaml, running: one broker, and for each app its process and its daprd.

    async with System.start(Path("dapr.yaml"), folder=tmp_path, wishes=Wishes(free_ports=True)) as system:
        await system["tally"].app.kill()
        await system["tally"].app.start()
        await system["tally"].ready()

Promises: everything in the file is healthy when the block begins; when it ends, sidecars are stopped first, then apps,
then the broker, and no process is left, whatever happened in between. Nothing that dies is started again, with one
exception that is said aloud: a sidecar that ends while the system starts (daprd gives up when the broker is not there
yet) is started again a few times.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from rich.console import Console

from sidestream.adapters.broker_kinds import REDIS, WITHOUT_A_LOG
from sidestream.launcher import plan as planning
from sidestream.launcher import tokens
from sidestream.launcher.broker import Broker
from sidestream.launcher.console import LogFiles, MergedLog
from sidestream.launcher.folder import DEFAULT, SystemFolder
from sidestream.launcher.network import free_ports
from sidestream.launcher.other_broker import OtherBroker
from sidestream.launcher.parts import APP_IS_HEALTHY, Pair, Part, PartEnded, app_program, sidecar_program
from sidestream.launcher.plan import Plan, Wishes
from sidestream.launcher.problem import CannotStart
from sidestream.launcher.process import DeadlineMissed, Process
from sidestream.launcher.runfile import App
from sidestream.launcher.settings import LauncherSettings

_SIDECAR_STARTS = 3
# daprd takes up to five seconds to let go of what is in flight.
_SIDECAR_PATIENCE = 8.0


class System:
    """The parts of one running system. Made by `System.start`."""

    def __init__(self, plan: Plan, place: SystemFolder, log: MergedLog, settings: LauncherSettings) -> None:
        self.folder = place
        self.log = log
        # Parts that died by themselves since everything was healthy, in words.
        self.deaths: list[str] = []
        self._plan = plan
        self._settings = settings
        self._up = False
        self._found = next(iter(plan.brokers.values()))
        is_redis = self._found.component.type == REDIS
        named = settings.broker or (place.named_server if is_redis else "")
        ours = is_redis and self._found.secret and not named
        self._other = None if ours else OtherBroker.of(self._found, place, named, plan.base)
        self._broker = Broker.prepare(place.broker, settings.appendfsync, log.sink("broker", "broker"), self._died) if ours else None
        tokens.forget(place.tokens)
        self._pairs = {app.name: self._pair(app, port) for app, port in zip(plan.apps, _internal_ports(plan.apps), strict=True)}

    def __getitem__(self, app: str) -> Pair:
        return self._pairs[app]

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs.values())

    @property
    def broker(self) -> Broker:
        """Return the embedded broker; there is none where the settings name another."""
        assert self._broker is not None, "the broker is somebody else's"
        return self._broker

    @property
    def broker_address(self) -> str:
        """Return where the broker is, whosever it is."""
        return self._other.address if self._other else self.broker.address

    @property
    def broker_named(self) -> str:
        """Return where the broker is, fit to be shown: without who logs in."""
        return str(self._other) if self._other else self.broker_address

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        run_file: Path,
        *,
        folder: Path | None = None,
        wishes: Wishes | None = None,
        settings: LauncherSettings | None = None,
        console: Console | None = None,
    ) -> "AsyncIterator[System]":
        """Start everything in a run file; stop it at the end of the block.

        Args:
            run_file: path of dapr.yaml.
            folder: where broker, stores, logs and secrets lie; `.sidestream` beside the file when left out.
            wishes: what shall be different from the file.
            settings: the launcher's; taken from the environment when left out.
            console: where lines go, beside the log files.

        Raises:
            CannotStart: one sentence; nothing is left running.
        """
        async with cls.prepared(run_file, folder=folder, wishes=wishes, settings=settings, console=console) as system:
            await system.up()
            yield system

    @classmethod
    @asynccontextmanager
    async def prepared(
        cls,
        run_file: Path,
        *,
        folder: Path | None = None,
        wishes: Wishes | None = None,
        settings: LauncherSettings | None = None,
        console: Console | None = None,
    ) -> "AsyncIterator[System]":
        """Like `start`, but leave it to the block to call `up`, or to start single parts."""
        settings = settings or LauncherSettings()
        place = SystemFolder(folder or run_file.resolve().parent / DEFAULT)
        wishes = wishes or Wishes()
        with place.claimed("a second start", wishes.leave_out):
            plan = planning.make(run_file, place, settings.pubsub, wishes)
            log = MergedLog(LogFiles(place.logs), console)
            system = cls(plan, place, log, settings)
            try:
                yield system
            finally:
                await system.stop()
                log.close()

    async def up(self) -> None:
        """Start everything and wait until it is healthy.

        Raises:
            CannotStart: one part does not become healthy; `stop` ends the others.
        """
        await self._start_broker()
        if self._found.secret:
            self.folder.write_secrets(self.broker_address, self._found.secret)
        # Side by side: Python imports on one core while daprd loads on the other.
        await _all_or_first_problem(self._start_pair(pair) for pair in self)
        for part in self._parts():
            # Healthy once, and dead while the others were waited for.
            if part.starts and not part.alive:
                raise PartEnded(part)
        self._up = True

    async def stop(self) -> None:
        """Stop sidecars, then apps, then the broker; each waits for the one before."""
        self._up = False
        await _all(pair.sidecar.stop(_SIDECAR_PATIENCE) for pair in self)
        await _all(pair.app.stop() for pair in self)
        if self._broker:
            await self._broker.stop()

    def end_at_once(self) -> None:
        """Send SIGKILL to every part, in no order, and wait for none."""
        for part in self._parts():
            part.end_at_once()

    def _parts(self) -> list[Process]:
        parts: list[Process] = [part for pair in self for part in (pair.sidecar, pair.app)]
        return [*parts, self._broker] if self._broker else parts

    def _died(self, process: Process) -> None:
        # While the system starts, whoever waits for the part says it.
        if self._up:
            self.deaths.append(f"{process.name} {process.describe_end()}")
            self.log.say(f"{self.deaths[-1]}. Everything else keeps running. Start it again with:", style="bold red")
            self.log.say(f"  {process.program.line()}")

    @property
    def _asks_for_tokens(self) -> bool:
        return self._settings.tokens == "on" and self._plan.wishes.guarded

    def _pair(self, app: App, internal_port: int) -> Pair:
        plan = self._plan
        follow = {"SIDESTREAM_FOLLOW": "inbox"} if plan.brokers[app.name].follow == "inbox" else {}
        environment = {"SIDESTREAM_DATA": str(self.folder.data), **follow, **plan.wishes.environment}
        asked = tokens.make(self.folder.tokens, app.name) if self._asks_for_tokens else {}
        program = app_program(app, plan.components[app.name], environment, asked)
        sidecar = sidecar_program(app, plan.daprd.path, plan.base, plan.resources[app.name], internal_port, tokens=asked)
        return Pair(
            app,
            Part(program, app.port, self.log.sink(app.name, program.name), self._died),
            Part(sidecar, app.http_port, self.log.sink(app.name, sidecar.name), self._died),
            left_out=app.name in plan.wishes.leave_out,
        )

    async def _start_broker(self) -> None:
        if self._other:
            if self._found.follow == "inbox":
                self.log.say(f"The broker, {self._other}, {WITHOUT_A_LOG}", style="yellow")
            if made := await self._other.ready(self._plan.wishes.topics, unsafe=self._plan.wishes.unsafe):
                self.log.say(f"Made in the broker: {', '.join(made)}.")
            return
        await self.broker.start()
        await self.broker.ready(self._plan.wishes.patience)

    async def _start_pair(self, pair: Pair) -> None:
        try:
            if not pair.left_out:
                await pair.app.start()
            await pair.sidecar.start()
            if not pair.left_out:
                await pair.app.ready(APP_IS_HEALTHY, self._plan.wishes.patience)
            await self._sidecar_ready(pair)
        except DeadlineMissed as problem:
            raise CannotStart(f"{problem}. Look at {self.folder.logs / pair.name}.log.") from problem

    async def _sidecar_ready(self, pair: Pair) -> None:
        while True:
            try:
                await pair.ready(self._plan.wishes.patience)
            except PartEnded as ended:
                if pair.sidecar.alive or pair.sidecar.starts >= _SIDECAR_STARTS:
                    raise
                self.log.say(f"{ended} It is started again ({pair.sidecar.starts + 1} of {_SIDECAR_STARTS}).", style="yellow")
                await pair.sidecar.start()
            else:
                return


def _internal_ports(apps: Sequence[App]) -> list[int]:
    return free_ports(len(apps), without=[port for app in apps for port in app.ports.values()])


async def _all(actions: Iterable[Awaitable[None]]) -> None:
    """Do all side by side; a failure of one does not keep the others from ending."""
    results = await asyncio.gather(*actions, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


async def _all_or_first_problem(actions: Iterable[Coroutine[None, None, None]]) -> None:
    """Do all side by side; the first failure ends the others and is raised alone."""
    try:
        async with asyncio.TaskGroup() as group:
            for action in actions:
                group.create_task(action)
    except* CannotStart as problems:
        raise problems.exceptions[0] from None
