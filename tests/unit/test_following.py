"""One generation that an app follows: it ends when it is left."""

import asyncio

from tests.unit.test_handover import following_nothing
from tests.waiting import until


async def test_it_is_left_though_a_bell_rings_in_that_very_moment() -> None:
    following = following_nothing()
    following.start()
    await until(lambda: following.caught_up, seconds=60)
    following.bell.set()
    await asyncio.wait_for(following.leave(), 60)
    assert following.task is not None
    assert following.task.done()
