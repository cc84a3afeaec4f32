"""Lays out a package of Debian and those it needs in a folder: fetched by apt, unpacked by dpkg, installed nowhere, no root needed."""

import os
import re
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Final

_AS_IF_NOTHING_WERE_INSTALLED: Final = ("--no-install-recommends", "-o", "Dir::State::status=/dev/null")
_SECONDS: Final = 600


def candidate(package: str) -> str:
    """Return the version that would be fetched.

    Raises:
        AssertionError: one sentence: what is missing.
    """
    missing = [program for program in ("apt-get", "apt-cache", "dpkg", "dpkg-query") if not shutil.which(program)]
    assert not missing, f"expected {package} on PATH, or {', '.join(missing)} to fetch Debian's, found none. Install {package}."
    found = re.search(r"Candidate: (\d\S*)", run(["apt-cache", "policy", package]))
    assert found, f"expected {package} among the packages that apt knows, found none. Run `apt-get update`, or install {package}."
    return found[1]


def lay_out(package: str, family: str, folder: Path) -> None:
    """Unpack a package with what it needs: the whole of its family, and of the rest what is not installed.

    Args:
        package: its name.
        family: how the names of those begin that must come from one place.
        folder: where they shall lie.
    """
    run(["apt-get", "download", *_wanted(package, family)], folder)
    for file in sorted(folder.glob("*.deb")):
        run(["dpkg", "-x", str(file), str(folder)])
        file.unlink()


def _wanted(package: str, family: str) -> Collection[str]:
    steps = run(["apt-get", "install", "--simulate", *_AS_IF_NOTHING_WERE_INSTALLED, package]).splitlines()
    names = {step.split()[1] for step in steps if step.startswith("Inst ")}
    said = run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n"]).splitlines()
    installed = {line.removeprefix("installed ") for line in said if line.startswith("installed ")}
    return sorted({name for name in names if name == package or name.startswith(family)} | (names - installed))


def run(command: list[str], folder: Path | None = None) -> str:
    """Run it and return what it printed; fail with what it said."""
    plain = {**os.environ, "LC_ALL": "C"}
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False, env=plain)
    assert ended.returncode == 0, f"expected `{' '.join(command[:4])} …` to succeed, found exit code {ended.returncode}: {ended.stderr}"
    return ended.stdout
