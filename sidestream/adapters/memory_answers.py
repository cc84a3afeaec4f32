"""Answers, snapshots and leases in memory: plain Python, the specification of these parts of the port.

Each part is a base of the store in memory, which brings the lock that stands for the transaction, and the clock.
"""

import threading
from collections.abc import Callable

from sidestream.ports import Answer, Snapshot
from sidestream.writing.answering import Claim, answer_of_claim, check_answer, check_key, ends_at, holds


class Held:
    """What all parts of the store share: one lock, one clock."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._lock = threading.Lock()
        self._clock_ms = clock_ms


class MemoryAnswers(Held):
    """Answers by key with the time they were given, and claims by key."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        super().__init__(clock_ms)
        self._answers: dict[str, tuple[Answer, int]] = {}
        self._claims: dict[str, Claim] = {}

    def claim(self, key: str, request: bytes, seconds: float) -> Answer | None:
        """See `sidestream.ports.Answers`."""
        check_key(key, request)
        with self._lock:
            now_ms = self._clock_ms()
            until_ms = ends_at(now_ms, seconds)
            answer = answer_of_claim(key, request, self._answer(key), self._claims.get(key), now_ms)
            if answer is None:
                self._claims[key] = Claim(request, until_ms)
            return answer

    def release(self, key: str) -> None:
        """See `sidestream.ports.Answers`."""
        with self._lock:
            self._claims.pop(key, None)

    def forget_answers(self, before_ms: int) -> int:
        """See `sidestream.ports.Answers`. Claims that nobody ended are forgotten with them."""
        with self._lock:
            old = [key for key, (_, answered_ms) in self._answers.items() if answered_ms < before_ms]
            for key in old:
                del self._answers[key]
            over_ms = min(before_ms, self._clock_ms())
            self._claims = {key: claim for key, claim in self._claims.items() if claim.until_ms > over_ms}
            return len(old)

    def _answer(self, key: str) -> Answer | None:
        kept = self._answers.get(key)
        return None if kept is None else kept[0]

    def _check_answer(self, answer: Answer, now_ms: int) -> None:
        check_answer(answer, self._answer(answer.key), self._claims.get(answer.key), now_ms)

    def _keep_answer(self, answer: Answer, now_ms: int) -> None:
        self._answers[answer.key] = answer, now_ms
        self._claims.pop(answer.key, None)


class MemorySnapshots(Held):
    """The newest snapshot of each stream."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        super().__init__(clock_ms)
        self._snapshots: dict[str, Snapshot] = {}

    def snapshot(self, stream: str, shape: str) -> Snapshot | None:
        """See `sidestream.ports.Snapshots`."""
        with self._lock:
            found = self._snapshots.get(stream)
        return found if found is not None and found.shape == shape else None

    def keep_snapshot(self, snapshot: Snapshot) -> None:
        """See `sidestream.ports.Snapshots`."""
        with self._lock:
            kept = self._snapshots.get(snapshot.stream)
            if kept is None or kept.shape != snapshot.shape or kept.version < snapshot.version:
                self._snapshots[snapshot.stream] = snapshot

    def drop_snapshots(self) -> int:
        """See `sidestream.ports.Snapshots`."""
        with self._lock:
            count = len(self._snapshots)
            self._snapshots.clear()
        return count


class MemoryLeases(Held):
    """Who holds what, and until when."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        super().__init__(clock_ms)
        self._leases: dict[str, tuple[str, int]] = {}

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        """See `sidestream.ports.Outbox`."""
        with self._lock:
            now_ms = self._clock_ms()
            until_ms = ends_at(now_ms, seconds)
            held_by, held_until_ms = self._leases.get(name, (holder, 0))
            if held_by != holder and holds(held_until_ms, now_ms):
                return False
            self._leases[name] = holder, until_ms
            return True

    def end_lease(self, name: str, holder: str) -> None:
        """See `sidestream.ports.Outbox`."""
        with self._lock:
            if self._leases.get(name, ("", 0))[0] == holder:
                del self._leases[name]
