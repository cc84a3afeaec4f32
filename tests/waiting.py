"""Waiting on a condition with a deadline: the only way a test waits."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable


async def until(
    condition: Callable[[], bool] | Callable[[], Awaitable[bool]],
    seconds: float = 10.0,
    what: Callable[[], str] = lambda: "the condition",
) -> None:
    """Return as soon as the condition holds; fail when it does not within so many seconds.

    A plain condition is asked in a thread, so that it may block.
    """
    end = asyncio.get_running_loop().time() + seconds
    while True:
        is_last = asyncio.get_running_loop().time() > end  # looked at before the condition: a pause between the two is nobody's fault
        if await _holds(condition):
            return
        if is_last:
            raise AssertionError(f"{what()} did not hold within {seconds:g} s")
        await asyncio.sleep(0.01)


async def _holds(condition: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> bool:
    found = condition() if inspect.iscoroutinefunction(condition) else await asyncio.to_thread(condition)
    return bool(await found) if inspect.isawaitable(found) else bool(found)
