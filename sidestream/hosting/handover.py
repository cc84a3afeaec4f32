"""Leads an app's queries from one generation to the next, so that no answer is older than one before it.

The pointer moves when the next generation has reached the one before; until an app sees that, it goes on applying to the one
before, and answers from it. So that one answers on, what each answer had applied is noted, and in the first moment in which the
next one has applied all of that, it answers. Each app leads its own clients. What cannot be reached is not waited for. Pure but
for a lock: whoever uses it reads the places.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from sidestream.errors import LogUnavailable
from sidestream.hosting.followed import Following
from sidestream.ports import GenerationInfo

Positions = Mapping[str, str]
"""Topic → position of the last event applied; topics of which nothing was applied are missing."""


class Handover:
    """From the generation that answers to the next one. Safe to call from threads.

    Args:
        to: the next one.
        following: follows it.
        compare: compares two positions, as `sidestream.ports.EventLog.compare`.
        move: lets the next one answer; called once, with the reason where it has not reached the one before, else empty.
        patience: so many sweeps in a row it may stand still before it answers all the same.
    """

    def __init__(
        self,
        to: GenerationInfo,
        following: Following,
        compare: Callable[[str, str], int],
        move: Callable[[GenerationInfo, str], None],
        patience: int,
    ) -> None:
        self.to = to
        self._following = following
        self._compare = compare
        self._move = move
        self._patience = patience
        self._lock = threading.Lock()
        self._over = False
        self._begun = False
        self._shown: dict[str, str] = {}
        self._stood = 0
        self._stands_at: Positions = {}

    def show(self, applied: Positions) -> bool:
        """Note what an answer from the one before had applied; False where the next one answers by now, and this answer is too late."""
        with self._comparing():
            self._note(applied)
        return not self._over

    def look(self, shown: Positions, now: Positions | None) -> None:
        """Look once a sweep whether it is over.

        Args:
            shown: what `shown` was before the one before was looked at.
            now: how far the one before is; None: it cannot be read now.
        """
        with self._comparing():
            if now is not None and self._lacks(now, shown):  # no generation goes back, but where its log begins anew
                self._end("the log is another one than before")
            if now is not None and not self._begun:  # whatever was answered before this began
                self._note(now)
                self._begun = True
            if self._stands_still(now) > self._patience:
                self._end(self._following.problem or "it stands still")
        self.end_if_reached()

    def end_if_reached(self) -> None:
        """Let the next one answer if it has caught up with the log once and has applied what every answer had."""
        with self._comparing():
            reached = not self._lacks(self._following.applied, self._shown)
            if reached and self._begun and self._following.caught_up:
                self._end("")

    def end(self, why: str) -> None:
        """Let the next one answer now."""
        with self._lock:
            self._end(why)

    def cancel(self) -> None:
        """The pointer is elsewhere, or the one before is gone: nothing is moved here any more."""
        with self._lock:
            self._over = True

    @property
    def shown(self) -> Positions:
        """What every answer together had applied."""
        with self._lock:
            return dict(self._shown)

    # ── under the lock ───────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _comparing(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except LogUnavailable as error:  # comparing asks no broker: these positions are of another kind of log
                self._end(str(error))

    def _end(self, why: str) -> None:
        if not self._over:
            self._over = True
            self._move(self.to, why)

    def _note(self, applied: Positions) -> None:
        for topic, position in applied.items():
            if self._lacks(self._shown, {topic: position}):
                self._shown[topic] = position

    def _lacks(self, applied: Positions, wanted: Positions) -> bool:
        """Return whether a generation that has applied so much lacks any of what is wanted."""
        return any(
            topic not in applied or (applied[topic] != position and self._compare(applied[topic], position) < 0)
            for topic, position in wanted.items()
        )

    def _stands_still(self, now: Positions | None) -> int:
        """Return for how many sweeps the next one has not moved, or the one before could not be read; a log that is away is waited for."""
        at = self._following.applied
        moves = now is not None and (at != self._stands_at or self._following.away)
        self._stood, self._stands_at = 0 if moves else self._stood + 1, at
        return self._stood
