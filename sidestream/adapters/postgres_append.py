"""Whoever appends to PostgreSQL in this process: one connection, one transaction at a time, shared by threads that append at once.

Each call still stands or falls by itself. What the server rolled back for reasons of its own is done again, and so is what was
on its way when a connection was lost: source and id make a repeat harmless.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

import psycopg

from sidestream.adapters.postgres_append_transaction import Session, keep, look
from sidestream.adapters.postgres_database import Database, failure
from sidestream.adapters.postgres_places import Wanted
from sidestream.adapters.postgres_quick_append import append_alone
from sidestream.adapters.shared_turns import SharedTurns, Ticket
from sidestream.errors import RefusedByStore, SidestreamError, StoreAway, TryAgain
from sidestream.ports import Answer, Append, StoredEvent

Result = TypeVar("Result")

_TRY_SECONDS: Final = 10.0


class Writer:
    """The one connection of a process that appends. Raises StoreAway.

    Attributes:
        producer: who counts for this process; empty before it is known. Another one means that the store was told to count
            anew, and whoever has not been told must not go on.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._session: Session | None = None
        self._lock = threading.Lock()
        self._turns = SharedTurns(self._store)
        self.producer = ""

    def append(self, appends: Sequence[Append], answer: Answer | None) -> tuple[StoredEvent, ...]:
        """Store a call; those that wait meanwhile share the next transaction."""
        return self._turns.take((appends, answer))

    def transaction(self, work: Callable[[Session], Result]) -> Result:
        """Do work in a transaction that holds no lock yet; all of it is stored, or nothing."""
        with self._lock:
            return self._try(work)

    def check(self, producer: str) -> None:
        """Refuse to go on in a store that counts as somebody else by now; the first time, take it as it is."""
        if producer != (self.producer or producer):
            raise StoreAway(
                f"{self._database.schema}: expected to count as {self.producer}, found a new epoch, {producer}. "
                "Nothing was changed; start this process again."
            )
        self.producer = producer

    def close(self) -> None:
        """Close the connection; the next call opens another one."""
        with self._lock:
            self._drop()

    # ── storing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _store(self, tickets: Sequence[Ticket]) -> None:
        try:
            self.transaction(lambda session: self._append(session, tickets))
        except RefusedByStore as error:
            if len(tickets) == 1:
                raise
            for ticket in tickets:  # one of them is at fault: the others do not suffer for it
                self._store_alone(ticket, error)

    def _store_alone(self, ticket: Ticket, refused: RefusedByStore) -> None:
        ticket.failure = refused
        try:
            self.transaction(lambda session: self._append(session, [ticket]))
        except SidestreamError as error:
            ticket.failure = error

    def _append(self, session: Session, tickets: Sequence[Ticket]) -> None:
        wanted = Wanted(ticket.call for ticket in tickets)
        session.learn(wanted.topics, wanted.sources)
        if not self._stored_alone(session, tickets):
            self._store_together(session, tickets, wanted)

    def _stored_alone(self, session: Session, tickets: Sequence[Ticket]) -> bool:
        """Store them the short way, if nobody else has appended meanwhile and nothing speaks against any of them."""
        stored = append_alone(session, [ticket.call for ticket in tickets], self._database.schema)
        for ticket, events in zip(tickets, stored or (), strict=False):
            ticket.stored, ticket.failure = events, None
        return stored is not None

    def _store_together(self, session: Session, tickets: Sequence[Ticket], wanted: Wanted) -> None:
        places = look(session, wanted)
        self.check(places.producer)
        begun = places.position
        for ticket in tickets:
            ticket.failure = None
            try:
                ticket.stored = places.take(*ticket.call)
            except SidestreamError as error:  # refused: the others of this transaction do not suffer for it
                ticket.failure = error
        keep(session, places, self._database.schema)
        if begun == session.last:
            session.saw(places)
        session.last = places.position

    # ── trying ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _try(self, work: Callable[[Session], Result]) -> Result:
        """Again at once after a deadlock, and after the loss of a connection that had been there: a repeat is harmless."""
        end = time.monotonic() + _TRY_SECONDS
        while True:
            old = self._session
            try:
                return self._once(work)
            except TryAgain as error:
                if time.monotonic() > end:
                    raise StoreAway(str(error)) from error
            except StoreAway:
                if old is None or old is self._session:
                    raise

    def _once(self, work: Callable[[Session], Result]) -> Result:
        session = self._session = self._session or Session(self._database)
        try:
            return work(session)
        except psycopg.Error as error:
            raise failure(error, self._database.schema) from error
        finally:
            self._end(session)

    def _end(self, session: Session) -> None:
        """Leave no transaction open; forget a connection that is lost."""
        if session.connection.closed or session.connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            with suppress(psycopg.Error):
                session.connection.rollback()
        if session.connection.closed:
            self._drop()

    def _drop(self) -> None:
        if self._session is not None:
            self._session.connection.close()
            self._session = None
