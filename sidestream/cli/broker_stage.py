"""Sets the stage of a check: a sidecar and a probe app of its own, on free ports, in a folder that is gone afterwards.

It loads the very resources of a folder. The embedded broker is started where none is named; somebody else's is used with topics
that begin with the check's prefix, which are removed at the end, whatever happens.
"""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal
from uuid import uuid4

import msgspec
import yaml

from sidestream.adapters.broker_kinds import REDIS, InForce, address_of
from sidestream.adapters.components import open_log
from sidestream.adapters.dapr_publisher import DaprPublisher
from sidestream.cli.broker_hands import AppHand, KilledBroker, PausedBroker, SidecarHand
from sidestream.conformance.app import Setting, Subscribed
from sidestream.conformance.clearing import PREFIX, clear
from sidestream.conformance.deliveries import Deliveries
from sidestream.conformance.stage import FULL, QUICK, Fresh, Outage, Stage
from sidestream.conformance.topics import Topics
from sidestream.errors import SidestreamError
from sidestream.launcher.folder import SystemFolder
from sidestream.launcher.plan import Wishes
from sidestream.launcher.problem import CannotStart
from sidestream.launcher.settings import LauncherSettings
from sidestream.launcher.system import System

_QUIET_SECONDS: Final = 30.0
_USUAL_HELD_SECONDS: Final = 15.0
"""How long the folders here let an event be held back."""
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}


class Wanted(msgspec.Struct, frozen=True):
    """What to check.

    Attributes:
        found: the pub/sub component of the folder.
        tree: the folder of the run file; where it pins the sidecar's version, that one is used.
        configuration: of the sidecar.
        secrets: a file of secrets that the folder's components need, beside the address.
        address: of somebody's broker; empty: the embedded one, or the one that the component names.
        pid: the broker's process, which may be stopped for a moment; 0: it may not.
    """

    found: InForce
    tree: Path
    configuration: Path
    secrets: Path
    address: str = ""
    pid: int = 0
    quick: bool = False

    @property
    def folder(self) -> Path:
        """The folder of resources."""
        return self.found.component.file.parent

    @property
    def settings(self) -> LauncherSettings:
        """The launcher's, with the address of this broker."""
        plain = LauncherSettings()
        says_it_itself = self.found.component.type == REDIS and not self.found.secret
        address = self.address or (address_of(self.found) if says_it_itself else "")
        return LauncherSettings(broker=address, appendfsync=plain.appendfsync, pubsub=plain.pubsub)

    @property
    def follow(self) -> Literal["log", "inbox"]:
        """What a projection follows on it."""
        return "log" if self.found.kind.has_log else "inbox"

    @property
    def quiet(self) -> float:
        """Seconds without an arrival after which an event counts as lost: longer than the broker may hold one back."""
        metadata = {item["name"].lower(): str(item.get("value", "")) for item in self.found.component.items}
        held = _seconds(metadata.get("processingtimeout", "")) + _seconds(metadata.get("redeliverinterval", "") + "ms")
        return _QUIET_SECONDS + max(held - _USUAL_HELD_SECONDS, _seconds(metadata.get("ackwait", "")), 0.0)


@asynccontextmanager
async def staged(wanted: Wanted) -> AsyncIterator[Stage]:
    """Start everything a probe needs; stop it, and clear the broker, at the end of the block.

    Raises:
        CannotStart: something is missing or does not start; nothing is left running.
        LogUnavailable: the broker does not answer at the end; the message names what is left in it.
    """
    name = _new_name()
    topics, apps = Topics(name, quick=wanted.quick), [name]
    with _scratch() as scratch:
        async with _cleared(wanted, scratch / name, topics.every, apps):
            subscribed = topics.subscribed(raw=wanted.follow == "inbox")
            async with (
                _running(wanted, wanted.settings, scratch / name, subscribed, topics.every) as system,
                _stage(wanted, scratch, system, topics, apps) as stage,
            ):
                await stage.listen()
                yield stage


@asynccontextmanager
async def _stage(wanted: Wanted, scratch: Path, system: System, topics: Topics, apps: list[str]) -> AsyncIterator[Stage]:
    pair = next(iter(system))
    pubsub = wanted.settings.pubsub

    def fresh(topic: str) -> contextlib.AbstractAsyncContextManager[Fresh]:
        name = _new_name()
        apps.append(name)
        return _fresh(wanted, system.broker_address, scratch / name, Subscribed(topic, raw=wanted.follow == "inbox"))

    log = open_log(_resources(scratch / topics.prefix), pubsub) if wanted.follow == "log" else None
    publisher = DaprPublisher(pubsub, pair.entry.grpc_port, timeout_seconds=10.0)
    try:
        yield Stage(
            topics=topics,
            size=QUICK if wanted.quick else FULL,
            quiet=wanted.quiet,
            pubsub=pubsub,
            sidecar_url=pair.sidecar_url,
            publisher=publisher,
            deliveries=Deliveries(_record(scratch / topics.prefix)),
            log=log,
            app=AppHand(pair),
            sidecar=SidecarHand(pair),
            broker=_outage(wanted, system),
            fresh=fresh,
        )
    finally:
        await publisher.close()
        if log is not None:
            log.close()


