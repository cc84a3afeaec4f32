"""Waiting on a condition with a deadline, for what is not asynchronous."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Return as soon as the condition holds; fail when it does not within so many seconds."""
    end = time.monotonic() + seconds
    while True:
        is_last = time.monotonic() > end  # looked at before the condition: a pause between the two is nobody's fault
        if condition():
            return
        assert not is_last, f"not within {seconds:g} s: {condition}"
        time.sleep(0.02)
