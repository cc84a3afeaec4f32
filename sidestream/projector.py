"""Runs a projection over a log into one generation: read after the checkpoint, apply, commit, again.

Synchronous: live, catch-up, recovery and rebuild call `step` in a thread. A projector may be killed anywhere; several
may work on one generation, in one process or in many: only one of them moves each checkpoint.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import overload

import msgspec
import structlog

from sidestream.applied import CHECKPOINTS, HEAD_KEY, HEADS, Checkpoint
from sidestream.applying import Applier, Batch, Decoded, Outcome, Remembered, Rule, SomebodyFaster, Stretch
from sidestream.collecting import no_cyclic_collection
from sidestream.errors import HistoryTrimmed, LogUnavailable, ReadModelError, RefusedByStore, StoreAway, TryAgain
from sidestream.ports import EventLog, Generation, LogEntry, ReadsAhead, wires_of
from sidestream.regular import RUN_ENTRIES, read_run
from sidestream.working_rows import NOTHING, WorkingRows

BATCH_ENTRIES = 5000
"""Most entries of one topic in a transaction (facts: larger ones gain little)."""
FIRST_ENTRIES = 500
"""Entries of the first read of a topic, before it is known how large they are."""
BATCH_BYTES = 16 * 1024 * 1024
"""About how many bytes of one topic are read at once."""
FOLD_ENTRIES = 1000
"""Entries of one read of a fold: nothing is committed after it, so that it may be as small as the processor's cache likes."""
FOLD_BYTES = 256 * 1024 * 1024
"""About how many bytes of rows a fold holds before it writes them."""
_TRIES = 20

log_line = structlog.get_logger()


