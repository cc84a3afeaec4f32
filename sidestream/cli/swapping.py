"""Puts another broker's folder of Dapr resources in force: its files are copied into the folder that the sidecars load.

Copying `components/brokers/<name>/*.yaml` into `components/` by hand has the same effect; this looks first whether that
would part a history, says what changes, and makes the topics or streams that the broker needs.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from sidestream.adapters.broker_kinds import REDIS, WITHOUT_A_LOG, InForce, in_force
from sidestream.errors import ConfigurationError
from sidestream.launcher.folder import SystemFolder
from sidestream.launcher.other_broker import OtherBroker
from sidestream.launcher.runfile import read
from sidestream.launcher.settings import LauncherSettings

BROKERS: Final = "brokers"
"""The folder of folders below the one in force."""


class Offered(msgspec.Struct, frozen=True):
    """A broker there is a folder for.

    Attributes:
        state: `in force`, `in force, changed by hand`, or empty.
        log: whether projections read its log or keep one of their own.
    """

    name: str
    type: str
    state: str
    log: str


class Swapped(msgspec.Struct, frozen=True):
    """What putting a broker in force has changed; all of it empty the second time.

    Attributes:
        files: those of the folder in force that are others now.
        topics: topics that were made in the broker.
        remarks: sentences somebody should read.
    """

    broker: str
    files: Sequence[str]
    topics: Sequence[str]
    remarks: Sequence[str]


def folder_in_force(file: Path) -> Path:
    """Return the folder of resources that the sidecars of a run file load.

    Raises:
        ConfigurationError: none of them holds the pub/sub component.
    """
    pubsub = LauncherSettings().pubsub
    folders = dict.fromkeys(folder for app in read(file).apps for folder in app.resource_folders)
    for folder in folders:
        if (folder / BROKERS).is_dir():
            return folder
    named = ", ".join(map(str, folders)) or "none"
    raise ConfigurationError(f"{file}: expected a resourcesPath with a folder {BROKERS} in it (component {pubsub!r}), found {named}.")


def broker_in_force(file: Path) -> InForce:
    """Return what the folder in force says about its broker; raises ConfigurationError where it says nothing."""
    pubsub = LauncherSettings().pubsub
    folders = dict.fromkeys(folder for app in read(file).apps for folder in app.resource_folders)
    problem = ConfigurationError(f"{file}: expected a resourcesPath with a component {pubsub!r}, found none.")
    for folder in folders:
        try:
            return in_force(folder, pubsub)
        except ConfigurationError as error:
            problem = error
    raise problem


def offered(folder: Path) -> list[Offered]:
    """Return every broker there is a folder for, and which of them is in force."""
    pubsub = LauncherSettings().pubsub
    now = in_force(folder, pubsub).component.type
    found = []
    for each in sorted(path for path in (folder / BROKERS).iterdir() if path.is_dir()):
        other = in_force(each, pubsub)
        changed = "in force, changed by hand" if _differing(each, folder) else "in force"
        state = changed if other.component.type == now else ""
        found.append(Offered(each.name, other.component.type, state, "the broker's" if other.kind.has_log else "inbox"))
    return found


def use(folder: Path, name: str, place: SystemFolder, address: str, *, leave_history: bool) -> tuple[InForce, Swapped]:
    """Copy a broker's files into the folder in force and note its address; return what changed.

    Args:
        folder: the folder in force.
        name: the broker's.
        place: the folder of the system; it must not be running.
        address: where the broker is; empty: what was noted before.
        leave_history: leave behind events and read models of the broker before.

    Raises:
        ConfigurationError: no such broker, no address for it, or a history that would be parted.
    """
    source = _source(folder, name)
    pubsub = LauncherSettings().pubsub
    before, after = in_force(folder, pubsub), in_force(source, pubsub)
    if before.component.type != after.component.type and not leave_history:
        _refuse_parting(place, before.kind.name, name)
    if address or after.component.type != REDIS:  # the embedded one has none before it starts
        OtherBroker.of(after, place, address)
    if after.secret and address:
        place.write_secrets(address, after.secret)
        if after.component.type == REDIS:
            place.name_server(address)
    changed = _differing(source, folder)
    for file in changed:
        shutil.copyfile(source / file, folder / file)
    remarks = [] if after.kind.has_log else [f"{name} {WITHOUT_A_LOG}"]
    return in_force(folder, pubsub), Swapped(name, changed, [], remarks)


def _source(folder: Path, name: str) -> Path:
    names = sorted(path.name for path in (folder / BROKERS).iterdir() if path.is_dir())
    if name not in names:
        listed = ", ".join(names)
        raise ConfigurationError(f"{folder / BROKERS}: expected one of {listed}, found {name!r}. Correct the name, or add its folder.")
    return folder / BROKERS / name


def _differing(source: Path, folder: Path) -> list[str]:
    """Return the names of a broker's files that are missing in the folder in force, or others there."""
    files = sorted(path for path in source.iterdir() if path.suffix in {".yaml", ".yml"})
    return [file.name for file in files if not (folder / file.name).is_file() or (folder / file.name).read_bytes() != file.read_bytes()]


def _refuse_parting(place: SystemFolder, before: str, after: str) -> None:
    """Stores remember what they have published, and read models how far they have read: both in the broker before."""
    kept = [path for path in (place.data / "read-models", place.data / "stores") if path.is_dir() and any(path.iterdir())]
    if kept:
        raise ConfigurationError(
            f"{place.path}: expected a system without a history, found {' and '.join(path.name for path in kept)} of the log in {before}; "
            f"{after} would begin empty. `sidestream broker move` takes the log along; `sidestream reset` forgets them; --leave-history "
            "keeps them: read models then go on with the new log, and no store publishes its earlier events again."
        )
