"""Runs a projection over a log into one generation: read after the checkpoint, apply, commit, again.

Synchronous: live, catch-up, recovery and rebuild call `step` in a thread. A projector may be killed anywhere; several
may work on one generation, in one process or in many: only one of them moves each checkpoint.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import NoReturn, Protocol

import structlog

from sidestream.applying.applied import CHECKPOINTS, HEAD_KEY, HEADS, Checkpoint
from sidestream.applying.batch import Batch, Outcome, SomebodyFaster, Stretch
from sidestream.applying.collecting import no_cyclic_collection
from sidestream.applying.decoding import Decoded, Rule
from sidestream.applying.log_reading import LogReading, checkpoint_at
from sidestream.applying.remembered import KEEP_BYTES, Remembered
from sidestream.applying.rules import Applier
from sidestream.applying.working_rows import NOTHING
from sidestream.errors import LogUnavailable, ReadModelError, RefusedByStore, StoreAway, TryAgain
from sidestream.event import MAX_NUMBER
from sidestream.ports import EventLog, Generation

BATCH_ENTRIES = 5000
"""Most entries of one topic in a transaction (measured: larger ones gain little)."""
FOLD_ENTRIES = 1000
"""Entries of one read of a fold: nothing is committed after it, so that it may be as small as the processor's cache likes."""
FOLD_BYTES = 256 * 1024 * 1024
"""About how many bytes of rows a fold holds before it writes them."""
_TRIES = 20

log_line = structlog.get_logger()


class _Tried(Exception):
    """Rolls a transaction back that was only to be tried."""


class Spans(Protocol):
    """Notes that a batch of a topic is applied; see `sidestream.tracing.Tracing`."""

    def applying(self, projection: str, topic: str, traces: Sequence[str]) -> AbstractContextManager[object]:
        """Return what stands around it; `traces`: the traceparent of every event, empty where it has none."""
        ...


