"""Queries that wait for their writes: they sleep until a commit, and one look at the counts answers for all of them.

Belongs to one event loop. `wake` is called after a commit; looks never overlap, and what is committed during one look is
seen by the next. So a thousand waiters cost one read a commit, and none while nothing is committed.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Final

from sidestream.applying.consistency import Place, Standing

Look = Callable[[Collection[Place]], Mapping[Place, Standing]]
"""Returns what the live generation knows; called in a thread, may raise SidestreamError."""
Standings = tuple[Standing, ...]
LONGEST_WAIT_SECONDS: Final = 30.0


class Waiters:
    """Who waits for which places.

    Args:
        look: looks at the live generation.
    """

    def __init__(self, look: Look) -> None:
        self._look = look
        self._waiting: dict[asyncio.Future[Standings], tuple[Place, ...]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._again = False

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, places: tuple[Place, ...], seconds: float) -> Standings:
        """Return as soon as all places are applied or one is parked for good, at the latest after so many seconds.

        Returns:
            What is known of every place then.

        Raises:
            SidestreamError: the live generation cannot be read.
        """
        done: asyncio.Future[Standings] = asyncio.get_running_loop().create_future()
        self._waiting[done] = places  # first registered, then looked at: no commit falls between
        self.wake()
        try:
            return await asyncio.wait_for(done, seconds)
        except TimeoutError:
            found = await asyncio.to_thread(self._look, places)
            return tuple(found[place] for place in places)
        finally:
            self._waiting.pop(done, None)

    def wake(self) -> None:
        """Look at the counts for everybody who waits."""
        self._again = True
        if self._waiting and self._looking is None:
            self._looking = asyncio.create_task(self._look_for_all())

    async def _look_for_all(self) -> None:
        try:
            while self._again and self._waiting:
                self._again = False
                waiting = dict(self._waiting)
                self._tell(waiting, await asyncio.to_thread(self._look, {place for places in waiting.values() for place in places}))
        except Exception as error:  # a request each: whoever waits is told, and answers what it answers to this error
            for done in tuple(self._waiting):
                _fail(done, error)
        finally:
            self._looking = None

    def _tell(self, waiting: Mapping[asyncio.Future[Standings], tuple[Place, ...]], found: Mapping[Place, Standing]) -> None:
        for done, places in waiting.items():
            standings = tuple(found[place] for place in places)
            settled = all(each.applied for each in standings) or any(each.stuck for each in standings)
            if settled and not done.done():
                done.set_result(standings)


def _fail(done: "asyncio.Future[Standings]", error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