class Projector:
    """Follows the topics of a projection into a generation. Not for two threads at once."""

    def __init__(self, rule: Rule, log: EventLog, generation: Generation, now: Callable[[], str], batch: int = BATCH_ENTRIES) -> None:
        self.rule = rule
        self.generation = generation
        self._log = log
        self._now = now
        self._batch = batch
        self._limits: dict[str, int] = {}
        self._remembered = Remembered()
        self._checkpoints: dict[str, Checkpoint | None] | None = None

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
        """
        for _ in range(_TRIES):
            try:
                with no_cyclic_collection():
                    batches = self._read_all(self._batch)
                    return self._apply(batches) if batches else None
            except SomebodyFaster:
                return Outcome()
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
        rows = WorkingRows(NOTHING, whole=True)
        applier = Applier(self.rule, NOTHING, self._remembered, self._now(), rows)
        events = 0
        try:
            while rows.weight < budget and (batches := self._read_all(min(self._batch, FOLD_ENTRIES))):
                for batch in batches:
                    applier.apply(batch)
                    self.checkpoints[batch.topic] = batch.leads_to
                    events += sum(len(stretch.entries) for stretch in batch.stretches)
                folded(events)
        except LogUnavailable:  # what has been folded is right as far as it goes: whoever comes next goes on there
            if events:
                self._commit_fold(applier)
            raise
        if events:
            self._commit_fold(applier)
        return applier.outcome

    def _commit_fold(self, applier: Applier) -> None:
        with self.generation.unit() as unit:
            if unit.read(HEADS, [HEAD_KEY]):
                raise SomebodyFaster
            applier.commit(unit)

    def _forget(self) -> None:
        self._checkpoints = None
        self._remembered.clear()

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _read_all(self, most: int) -> list[Batch]:
        return [batch for topic in self.rule.projection.topics if (batch := self._read(topic, most)) is not None]

    def _read(self, topic: str, most: int) -> Batch | None:
        checkpoint = self.checkpoints[topic]
        limit = min(self._limits.get(topic, FIRST_ENTRIES), most)
        entries = self._log.read(topic, checkpoint.position if checkpoint else None, limit + (checkpoint is not None))
        self._limits[topic] = _next_limit(entries)
        if len(entries) > limit:
            self._announce(topic, entries[-1].position, min(self._limits[topic], most) + 1)
        if checkpoint is not None and entries and self._stands_at(checkpoint, entries[0]):
            return self._batch_of(topic, checkpoint, entries[1:], checkpoint)
        if checkpoint is not None:
            entries = self._entries_after_break(topic, checkpoint, entries, limit)
        return self._batch_of(topic, checkpoint, entries, self._beginning(topic)) if entries else None

    def _announce(self, topic: str, position: str, limit: int) -> None:
        """The read was full, so that there will be another one, from its last entry on: the broker may begin."""
        if isinstance(self._log, ReadsAhead):
            self._log.announce(topic, position, limit)

    def _beginning(self, topic: str) -> Checkpoint:
        """What is known of a log before its first event is applied."""
        extent = self._log.extent(topic)
        return Checkpoint(topic, "", "", "", extent.identity, extent.trimmed_to or ("0" if extent.began_late else ""))

    def _batch_of(self, topic: str, read_from: Checkpoint | None, entries: Sequence[LogEntry], like: Checkpoint) -> Batch | None:
        if not entries:
            return None
        wires = wires_of(entries)
        begins = range(0, len(entries), RUN_ENTRIES)
        stretches = [self._stretch(entries[at : at + RUN_ENTRIES], wires[at : at + RUN_ENTRIES]) for at in begins]
        return Batch(topic, read_from, stretches, _checkpoint_at(self.rule.decode(entries[-1]), like))

    def _stretch(self, entries: Sequence[LogEntry], wires: Sequence[bytes]) -> Stretch:
        return Stretch(_DecodedLater(self.rule, entries), read_run(self.rule, wires))

    def _stands_at(self, checkpoint: Checkpoint, entry: LogEntry) -> bool:
        envelope = self.rule.decode(entry).envelope
        found = (envelope.source, envelope.id) if envelope else ("", "")
        return entry.position == checkpoint.position and found == (checkpoint.source, checkpoint.event_id)

    def _entries_after_break(self, topic: str, checkpoint: Checkpoint, entries: Sequence[LogEntry], limit: int) -> Sequence[LogEntry]:
        """The event at the checkpoint is not there.

        trimmed up to the checkpoint exactly   nothing is missing: go on after it
        trimmed beyond it                      events that were never applied are gone: an error, never a silent skip
        else                                   another log under this name: read it from its start, the counts skip
                                               what has been applied, the read model does not go back
        """
        extent = self._log.extent(topic)
        if extent.trimmed_to is not None and self._log.compare(extent.trimmed_to, checkpoint.position) > 0:
            raise HistoryTrimmed(
                f"{self.rule.projection.name}: topic {topic}: expected events after {checkpoint.position}, "
                f"found the log trimmed up to {extent.trimmed_to}. Restore the log, or rebuild from an archive."
            )
        if extent.trimmed_to is not None and self._log.compare(extent.trimmed_to, checkpoint.position) == 0:
            return entries
        if extent.first is not None:
            log_line.warning("another log", projection=self.rule.projection.name, topic=topic, checkpoint=checkpoint.position)
        return self._log.read(topic, None, limit)

    # ── applying ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _apply(self, batches: Sequence[Batch]) -> Outcome:
        try:
            return self._transact(batches)
        except RefusedByStore as refusal:
            return self._apply_in_parts(batches, refusal)

    def _transact(self, batches: Sequence[Batch]) -> Outcome:
        try:
            with self.generation.unit() as unit:
                applier = Applier(self.rule, unit, self._remembered, self._now())
                for batch in batches:
                    applier.apply(batch)
                applier.commit()
        except BaseException:
            self._forget()
            raise
        for batch in batches:
            self.checkpoints[batch.topic] = batch.leads_to
        return applier.outcome

    def _apply_in_parts(self, batches: Sequence[Batch], refusal: RefusedByStore) -> Outcome:
        """The database refuses a value: halve the batch until the event that brought it stands alone, and park that."""
        if len(batches) > 1:
            return self._in_turn([[batch] for batch in batches])
        batch = batches[0]
        entries = [decoded for stretch in batch.stretches for decoded in stretch.entries]
        if len(entries) > 1:
            return self._in_turn([[part] for part in _split(batch, entries)])
        (refused,) = entries
        if refused.code == refusal.code:  # it was parked for this already, and is refused all the same
            raise ReadModelError(f"the database refuses even the parked event at {refused.entry.position}: {refusal}") from refusal
        parked = Decoded(refused.entry, refused.envelope, handled=True, problem=str(refusal), code=refusal.code)
        return self._transact([Batch(batch.topic, batch.read_from, [Stretch([parked])], batch.leads_to)])

    def _in_turn(self, parts: Sequence[Sequence[Batch]]) -> Outcome:
        total = Outcome()
        for part in parts:
            total.add(self._apply(part))
        return total


def _next_limit(entries: Sequence[LogEntry]) -> int:
    """Large entries are read few at a time, so that memory stays bounded."""
    average = sum(map(len, wires_of(entries))) // max(len(entries), 1) + 1
    return max(1, BATCH_BYTES // average)


def _checkpoint_at(decoded: Decoded, like: Checkpoint) -> Checkpoint:
    """Return the checkpoint at an entry of the log that `like` belongs to."""
    envelope = decoded.envelope
    return msgspec.structs.replace(
        like,
        position=decoded.entry.position,
        source=envelope.source if envelope else "",
        event_id=envelope.id if envelope else "",
    )


def _split(batch: Batch, entries: Sequence[Decoded]) -> tuple[Batch, Batch]:
    half = len(entries) // 2
    middle = _checkpoint_at(entries[half - 1], batch.leads_to)
    return (
        Batch(batch.topic, batch.read_from, [Stretch(entries[:half])], middle),
        Batch(batch.topic, middle, [Stretch(entries[half:])], batch.leads_to),
    )


class _DecodedLater(Sequence[Decoded]):
    """Entries that are decoded one by one when somebody looks at them; a run seldom needs it."""

    def __init__(self, rule: Rule, entries: Sequence[LogEntry]) -> None:
        self._rule = rule
        self._entries = entries
        self._decoded: list[Decoded] | None = None

    def _all(self) -> list[Decoded]:
        if self._decoded is None:
            self._decoded = [self._rule.decode(entry) for entry in self._entries]
        return self._decoded

    @overload
    def __getitem__(self, at: int) -> Decoded: ...
    @overload
    def __getitem__(self, at: slice) -> list[Decoded]: ...
    def __getitem__(self, at: int | slice) -> Decoded | list[Decoded]:
        return self._all()[at]

    def __iter__(self) -> Iterator[Decoded]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._entries)
