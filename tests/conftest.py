"""What a run says at its end. The process that says it collects no test where others do, and so knows only this file."""

import pytest

from tests.brokers.chosen import VARIABLE, left_out
from tests.faults.seeds import said_again, seeds


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if left_out():
        terminalreporter.write_line(f"Brokers that this run does not start: {', '.join(left_out())}. {VARIABLE} names them.")
    terminalreporter.write_line(f"Bad days are lived again with {said_again(seeds())}")
