"""The tokens of one start: what each sidecar asks of its app, and each app of its sidecar.

A pair for each app, made anew at every start: who holds one app's tokens speaks for that app alone, so that the topics
another app may publish to stay closed to it. They lie in files that only their owner may read, and a program is told the
files: whatever prints a program, prints no token.
"""

import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

ASKED_BY_THE_SIDECAR: Final = "DAPR_API_TOKEN"
ASKED_BY_THE_APP: Final = "APP_API_TOKEN"
_BYTES: Final = 32


def variables(apps: Iterable[str]) -> dict[str, str]:
    """Make a pair for each app, each token under a variable of its own: `ORDER_BOOK_DAPR_API_TOKEN`."""
    names = [app.upper().replace("-", "_") for app in apps]
    return {f"{name}_{asked}": _token() for name in names for asked in (ASKED_BY_THE_SIDECAR, ASKED_BY_THE_APP)}


def make(folder: Path, app: str) -> Mapping[str, Path]:
    """Make an app's pair below the folder; return the file of each variable, for the app and its sidecar alike."""
    home = folder / app
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {name: _write(home / name, _token()) for name in (ASKED_BY_THE_SIDECAR, ASKED_BY_THE_APP)}


def forget(folder: Path) -> None:
    """Delete what an earlier start made: a token that opens nothing must not look as if it did."""
    shutil.rmtree(folder, ignore_errors=True)


def _token() -> str:
    return secrets.token_urlsafe(_BYTES)


def _write(file: Path, token: str) -> Path:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        opened.write(token)
    return file