class Projector:
    """Follows the topics of a projection into a generation. Not for two threads at once."""

    def __init__(
        self,
        rule: Rule,
        log: EventLog,
        generation: Generation,
        now: Callable[[], str],
        batch: int = BATCH_ENTRIES,
        *,
        keep_bytes: int = KEEP_BYTES,
        spans: Spans | None = None,
    ) -> None:
        self.rule = rule
        self.generation = generation
        self._reading = LogReading(rule, log)
        self._now = now
        self._batch = batch
        self._spans = spans
        self._remembered = Remembered(keep_bytes)
        self._checkpoints: dict[str, Checkpoint | None] | None = None
        self._tried = 0

    @property
    def checkpoints(self) -> dict[str, Checkpoint | None]:
        """How far each topic has been applied, as this projector last saw it."""
        if self._checkpoints is None:
            topics = self.rule.projection.topics
            with self.generation.snapshot() as reader:
                found = reader.read(CHECKPOINTS, [(topic,) for topic in topics])
            self._checkpoints = {topic: found.get((topic,)) for topic in topics}
        return self._checkpoints

    def catch_up(self, stop: Callable[[], bool] = lambda: False) -> Outcome:
        """Apply whatever the log holds until nothing is left or `stop()` says so; return what became of it.

        Raises:
            LogUnavailable, StoreAway: nothing of the current batch happened; call again later.
            HistoryTrimmed: events that were never applied are gone from the log.
        """
        total = Outcome()
        while not stop():
            outcome = self.step()
            if outcome is None:
                return total
            total.add(outcome)
        return total

    def step(self) -> Outcome | None:
        """Read and apply one batch of every topic in one transaction; None when there was nothing to read.

        Nothing is counted in the outcome where another process applied the batch first.

        Raises:
            LogUnavailable, StoreAway: nothing happened; call again later. Of a transaction that the database rolls back (a
                deadlock, a serialisation failure) only when that has happened many times in a row: it is tried again at once.
            HistoryTrimmed: events that were never applied are gone from the log.
        """
        for _ in range(_TRIES):
            try:
                with no_cyclic_collection():
                    batches = [batch.held() for batch in self._reading.read_all(self.checkpoints, self._batch)]
                    return self._apply_first(batches) if batches else None
            except TryAgain as error:
                log_line.info("rolled back, trying again", projection=self.rule.projection.name, reason=str(error))
        raise StoreAway(f"{self.rule.projection.name}: {_TRIES} transactions in a row were rolled back by the database")

    def fold(self, folded: Callable[[int], None] = lambda events: None, budget: int = FOLD_BYTES) -> Outcome:
        """Build an empty generation in memory, from the log's beginning to its end, and write it once.

        It is one batch like any other, only that nothing has to be read and no row is written twice. It ends early when
        the rows weigh more than the budget. Nothing happens where the generation is not empty, or the database refuses
        a value: `step` does it then, and goes on where this stopped in any case.

        Args:
            folded: is told after every read how many events have been folded; they are not written yet.
            budget: about how many bytes the rows may take.

        Raises:
            LogUnavailable: what was folded until then is written.
            StoreAway: nothing happened.
        """
        if any(self.checkpoints.values()):
            return Outcome()
        try:
            with no_cyclic_collection():
                return self._fold(folded, budget)
        except (RefusedByStore, TryAgain, SomebodyFaster) as error:
            self._forget()
            log_line.info("folding given up", projection=self.rule.projection.name, reason=str(error))
            return Outcome()
        except BaseException:
            self._forget()
            raise

    def _fold(self, folded: Callable[[int], None], budget: int) -> Outcome:
        applier = Applier(self.rule, NOTHING, self._remembered, self._now(), whole=True)
        entries = min(self._batch, FOLD_ENTRIES)
        try:
            while self._remembered.known.weight < budget and (batches := self._reading.read_all(self.checkpoints, entries)):
                for batch in batches:
                    applier.apply(batch)
                    self.checkpoints[batch.topic] = batch.leads_to
                folded(applier.outcome.counted)
        except LogUnavailable:  # what has been folded is right as far as it goes: whoever comes next goes on there
            self._commit_fold(applier)
            raise
        self._commit_fold(applier)
        return applier.outcome

    def _commit_fold(self, applier: Applier) -> None:
        if not applier.outcome.counted:
            return
        with self.generation.unit() as unit:
            if unit.read(HEADS, [HEAD_KEY]):
                raise SomebodyFaster
            applier.commit(unit)
        self._remembered.limit()

    def _forget(self) -> None:
        self._checkpoints = None
        self._remembered.clear()

    # ── applying ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _apply_first(self, batches: Sequence[Batch]) -> Outcome:
        """Apply batches, unless another process was faster, which is nobody's error; a span stands around each if spans are wanted."""
        with ExitStack() as around:
            if self._spans is not None:
                for batch in batches:
                    around.enter_context(self._spans.applying(self.rule.projection.name, batch.topic, batch.traces))
            try:
                return self._apply(batches)
            except SomebodyFaster:
                return Outcome()

    def _apply(self, batches: Sequence[Batch]) -> Outcome:
        try:
            return self._transact(batches)
        except RefusedByStore as refusal:
            return self._apply_in_parts(batches, refusal)

    def _transact(self, batches: Sequence[Batch], drains: int = MAX_NUMBER, refusal: RefusedByStore | None = None) -> Outcome:
        """Apply batches in one transaction. With a refusal: it is noted with the event that would be drained next."""
        applier = None
        try:
            with self.generation.unit() as unit:
                applier = Applier(self.rule, unit, self._remembered, self._now(), drains=drains)
                for batch in batches:
                    applier.apply(batch)
                if refusal is not None:
                    applier.refuse(*_stream_of(batches[0]), refusal)
                applier.commit()
        except BaseException:
            self._forget()
            self._tried = applier.tried if applier else 0
            raise
        self._remembered.limit()
        for batch in batches:
            self.checkpoints[batch.topic] = batch.leads_to
        return applier.outcome

    def _apply_in_parts(self, batches: Sequence[Batch], refusal: RefusedByStore) -> Outcome:
        """The database refuses a value: halve the batch until the event that brought it stands alone, and park that."""
        if len(batches) > 1:
            return self._in_turn([[batch] for batch in batches])
        batch = batches[0]
        entries = _entries_of(batch)
        if len(entries) > 1:
            return self._in_turn([[part] for part in _split(batch, entries)])
        if self._tried and (outcome := self._blame_drained(batch, refusal)) is not None:
            return outcome
        (refused,) = entries
        if refused.code == refusal.code:  # it was parked for this already, and is refused all the same
            raise ReadModelError(f"the database refuses even the parked event at {refused.entry.position}: {refusal}") from refusal
        parked = Decoded(refused.entry, refused.envelope, handled=True, problem=str(refusal), code=refusal.code)
        return self._transact([Batch(batch.topic, batch.read_from, [Stretch([parked])], batch.leads_to)])

    def _blame_drained(self, batch: Batch, refusal: RefusedByStore) -> Outcome | None:
        """Of the events that waited for this one, find the one that the database refuses; None where it is this one itself.

        What is drained is refused from some number on: halve until that is known. Then this event is applied, those
        before the refused one are drained, and the reason is noted with the refused one, in one transaction.
        """
        good, bad = -1, self._tried
        while bad - good > 1:
            middle = (good + bad) // 2
            good, bad = (good, middle) if self._refuses(batch, middle) else (middle, bad)
        return self._transact([batch], good, refusal) if good >= 0 else None

    def _refuses(self, batch: Batch, drains: int) -> bool:
        """Return whether the database refuses a batch when so many waiting events are drained; nothing is kept."""
        try:
            with self.generation.unit() as unit:
                applier = Applier(self.rule, unit, self._remembered, self._now(), drains=drains)
                applier.apply(batch)
                applier.commit()
                _roll_back()
        except RefusedByStore:
            return True
        except _Tried:
            return False
        finally:
            self._forget()

    def _in_turn(self, parts: Sequence[Sequence[Batch]]) -> Outcome:
        total = Outcome()
        for part in parts:
            total.add(self._apply(part))
        return total


def _roll_back() -> NoReturn:
    raise _Tried


def _entries_of(batch: Batch) -> Sequence[Decoded]:
    return [decoded for stretch in batch.stretches for decoded in stretch.entries]


def _stream_of(batch: Batch) -> tuple[str, str]:
    """Return topic and stream of a batch of one event."""
    (decoded,) = _entries_of(batch)
    return batch.topic, decoded.envelope.stream if decoded.envelope else ""


def _split(batch: Batch, entries: Sequence[Decoded]) -> tuple[Batch, Batch]:
    half = len(entries) // 2
    middle = checkpoint_at(entries[half - 1], batch.leads_to)
    return (
        Batch(batch.topic, batch.read_from, [Stretch(entries[:half])], middle),
        Batch(batch.topic, middle, [Stretch(entries[half:])], batch.leads_to),
    )
