"""The version of Sidestream, as installed."""

from importlib.metadata import PackageNotFoundError, version
from typing import Final


def _installed() -> str:
    try:
        return version("sidestream")
    except PackageNotFoundError:
        return "0+tree"


VERSION: Final = _installed()
