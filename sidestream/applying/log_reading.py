"""Reads a log after a checkpoint, topic by topic, and makes batches of it: no lock, no transaction.

The event at the checkpoint is read too: it must be the one recorded, else this is another log, or a trimmed one.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, overload

import msgspec
import structlog

from sidestream.applying.applied import Checkpoint
from sidestream.applying.batch import Batch, Stretch
from sidestream.applying.decoding import Decoded, Rule
from sidestream.applying.regular import RUN_ENTRIES, read_run
from sidestream.errors import ForeignPosition, HistoryTrimmed
from sidestream.event import digest
from sidestream.ports import EventLog, LogEntry, ReadsAhead, wires_of

FIRST_ENTRIES: Final = 500
"""Entries of the first read of a topic, before it is known how large they are."""
BATCH_BYTES: Final = 16 * 1024 * 1024
"""About how many bytes of one topic are read at once."""

log_line = structlog.get_logger()


class LogReading:
    """Reads batches for one rule. Not for two threads at once."""

    def __init__(self, rule: Rule, log: EventLog) -> None:
        self._rule = rule
        self._log = log
        self._ahead = log if isinstance(log, ReadsAhead) else None
        self._limits: dict[str, int] = {}

    def read_all(self, checkpoints: Mapping[str, Checkpoint | None], most: int) -> list[Batch]:
        """Return what stands after these checkpoints, of every topic that has anything, at most so many entries of each.

        Raises:
            LogUnavailable: the log cannot be read now.
            HistoryTrimmed: events that were never applied are gone from the log.
        """
        return [batch for topic, checkpoint in checkpoints.items() if (batch := self._read(topic, checkpoint, most)) is not None]

    def _read(self, topic: str, checkpoint: Checkpoint | None, most: int) -> Batch | None:
        limit = min(self._limits.get(topic, FIRST_ENTRIES), most)
        try:
            entries = self._log.read(topic, checkpoint.position if checkpoint else None, limit + (checkpoint is not None))
        except ForeignPosition:  # the log was moved to another kind of broker
            return self._from_start(topic, checkpoint, limit)
        if len(entries) > (checkpoint is not None):  # nothing new says nothing about how large the next ones are
            self._limits[topic] = _next_limit(wires_of(entries))
        if len(entries) > limit:
            self._announce(topic, entries[-1].position, min(self._limits[topic], most) + 1)
        if checkpoint is None:
            return self._batch_of(topic, None, entries, self._beginning(topic)) if entries else None
        if entries and self._stands_at(checkpoint, entries[0]):
            return self._batch_of(topic, checkpoint, entries[1:], checkpoint)
        return self._after_break(topic, checkpoint, entries, limit)

    def _from_start(self, topic: str, checkpoint: Checkpoint | None, limit: int) -> Batch | None:
        """The checkpoint belongs to another log: read this one from its start, the counts skip what has been applied.

        The read model does not go back.
        """
        entries = self._log.read(topic, None, limit)
        if entries and checkpoint is not None:
            log_line.warning("another log", projection=self._rule.projection.name, topic=topic, checkpoint=checkpoint.position)
        return self._batch_of(topic, checkpoint, entries, self._beginning(topic)) if entries else None

    def _announce(self, topic: str, position: str, limit: int) -> None:
        """The read was full, so that there will be another one, from its last entry on: the broker may begin."""
        if self._ahead is not None:
            self._ahead.announce(topic, position, limit)

    def _beginning(self, topic: str) -> Checkpoint:
        """What is known of a log before its first event is applied."""
        extent = self._log.extent(topic)
        return Checkpoint(topic, "", "", "", extent.identity, extent.trimmed_to or ("0" if extent.began_late else ""))

    def _batch_of(self, topic: str, read_from: Checkpoint | None, entries: Sequence[LogEntry], like: Checkpoint) -> Batch | None:
        if not entries:
            return None
        wires = wires_of(entries)
        begins = range(0, len(entries), RUN_ENTRIES)
        stretches = (self._stretch(entries[at : at + RUN_ENTRIES], wires[at : at + RUN_ENTRIES]) for at in begins)
        return Batch(topic, read_from, stretches, checkpoint_at(self._rule.decode(entries[-1]), like))

    def _stretch(self, entries: Sequence[LogEntry], wires: Sequence[bytes]) -> Stretch:
        return Stretch(_DecodedLater(self._rule, entries), read_run(self._rule, wires))

    def _stands_at(self, checkpoint: Checkpoint, entry: LogEntry) -> bool:
        if entry.position != checkpoint.position:
            return False
        decoded = self._rule.decode(entry)
        noted = (checkpoint.source, checkpoint.event_id)
        return noted == _name_of(decoded) or (decoded.envelope is None and noted == ("", ""))  # as earlier releases noted it

    def _after_break(self, topic: str, checkpoint: Checkpoint, entries: Sequence[LogEntry], limit: int) -> Batch | None:
        """The event at the checkpoint is not there.

        trimmed up to the checkpoint exactly   nothing is missing: go on after it, as if it stood there
        trimmed beyond it                      events that were never applied are gone: an error, never a silent skip
        else                                   another log under this name
        """
        extent = self._log.extent(topic)
        missing = -1 if extent.trimmed_to is None else self._log.compare(extent.trimmed_to, checkpoint.position)
        if missing > 0:
            raise HistoryTrimmed(
                f"{self._rule.projection.name}: topic {topic}: expected events after {checkpoint.position}, "
                f"found the log trimmed up to {extent.trimmed_to}. Restore the log, or rebuild from an archive."
            )
        if missing == 0 and checkpoint.identity == extent.identity:
            return self._batch_of(topic, checkpoint, entries, checkpoint)
        return self._from_start(topic, checkpoint, limit)


def _next_limit(wires: Sequence[bytes]) -> int:
    """Large entries are read few at a time, so that memory stays bounded."""
    average = sum(map(len, wires)) // max(len(wires), 1) + 1
    return max(1, BATCH_BYTES // average)


def checkpoint_at(decoded: Decoded, like: Checkpoint) -> Checkpoint:
    """Return the checkpoint at an entry of the log that `like` belongs to."""
    source, event_id = _name_of(decoded)
    return msgspec.structs.replace(like, position=decoded.entry.position, source=source, event_id=event_id)


def _name_of(decoded: Decoded) -> tuple[str, str]:
    """Return source and id of an event; of an entry that cannot be read the digest of its bytes."""
    envelope = decoded.envelope
    return (envelope.source, envelope.id) if envelope else ("", digest(decoded.entry.data).hex())


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
