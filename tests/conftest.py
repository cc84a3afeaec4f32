"""What holds for every run, and what it says at its end: the process that says it may collect no test, and knows only this file."""

import signal

import pytest

from tests.brokers.chosen import VARIABLE, left_out
from tests.faults.seeds import said_again, seeds

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it puts into the background so, and every program that a test interrupts would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if left_out():
        terminalreporter.write_line(f"Brokers that this run does not start: {', '.join(left_out())}. {VARIABLE} names them.")
    terminalreporter.write_line(f"Bad days are lived again with {said_again(seeds())}")
