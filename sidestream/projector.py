"""Runs a projection over a log into one generation: read after the checkpoint, apply, commit, again.

Synchronous: live, catch-up, recovery and rebuild call `step` in a thread. A projector may be killed anywhere; several
may work on one generation, in one process or in many: only one of them moves each checkpoint.
"""

from collections.abc import Callable, Sequence

import msgspec
import structlog

from sidestream.applied import CHECKPOINTS, Checkpoint
from sidestream.applying import Applier, Batch, Decoded, Outcome, Remembered, Rule, SomebodyFaster
from sidestream.collecting import no_cyclic_collection
from sidestream.errors import HistoryTrimmed, ReadModelError, RefusedByStore, StoreAway, TryAgain
from sidestream.ports import EventLog, Generation, LogEntry

BATCH_ENTRIES = 5000
"""Most entries of one topic in a transaction (facts: larger ones gain little)."""
FIRST_ENTRIES = 500
"""Entries of the first read of a topic, before it is known how large they are."""
BATCH_BYTES = 16 * 1024 * 1024
"""About how many bytes of one topic are read at once."""
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
                    batches = [batch for topic in self.rule.projection.topics if (batch := self._read(topic)) is not None]
                    return self._apply(batches) if batches else None
            except SomebodyFaster:
                return Outcome()
            except TryAgain as error:
                log_line.info("rolled back, trying again", projection=self.rule.projection.name, reason=str(error))
        raise StoreAway(f"{self.rule.projection.name}: {_TRIES} transactions in a row were rolled back by the database")

    def _forget(self) -> None:
        self._checkpoints = None
        self._remembered.clear()

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _read(self, topic: str) -> Batch | None:
        checkpoint = self.checkpoints[topic]
        limit = self._limits.get(topic, min(self._batch, FIRST_ENTRIES))
        entries = self._log.read(topic, checkpoint.position if checkpoint else None, limit + (checkpoint is not None))
        self._limits[topic] = self._next_limit(entries)
        if checkpoint is not None and entries and self._stands_at(checkpoint, entries[0]):
            return self._batch_of(topic, checkpoint, entries[1:], checkpoint)
        if checkpoint is not None:
            entries = self._entries_after_break(topic, checkpoint, entries, limit)
        return self._batch_of(topic, checkpoint, entries, self._beginning(topic)) if entries else None

    def _beginning(self, topic: str) -> Checkpoint:
        """What is known of a log before its first event is applied."""
        extent = self._log.extent(topic)
        return Checkpoint(topic, "", "", "", extent.identity, extent.trimmed_to or "")

    def _batch_of(self, topic: str, read_from: Checkpoint | None, entries: Sequence[LogEntry], like: Checkpoint) -> Batch | None:
        if not entries:
            return None
        decoded = [self.rule.decode(entry) for entry in entries]
        return Batch(topic, read_from, decoded, _checkpoint_at(decoded[-1], like))

    def _next_limit(self, entries: Sequence[LogEntry]) -> int:
        """Large entries are read few at a time, so that memory stays bounded."""
        if not entries:
            return self._batch
        average = sum(len(entry.data) for entry in entries) // len(entries) + 1
        return max(1, min(self._batch, BATCH_BYTES // average))

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
        if len(batch.entries) > 1:
            half = len(batch.entries) // 2
            return self._in_turn([[part] for part in _split(batch, half)])
        refused = batch.entries[0]
        if refused.code == refusal.code:  # it was parked for this already, and is refused all the same
            raise ReadModelError(f"the database refuses even the parked event at {refused.entry.position}: {refusal}") from refusal
        parked = Decoded(refused.entry, refused.envelope, handled=True, problem=str(refusal), code=refusal.code)
        return self._transact([Batch(batch.topic, batch.read_from, [parked], batch.leads_to)])

    def _in_turn(self, parts: Sequence[Sequence[Batch]]) -> Outcome:
        total = Outcome()
        for part in parts:
            total.add(self._apply(part))
        return total


def _checkpoint_at(decoded: Decoded, like: Checkpoint) -> Checkpoint:
    """Return the checkpoint at an entry of the log that `like` belongs to."""
    envelope = decoded.envelope
    return msgspec.structs.replace(
        like,
        position=decoded.entry.position,
        source=envelope.source if envelope else "",
        event_id=envelope.id if envelope else "",
    )


def _split(batch: Batch, at: int) -> tuple[Batch, Batch]:
    middle = _checkpoint_at(batch.entries[at - 1], batch.leads_to)
    return (
        Batch(batch.topic, batch.read_from, batch.entries[:at], middle),
        Batch(batch.topic, middle, batch.entries[at:], batch.leads_to),
    )
