"""What an app answers from: the generation that the pointer names, in one moment; and how it gets from one to the next.

Queries ask in threads while the event loop points them elsewhere. Two promises: no answer is older than one before it, as
long as the generation that gave that one can be read; and nobody is refused because a generation was dropped that another has
taken the place of.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import structlog

from sidestream.errors import ReadModelError, StoreAway, UnreadableGeneration
from sidestream.hosting.handover import Handover
from sidestream.hosting.health import Bells, Measurer
from sidestream.hosting.serving import View, applied_in
from sidestream.hosting.status import HostStatus
from sidestream.hosting.unreadable import Readable, why_unreadable
from sidestream.ports import EventLog, Generation, GenerationInfo
from sidestream.projection import Projection

log_line = structlog.get_logger()

_MOST_MOVES: Final = 10
"""So often may the pointer move while one query begins."""


class Answering(HostStatus, ABC):
    """The answering half of a `sidestream.hosting.host.ProjectionHost`.

    Args:
        projection, heard, measurer, readable: see `HostStatus`.
        log: compares positions.
        patience: so many sweeps in a row the next generation may stand still before it answers all the same.
    """

    def __init__(
        self, projection: Projection, heard: Bells, measurer: Measurer, readable: Readable, *, log: EventLog, patience: int
    ) -> None:
        super().__init__(projection, heard, measurer, readable)
        self._log = log
        self._patience = patience
        self._handover: Handover | None = None

    @contextmanager
    def reading(self) -> Iterator[View]:
        """Read the live generation in one consistent moment. For a thread, not for the event loop.

        Raises:
            StoreAway: there is no generation that this program can serve, or it cannot be read.
        """
        live, view, opened = self._moment()
        try:
            with opened:
                yield view
        except UnreadableGeneration as error:
            raise self._away(live, error) from error

    def _moment(self) -> tuple[GenerationInfo, View, ExitStack]:
        """Open the live generation's present moment, and again where another one answers by then; the last of the three closes it."""
        for _ in range(_MOST_MOVES):
            self._end_handover_if_reached()
            live = self._live
            if live is None:
                break
            try:
                with ExitStack() as attempt:
                    view = self._view(live, attempt)
                    if view is not None and self._may_answer(live, view):
                        return live, view, attempt.pop_all()
            except UnreadableGeneration as error:
                if not (self._another_answers(live) or self._look_again(live)):
                    raise self._away(live, error) from error
                continue
            if view is None and not self._another_answers(live):
                break
        raise StoreAway(self.not_serving() or "no generation is live yet")

    def _view(self, live: GenerationInfo, opened: ExitStack) -> View | None:
        following, stale = self._following.get(live.name), self._stale
        generation = following.generation if following else stale
        if generation is None or generation.name != live.name:
            return None
        reader = opened.enter_context(generation.snapshot())
        return View(reader, live.name, applied_in(reader, self.projection.topics), "" if following else live.stale_since)

    def _may_answer(self, live: GenerationInfo, view: View) -> bool:
        """Return whether this view may be the answer. Asked when it is open, so that no answer is older than one before it.

        a handover begins, and looks then how far the one before is   this view is older than that look, or finds the handover
        a handover ends, under its lock                               this view was noted before that, or comes too late
        """
        handover = self._handover
        if handover is not None and not handover.show(view.applied):
            return False
        return self._is_live(live)

    def _is_live(self, live: GenerationInfo) -> bool:
        return self._live is not None and self._live.name == live.name

    def _another_answers(self, live: GenerationInfo) -> bool:
        """A generation cannot be read: return whether another one answers instead, the one that is next if there is one."""
        handover = self._handover
        if handover is not None and self._is_live(live):
            handover.end(f"{live.name} cannot be read")
        return not self._is_live(live)

    def _away(self, live: GenerationInfo, error: UnreadableGeneration) -> StoreAway:
        return StoreAway(why_unreadable(self.projection.name, live, error))

    @abstractmethod
    def _look_again(self, live: GenerationInfo) -> bool:
        """Look where the pointer is if this generation is there no more; return whether that was done. In a query's thread."""

    @abstractmethod
    def _committed(self) -> None:
        """Rows that queries see were committed, or others are seen. In any thread."""

    # ── where the pointer is ─────────────────────────────────────────────────────────────────────────────────────────

    async def _hand_over(self, to: GenerationInfo | None, listed: Collection[str]) -> bool:
        """Return whether the generation that answers goes on doing so, until the one that the pointer names has reached it.

        Only one that is followed and there is waited with, and only one that is followed is waited for.
        """
        handover = self._handover
        if handover is not None and (to is None or handover.to.name != to.name):
            self._cancel()  # before it is asked what answers: a query's thread may end it at any time
        handover, left = self._handover, self._live
        before = self._following.get(left.name) if left and left.name in listed else None
        following = self._following.get(to.name) if to else None
        if to is None or before is None or following is None or before is following:
            self._cancel()
            return False
        if handover is None:
            handover = self._handover = Handover(to, following, self._log.compare, self._move, self._patience)
        await asyncio.to_thread(self._look_at, before.generation, handover)
        return self._handover is handover

    def _end_handover_if_reached(self) -> None:
        if (handover := self._handover) is not None:
            handover.end_if_reached()

    def _cancel(self) -> None:
        handover, self._handover = self._handover, None
        if handover is not None:
            handover.cancel()

    def _look_at(self, before: Generation, handover: Handover) -> None:
        shown = handover.shown
        try:
            with before.snapshot() as reader:
                now = applied_in(reader, self.projection.topics)
        except UnreadableGeneration:
            handover.end(f"{before.name} cannot be read")
        except ReadModelError:  # perhaps only now
            handover.look(shown, None)
        else:
            handover.look(shown, now)

    def _move(self, to: GenerationInfo, why: str) -> None:
        """Let the next one answer: the pointer first, so that whoever finds no handover finds where it led."""
        named = {"projection": self.projection.name, "before": self.live, "generation": to.name}
        self._live = to
        self._handover = None
        if why:
            log_line.warning("switched before what was answered was reached", **named, reason=why)
        else:
            log_line.info("switched", **named)
        self._committed()

    async def _serve(self, live: GenerationInfo | None) -> None:
        """Point queries to a generation. Where nobody follows it, it is opened before and closed after, so that none fails."""
        before, opened = self._stale, None
        if live is not None and live.stale_since and live.name not in self._following:
            opened = before if before is not None and before.name == live.name else await self._open_stale(live)
        self._stale = opened or before  # taken before the pointer moves, left after it: who reads meanwhile finds what it points to
        self._live = live
        self._stale = opened
        if before is not None and before is not opened:
            await asyncio.to_thread(before.close)

    async def _open_stale(self, live: GenerationInfo) -> Generation | None:
        if (opened := await asyncio.to_thread(self._readable.open, live)) is not None:
            log_line.warning("stale", projection=self.projection.name, generation=live.name, since=live.stale_since)
        return opened
