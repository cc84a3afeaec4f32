"""The event store in one SQLite file, shared by threads and processes.

An append is one `BEGIN IMMEDIATE` transaction, so that positions and counts stand in commit order. It is on the disk when
`append` returns (WAL, `synchronous=FULL`: a 2xx answer is a promise); only the marks of the relay, claims, leases and
snapshots, which may be lost without harm, are not waited for. Appends that arrive together share one transaction and so one
wait for the disk; each still stands or falls by itself. The wire bytes are stored as they go out, so that a repeat is the
same to the byte.
"""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from sidestream.adapters.shared_turns import SharedTurns, Ticket
from sidestream.adapters.sqlite_store_answers import SqliteAnswers, SqliteLeases, SqliteSnapshots, store_answer
from sidestream.adapters.sqlite_store_append import Adoption, Part, begin_epoch
from sidestream.adapters.sqlite_store_file import SCHEMA_VERSION, producer_row
from sidestream.adapters.sqlite_store_reading import SqliteReading, bounded
from sidestream.adapters.sqlite_writing import transaction
from sidestream.errors import SidestreamError
from sidestream.identifiers import milliseconds
from sidestream.ports import Answer, Append, StoredEvent
from sidestream.writing.answering import check_key
from sidestream.writing.appending import check_appends

__all__ = ["SCHEMA_VERSION", "SqliteEventStore"]


class SqliteEventStore(SqliteReading, SqliteAnswers, SqliteSnapshots, SqliteLeases):
    """One file. Raises ConfigurationError when it is another program's, or a newer Sidestream's."""

    def __init__(self, path: Path | str, *, lock_seconds: float = 10.0, clock_ms: Callable[[], int] = milliseconds) -> None:
        self._turns = SharedTurns(self._store_turn)
        super().__init__(path, lock_seconds=lock_seconds, clock_ms=clock_ms)

    @property
    def producer(self) -> str:
        """See `sidestream.ports.EventStore`."""
        return self._producer

    def append(self, appends: Sequence[Append], answer: Answer | None = None) -> tuple[StoredEvent, ...]:
        """See `sidestream.ports.EventStore`. Threads that append at once share a transaction."""
        check_appends(appends)
        if answer is not None:
            check_key(answer.key, answer.request)
        return self._turns.take((appends, answer))

    def _store_turn(self, tickets: Sequence[Ticket]) -> None:
        with self._write_lock, self._translated(), transaction(self._writer):
            for ticket in tickets:
                self._writer.execute("SAVEPOINT part")
                self._store(ticket)
                self._writer.execute("RELEASE part")

    def _store(self, ticket: Ticket) -> None:
        """Store a call as if its events were new, which they nearly always are; where that fails, look first, and say why."""
        now_ms = self._clock_ms()
        try:
            self._append(ticket, self._part(now_ms).append_new, now_ms)
        except (SidestreamError, sqlite3.IntegrityError):
            self._writer.execute("ROLLBACK TO part")
            self._store_looking_first(ticket, now_ms)

    def _store_looking_first(self, ticket: Ticket, now_ms: int) -> None:
        try:
            self._append(ticket, self._part(now_ms).append, now_ms)
        except SidestreamError as error:  # refused: the others of this transaction do not suffer for it
            ticket.failure = error
            self._writer.execute("ROLLBACK TO part")

    def _append(self, ticket: Ticket, append: Callable[[Sequence[Append]], tuple[StoredEvent, ...]], now_ms: int) -> None:
        appends, answer = ticket.call
        if answer is not None:
            store_answer(self._writer, answer, now_ms)
        ticket.stored = append(appends)

    def _part(self, now_ms: int) -> Part:
        return Part(self._writer, self._producer, now_ms)

    # ── publishing ───────────────────────────────────────────────────────────────────────────────────────────────────

    def mark_published(self, topic: str, sequence: int) -> None:
        """See `sidestream.ports.Outbox`. The disk is not waited for: a lost mark means a repeat, never a loss."""
        mark = "UPDATE counters SET published = min(count, ?) WHERE topic = ? AND published < ? AND producer = ?"
        reached = bounded(sequence)
        with self._writing_lightly() as writer:
            writer.execute(mark, (reached, topic, reached, producer_row(writer, self._producer)))

    def publish_again(self, topic: str, after: int) -> None:
        """See `sidestream.ports.Outbox`. This note is waited for: lost, it would be a loss of events."""
        note = "UPDATE counters SET published = min(published, max(0, ?)) WHERE topic = ? AND producer = ?"
        with self._writing() as writer:
            writer.execute(note, (bounded(after), topic, producer_row(writer, self._producer)))

    # ── restored from a copy ─────────────────────────────────────────────────────────────────────────────────────────

    def adopt(self, topic: str, wires: Sequence[bytes]) -> int:
        """See `sidestream.ports.Restorable`. An event that the store has under the same number is passed over."""
        if not wires:
            return 0
        with self._writing() as writer:
            return Adoption(writer, self._producer, topic, self._clock_ms()).take(wires)

    def begin_epoch(self) -> str:
        """See `sidestream.ports.Restorable`. Other processes on the file are away until they are started again."""
        with self._write_lock, self._translated():
            with transaction(self._writer):
                begun = begin_epoch(self._writer, self._producer)
            self._producer = begun
        return begun
