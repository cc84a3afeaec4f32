"""What a service with an event store lives on: the store, its relay, and the log that both are held against.

    async with writing(backbone, "orders", registry().topics, settings) as desk:
        desk.store.append(...)
        desk.relay.ring()

Before the first append the store adopts what the log has of it and it lacks (`tail`). A log that is away does not keep a
service from starting: the relay checks again before it publishes anything.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final

import msgspec
import structlog
from starlette.concurrency import run_in_threadpool

from sidestream.backbone import Backbone
from sidestream.errors import LogUnavailable, NoLogKept, ReadModelError, StoreAway
from sidestream.ports import EventLog, ServiceStore
from sidestream.publishing.relay import Relay
from sidestream.settings import Settings
from sidestream.writing.tail import adopt_tail

_DAY_SECONDS: Final = 86_400.0
_FORGET_SECONDS: Final = 3600.0

_log = structlog.get_logger(__name__)


class Writing(msgspec.Struct, frozen=True):
    """The parts of a writing service, for as long as its block runs."""

    store: ServiceStore
    relay: Relay
    log: EventLog

    def check(self) -> None:
        """Return when the store can accept: it is read now, and it took the relay's last write, about a second ago.

        Raises:
            StoreAway: nothing can be read, or nothing can be written (a full disk, a database that only reads).
        """
        self.store.topics()
        if problem := self.relay.cannot_write:
            raise StoreAway(f"The event store can be read and not written, so that nothing is accepted: {problem}")


@asynccontextmanager
async def writing(backbone: Backbone, name: str, topics: Iterable[str], settings: Settings) -> AsyncIterator[Writing]:
    """Open the store of this name and run its relay; `topics` are those that it may have been published to.

    Raises:
        ConfigurationError: the store cannot be opened, or the broker's component cannot be read.
        EventConflict, UnreadableEvent: the store was restored from a copy, and used or cut since: see docs/event-store.md.
    """
    store = await run_in_threadpool(backbone.event_store, name)
    log, publisher = await run_in_threadpool(backbone.log), backbone.publisher()
    expected = tuple(topics)

    def check() -> None:
        with suppress(NoLogKept):  # then a store is what it is, and its relay publishes all the same
            adopt_tail(store, log, expected)

    try:
        await run_in_threadpool(_checked, check, name)
        forgetting = asyncio.create_task(_forget_answers(store, settings.answer_days), name="forget answers")
        try:
            async with Relay(store, publisher, sweep_seconds=settings.sweep_seconds, on_lead=check) as relay:
                yield Writing(store, relay, log)
        finally:
            forgetting.cancel()
            await asyncio.gather(forgetting, return_exceptions=True)
    finally:
        await publisher.close()
        log.close()
        store.close()


async def _forget_answers(store: ServiceStore, days: float, every_seconds: float = _FORGET_SECONDS) -> None:
    """Forget, every hour, what was answered so long ago that nobody asks again."""
    while True:
        before_ms = int((time.time() - days * _DAY_SECONDS) * 1000)
        try:
            await run_in_threadpool(store.forget_answers, before_ms)
        except ReadModelError as error:  # away, or in somebody's way: then the next time
            _log.warning("store: old answers not forgotten yet", seconds_to_next=every_seconds, error=str(error))
        await asyncio.sleep(every_seconds)


def _checked(check: Callable[[], None], name: str) -> None:
    try:
        check()
    except LogUnavailable as error:
        _log.warning("store: not held against the log yet, it is away", store=name, error=str(error))