@asynccontextmanager
async def _fresh(wanted: Wanted, address: str, place: Path, to: Subscribed) -> AsyncIterator[Fresh]:
    settings = LauncherSettings(broker=address, pubsub=wanted.settings.pubsub)
    async with _running(wanted, settings, place, [to], []) as system:
        publisher = DaprPublisher(settings.pubsub, next(iter(system)).entry.grpc_port)
        try:
            yield Fresh(publisher, Deliveries(_record(place)))
        finally:
            await publisher.close()


# ── parts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def _running(
    wanted: Wanted, settings: LauncherSettings, place: Path, subscribed: Sequence[Subscribed], topics: Sequence[str]
) -> AsyncIterator[System]:
    """Start a probe app of the place's name, and its sidecar."""
    place.mkdir()
    if wanted.secrets.is_file():
        shutil.copyfile(wanted.secrets, SystemFolder(place).secrets)
    if (wanted.tree / "tools").is_dir():
        (place / "tools").symlink_to(wanted.tree / "tools")
    setting = place / "setting.json"
    setting.write_bytes(msgspec.json.encode(Setting(settings.pubsub, str(_record(place)), tuple(subscribed))))
    run_file = place / "dapr.yaml"
    run_file.write_text(yaml.safe_dump(_run_file(wanted, place, setting)), encoding="utf-8")
    wishes = Wishes(free_ports=True, topics=topics, guarded=False)
    async with System.start(run_file, folder=place, wishes=wishes, settings=settings) as system:
        yield system


def _run_file(wanted: Wanted, place: Path, setting: Path) -> dict[str, object]:
    command = [sys.executable, "-m", "sidestream.conformance.app", str(setting)]
    # The launcher takes free ports instead.
    ports = {"appPort": 1, "daprHTTPPort": 2, "daprGRPCPort": 3, "metricsPort": 4}
    common = {"resourcesPath": str(wanted.folder.resolve()), "configFilePath": str(wanted.configuration)}
    return {"version": 1, "common": common, "apps": [{"appID": place.name, "appDirPath": str(place), "command": command, **ports}]}


def _outage(wanted: Wanted, system: System) -> Outage | None:
    if wanted.pid:
        return PausedBroker(wanted.pid)
    if wanted.found.component.type == REDIS and not wanted.settings.broker:
        return KilledBroker(system.broker)
    return None


# ── places ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def _cleared(wanted: Wanted, place: Path, topics: Sequence[str], apps: Sequence[str]) -> AsyncIterator[None]:
    """Remove topics and consumers at the end; a problem of the block is not hidden by one of the removal."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(SidestreamError):
            await _clear(wanted, place, topics, apps)
        raise
    await _clear(wanted, place, topics, apps)


async def _clear(wanted: Wanted, place: Path, topics: Sequence[str], apps: Sequence[str]) -> None:
    is_embedded = wanted.found.component.type == REDIS and not wanted.settings.broker
    if not is_embedded:
        await clear(_resources(place), wanted.settings.pubsub, topics, apps)


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A folder that is gone afterwards, unless a problem names a log in it."""
    path, named = Path(tempfile.mkdtemp(prefix=PREFIX)), ""
    try:
        yield path
    except CannotStart as problem:
        named = str(problem)
        raise
    finally:
        if str(path) not in named:
            shutil.rmtree(path, ignore_errors=True)


def _new_name() -> str:
    return f"{PREFIX}{uuid4().hex[:8]}"


def _resources(place: Path) -> Path:
    """Return the copy of the resources that the launcher makes for a folder that is not the usual one."""
    return SystemFolder(place).resources / "0"


def _record(place: Path) -> Path:
    return place / "deliveries.ndjson"


def _seconds(text: str) -> float:
    """Return a length of time as Dapr writes it, `10s`; 0 for one that is not understood."""
    number, unit = text.rstrip("hms"), text.lstrip("0123456789.")
    try:
        return float(number) * _UNITS[unit]
    except (KeyError, ValueError):
        return 0.0
