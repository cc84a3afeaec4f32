"""Which processes of this machine still have a system's files open, and which of its apps answer: whoever was started by hand.

`up` claims its folder, so that two of them never meet. A broker or an app that was started without it claims nothing; it is known
by the files that it holds. Where the system tells nobody who holds what (no /proc), only the ports are asked.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from sidestream.launcher import runfile
from sidestream.launcher.folder import SystemFolder
from sidestream.launcher.network import LOOPBACK, is_free
from sidestream.launcher.problem import CannotStart

_PROCESSES = Path("/proc")
_LONGEST = 80


class Holder(NamedTuple):
    """A process that has a file of the folder open."""

    process: int
    command: str
    file: str

    def __str__(self) -> str:
        return f"process {self.process} ({self.command}) has {self.file} open: end it with `kill {self.process}`"


def expect_nobody(place: SystemFolder, run_file: Path) -> None:
    """Refuse to go on while somebody uses the folder.

    Raises:
        CannotStart: a process holds its files, or an app of its run file answers; each is named, with how to end it.
    """
    users = [*map(str, holders(place))] or list(_answering(place, run_file))
    if users:
        raise CannotStart(f"{place.path}: expected nobody to use it, found: {'; '.join(users)}. Nothing was deleted.")


def holders(place: SystemFolder) -> list[Holder]:
    """Return the other processes that have a file of the broker, a store or a read model open, one file of each."""
    found = []
    for process in _numbers(_PROCESSES):
        held = _held(process, (place.broker, place.data)) if process != os.getpid() else None
        if held is not None:
            found.append(Holder(process, _command(process), str(held.relative_to(place.path))))
    return found


def _numbers(folder: Path) -> Iterator[int]:
    try:
        names = [each.name for each in folder.iterdir()]
    except OSError:
        return
    yield from sorted(int(name) for name in names if name.isdecimal())


def _held(process: int, folders: Iterable[Path]) -> Path | None:
    """Return a file below these folders that the process has open; None: none, it has ended, or it is somebody else's."""
    descriptors = _PROCESSES / str(process) / "fd"
    for number in _numbers(descriptors):
        try:
            path = (descriptors / str(number)).readlink()
        except OSError:
            continue
        if any(path.is_relative_to(folder) for folder in folders):
            return path
    return None


def _command(process: int) -> str:
    try:
        words = (_PROCESSES / str(process) / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "its name is gone"
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"


def _answering(place: SystemFolder, run_file: Path) -> Iterator[str]:
    """Name the apps that listen where the run file beside this folder puts them; another folder is known by its files only."""
    if not run_file.is_file() or not place.is_default_of(run_file.parent):
        return
    for app in runfile.read(run_file).apps:
        if not is_free(app.port):
            yield f"app {app.name} of {run_file.name} answers at {LOOPBACK}:{app.port}: end it with Ctrl-C where it runs"
