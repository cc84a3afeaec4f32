"""Finds the sidecar program, daprd: one that somebody installed, or the one that set-up built into the cache.

Standard library only: `tools/setup.py` uses it before any package is installed. It looks where Dapr's own CLI looks
(DAPR_RUNTIME_PATH, the home directory), then on PATH, then in the cache: for the build of the tree's own pins, or for any
build where the tree has none. One of another version is passed over and said, because what Sidestream relies on was measured
on 1.18.
"""

import hashlib
import mmap
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

TESTED = (1, 18)
PINNED = "1.18.1"
SOURCES = ("go.mod", "go.sum", "main.go")

# Go keeps the names of its functions in the binary, stripped or not.
JETSTREAM = b"components-contrib/pubsub/jetstream."
NAMEFORMAT = b"components-contrib/nameresolution/nameformat."


@dataclass(frozen=True)
class Daprd:
    """A usable daprd."""

    path: Path
    version: str
    has_jetstream: bool

    def __str__(self) -> str:
        jetstream = "with JetStream" if self.has_jetstream else "without JetStream: NATS cannot be the broker with it"
        return f"daprd {self.version} ({self.path}; {jetstream})"


@dataclass(frozen=True)
class Refused:
    """A daprd that was found and is not used."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path} is not used: {self.reason}"


def find(tree: Path, environment: Mapping[str, str] = os.environ) -> tuple[Daprd | None, list[Refused]]:
    """Return the first usable daprd, and those before it that were refused."""
    refused: list[Refused] = []
    for path in _places(tree, environment):
        # What set-up built needs no examination: its folder's name says what it is.
        verdict = Daprd(path, PINNED, has_jetstream=True) if cache(environment) in path.parents else examine(path)
        if isinstance(verdict, Daprd):
            return verdict, refused
        refused.append(verdict)
    return None, refused


def examine(path: Path) -> Daprd | Refused:
    """Ask one binary what it is."""
    version = _version(path)
    if version is None:
        return Refused(path, "it does not answer `--version` with a version. Reinstall it or remove it.")
    if _numbers(version)[:2] != TESTED:
        wanted = ".".join(map(str, TESTED))
        return Refused(path, f"expected version {wanted}.x, which Sidestream is tested on, found {version}.")
    if not _contains(path, NAMEFORMAT):
        return Refused(path, "it lacks the name resolver `nameformat` that components/configuration.yaml asks for (a reduced build).")
    return Daprd(path, version, has_jetstream=_contains(path, JETSTREAM))


def built(tree: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """Return where the daprd built from this tree's pins lies, or would lie: another pin is another folder."""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((tree / "tools" / "sidecar" / name).read_bytes())
    return cache(environment) / f"daprd-{PINNED}-{digest.hexdigest()[:12]}" / "daprd"


def cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Return Sidestream's folder in the user's cache, outside every tree."""
    home = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME") or Path.home()) / ".cache")
    return Path(home) / "sidestream"


def _places(tree: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    candidates = [_runtime(environment), Path(environment.get("HOME") or Path.home()) / ".dapr" / "bin" / "daprd"]
    if on_path := shutil.which("daprd", path=environment.get("PATH")):
        candidates.append(Path(on_path))
    if all((tree / "tools" / "sidecar" / name).is_file() for name in SOURCES):
        candidates.append(built(tree, environment))
    else:  # a system of one's own, without pins: what any clone's set-up built
        candidates.extend(sorted(cache(environment).glob(f"daprd-{PINNED}-*/daprd")))
    yield from dict.fromkeys(path for path in candidates if path is not None and path.is_file())


def _runtime(environment: Mapping[str, str]) -> Path | None:
    folder = environment.get("DAPR_RUNTIME_PATH")
    return Path(folder) / ".dapr" / "bin" / "daprd" if folder else None


def _version(path: Path) -> str | None:
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = answer.stdout.split()
    return words[-1].removeprefix("v") if answer.returncode == 0 and words else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _contains(path: Path, name: bytes) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(name) >= 0
