"""The folder of one running system, `.sidestream` unless another is named: what lies where, and who may use it.

broker/          the embedded broker's append-only file, its configuration, the port it had last
data/            stores and read models of the apps
logs/            one file per app, the broker's, and the run before's
resources/       components with this folder's address, only where the folder is not the default one
secrets.json     the broker's address; the components and the log reader take it from here
tokens/          what sidecars and apps ask of each other since the last start, a folder per app
running          locked while a system runs, with its process id and the apps that it left to somebody else, a line each
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sidestream.launcher.network import LOOPBACK
from sidestream.launcher.problem import CannotStart

DEFAULT = ".sidestream"
_SERVER = "redisServer"
_CONTENT = ("broker", "data", "logs", "resources", "secrets.json", "tokens")


class SystemFolder:
    """Paths below one folder; nothing is made before it is needed."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.broker = self.path / "broker"
        self.data = self.path / "data"
        self.logs = self.path / "logs"
        self.resources = self.path / "resources"
        self.secrets = self.path / "secrets.json"
        self.tokens = self.path / "tokens"
        self._running = self.path / "running"

    def is_default_of(self, base: Path) -> bool:
        """Whether this is the folder that the components of a tree name by themselves."""
        return self.path == (base / DEFAULT).resolve()

    @contextmanager
    def claimed(self, purpose: str, left_out: Iterable[str] = ()) -> Iterator[None]:
        """Hold the folder for one process; the operating system lets go of it however that process ends.

        Args:
            purpose: what is refused where another process holds it.
            left_out: apps whose own process is somebody else's, for whoever asks.

        Raises:
            CannotStart: another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with self._running.open("a+") as file:
            self._claim(file.fileno(), purpose)
            file.truncate(0)
            file.write("".join(f"{line}\n" for line in (os.getpid(), *left_out)))
            file.flush()
            try:
                yield
            finally:
                file.truncate(0)

    @property
    def is_claimed(self) -> bool:
        """Whether a process holds the folder now."""
        try:
            with self._running.open() as file:
                fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    @property
    def left_out(self) -> frozenset[str]:
        """Return the apps whose own process the system that runs here has left to somebody else; none where none runs."""
        return frozenset(self._running.read_text().splitlines()[1:]) if self.is_claimed else frozenset()

    def _claim(self, descriptor: int, purpose: str) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = next(iter(self._running.read_text().split()), "unknown")
            raise CannotStart(
                f"{self.path}: a system runs on this folder already (process {holder}), so {purpose} is refused. "
                f"Stop it first (Ctrl-C where it runs, or `kill {holder}`), or use another folder with --data."
            ) from None

    def write_secrets(self, address: str, name: str = "redisHost") -> None:
        """Write the broker's address for components and log readers: whole or not at all, readable by the owner only.

        What else stands there, such as a password or another broker's address, stays.
        """
        content = {**self.read_secrets(), name: address}
        self.path.mkdir(parents=True, exist_ok=True)
        draft = self.secrets.with_suffix(".draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file)
        draft.replace(self.secrets)

    def name_server(self, address: str) -> None:
        """Note a Redis of somebody else, which every start uses instead of the embedded broker; that one's own address ends this."""
        own = ""
        with suppress(OSError):
            own = f"{LOOPBACK}:{(self.broker / 'port').read_text().strip()}"
        self.write_secrets("" if address == own else address, _SERVER)

    @property
    def named_server(self) -> str:
        """Return what was noted so; nothing where the embedded broker is used."""
        return self.read_secrets().get(_SERVER, "")

    def read_secrets(self) -> dict[str, str]:
        """Return what was written; nothing where there is no file.

        Raises:
            CannotStart: the file is not a JSON object.
        """
        try:
            content = json.loads(self.secrets.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as problem:
            raise CannotStart(f"{self.secrets}: expected a JSON object: {problem}. Correct or delete it.") from problem
        if not isinstance(content, dict):
            raise CannotStart(f"{self.secrets}: expected a JSON object, found {type(content).__name__}. Correct or delete it.")
        return content

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
