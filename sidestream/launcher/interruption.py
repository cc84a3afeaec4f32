"""Ctrl-C, SIGTERM and SIGHUP: the first asks for a stop in order, a second one for a quick one."""

import asyncio
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Self

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """Turns the first signal into the cancellation of the task that made this, a second one into something quicker."""

    def __init__(self) -> None:
        self.on_second: Callable[[], None] = lambda: None
        self._task = asyncio.current_task()
        self._count = 0

    def __enter__(self) -> Self:
        for number in _STOP_SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._signalled)
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> bool:
        for number in _STOP_SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)
        # The cancellation was ours and has done its work.
        return kind is asyncio.CancelledError and self._count > 0

    def _signalled(self) -> None:
        self._count += 1
        if self._count > 1:
            self.on_second()
        elif self._task:
            self._task.cancel()
