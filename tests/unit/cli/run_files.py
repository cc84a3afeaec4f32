"""A run file in a folder, with apps of this repository; and the import path as it was before a test."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts import REPOSITORY

_APP = """
  - appID: {name}
    appDirPath: {folder}
    command: ["python", "-m", "{module}"]
    appPort: {port}
    daprHTTPPort: 1{port}
    daprGRPCPort: 2{port}
    metricsPort: 3{port}
"""


@pytest.fixture(autouse=True)
def same_path() -> Iterator[None]:
    """Who reads a run file puts its folder on the import path."""
    before = list(sys.path)
    yield
    sys.path[:] = before


def a_run_file(folder: Path, *modules: str) -> Path:
    """Write a run file of these modules, whose last names are their app-ids."""
    apps = [
        _APP.format(name=module.rpartition(".")[2].replace("_", "-"), folder=REPOSITORY, module=module, port=8000 + at)
        for at, module in enumerate(modules)
    ]
    file = folder / "dapr.yaml"
    file.write_text("version: 1\napps:" + "".join(apps))
    return file
