"""Says which brokers a run leaves out."""

from pathlib import Path

import pytest

from tests.brokers.chosen import VARIABLE, left_out
from tests.brokers.fixtures import broker_server

__all__ = ["broker_server"]


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Pass over the file of a broker that this run does not start."""
    return True if any(collection_path.name.startswith(f"test_{broker}_") for broker in left_out()) else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if left_out():
        terminalreporter.write_line(f"Brokers that this run does not start: {', '.join(left_out())}. {VARIABLE} names them.")
