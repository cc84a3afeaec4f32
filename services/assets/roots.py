"""Which directories may be scanned: those below the allowed roots, after every symbolic link is resolved."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class RootSettings(BaseSettings):
    """Where scans may look."""

    model_config = SettingsConfigDict(populate_by_name=True, extra="ignore")

    asset_roots: str = Field(
        "",
        validation_alias="SIDESTREAM_ASSET_ROOTS",
        description="directories that may be scanned, separated as in PATH; empty: the working directory and the Python installation",
    )


class OutsideOfRoots(Exception):
    """The directory does not lie below an allowed root."""


class NoDirectory(Exception):
    """There is something at the path, but no directory."""


class AllowedRoots:
    """The roots as they are at the start of the service."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self.roots = tuple(os.path.realpath(os.fsencode(root)) for root in roots)

    @classmethod
    def from_settings(cls, settings: RootSettings) -> "AllowedRoots":
        """Take the roots from the environment, or the usual ones."""
        named = [Path(part).expanduser() for part in settings.asset_roots.split(os.pathsep) if part]
        return cls(named or [Path.cwd(), Path(sys.base_prefix)])

    def resolve(self, path: str) -> bytes:
        """Return the real path of a directory.

        Raises:
            OutsideOfRoots: it lies elsewhere; whether it exists is not told.
            FileNotFoundError: there is nothing at this path.
            NoDirectory: what is there is no directory.
        """
        real = os.path.realpath(os.fsencode(path))
        if not any(_is_below(real, root) for root in self.roots):
            raise OutsideOfRoots(path)
        if not os.path.lexists(real):
            raise FileNotFoundError(path)
        if not os.path.isdir(real):  # noqa: PTH112 - the path is bytes
            raise NoDirectory(path)
        return real


def _is_below(path: bytes, root: bytes) -> bool:
    return path == root or path.startswith(root.rstrip(b"/") + b"/")
