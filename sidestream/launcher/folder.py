"""The folder of one running system, `.sidestream` unless another is named: what lies where, and who may use it.

broker/          the embedded broker's append-only file, its configuration, the port it had last
data/            stores and read models of the apps
logs/            one file per app, the broker's, and the run before's
resources/       components with this folder's address, only where the folder is not the default one
secrets.json     the broker's address; the components and the log reader take it from here
running          locked while a system runs, with its process id
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidestream.launcher.problem import CannotStart

DEFAULT = ".sidestream"
_CONTENT = ("broker", "data", "logs", "resources", "secrets.json")


class SystemFolder:
    """Paths below one folder; nothing is made before it is needed."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.broker = self.path / "broker"
        self.data = self.path / "data"
        self.logs = self.path / "logs"
        self.resources = self.path / "resources"
        self.secrets = self.path / "secrets.json"
        self._running = self.path / "running"

    def is_default_of(self, base: Path) -> bool:
        """Whether this is the folder that the components of a tree name by themselves."""
        return self.path == (base / DEFAULT).resolve()

    @contextmanager
    def claimed(self, purpose: str) -> Iterator[None]:
        """Hold the folder for one process; the operating system lets go of it however that process ends.

        Raises:
            CannotStart: another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with self._running.open("a+") as file:
            self._claim(file.fileno(), purpose)
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            try:
                yield
            finally:
                file.truncate(0)

    def _claim(self, descriptor: int, purpose: str) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._running.read_text().strip() or "unknown"
            raise CannotStart(
                f"{self.path}: a system runs on this folder already (process {holder}), so {purpose} is refused. "
                f"Stop it first (Ctrl-C where it runs, or `kill {holder}`), or use another folder with --data."
            ) from None

    def write_secrets(self, address: str) -> None:
        """Write the broker's address for components and log readers: whole or not at all, readable by the owner only."""
        draft = self.secrets.with_suffix(".draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"redisHost": address}, file)
        draft.replace(self.secrets)

    def wipe(self) -> list[str]:
        """Delete log, stores and read models together; return the names of what was there."""
        found = [name for name in _CONTENT if (self.path / name).exists()]
        for name in found:
            _delete(self.path / name)
        return found


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
