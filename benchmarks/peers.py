"""The environment of the libraries that Sidestream is measured beside: pinned, apart from ours, made once.

They are no dependency of anything here; a measurement runs their script with their interpreter and reads what it prints.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

_PINS: Final = Path(__file__).with_name("peers.txt")


def peers_interpreter() -> Path:
    """Return the interpreter that has the peers; install them where they are missing or of another version."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sidestream" / "bench-peers" / "venv"
    interpreter = folder / "bin" / "python"
    if not _has_all(interpreter):
        print(f"installing the peers of {_PINS.name} into {folder}", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([interpreter, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", _PINS], check=True)
    return interpreter


def _has_all(interpreter: Path) -> bool:
    if not interpreter.exists():
        return False
    wanted = (line.removesuffix(" \\").split("==") for line in _PINS.read_text().splitlines() if line[:1].isalnum())
    pins = [(name.partition("[")[0], version) for name, version in wanted]
    check = f"from importlib.metadata import version\nassert all(version(name) == pin for name, pin in {pins!r})"
    return subprocess.run([interpreter, "-c", check], capture_output=True, check=False).returncode == 0
