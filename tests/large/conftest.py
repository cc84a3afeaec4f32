"""What takes minutes runs only when it is named: `pytest tests/large`, as `make large` does."""

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Pass this folder over unless an argument names it."""
    folder = Path(__file__).parent
    named = any((config.invocation_params.dir / argument.partition("::")[0]).resolve().is_relative_to(folder) for argument in config.args)
    return None if named else True
