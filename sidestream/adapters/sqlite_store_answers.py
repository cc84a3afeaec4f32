"""Answers, snapshots and leases of an event store in SQLite.

An answer is stored by the append that it belongs to. All else here is written without waiting for the disk: a power cut that
takes a claim or a lease back has ended its holder too, and a snapshot is a cache.
"""

import sqlite3
from typing import Final

from sidestream.adapters.sqlite_store_file import StoreFile, findable
from sidestream.adapters.sqlite_store_reading import bounded
from sidestream.ports import Answer, Snapshot
from sidestream.writing.answering import LONGEST_MS, Claim, answer_of_claim, check_answer, check_key, ends_at

_CLAIM: Final = "INSERT OR REPLACE INTO answers (key, request, until_ms) VALUES (?, ?, ?)"
_ANSWER: Final = "INSERT OR REPLACE INTO answers (key, request, content, answered_ms) VALUES (?, ?, ?, ?)"
_FORGET: Final = "DELETE FROM answers WHERE rowid IN (SELECT rowid FROM answers WHERE answered_ms < ? LIMIT ?)"
_FORGET_AT_ONCE: Final = 1000
"""Writers wait while answers are forgotten; so they are in slices."""
_KEEP: Final = """
INSERT INTO snapshots (stream, version, shape, state) VALUES (?, ?, ?, ?)
ON CONFLICT (stream) DO UPDATE SET version = excluded.version, shape = excluded.shape, state = excluded.state
WHERE excluded.version > version OR excluded.shape <> shape
"""
_LEASE: Final = """
INSERT INTO leases (name, holder, until_ms) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_ms = excluded.until_ms
WHERE holder = excluded.holder OR until_ms NOT BETWEEN ? + 1 AND ?
"""


def store_answer(connection: sqlite3.Connection, answer: Answer, now_ms: int) -> None:
    """Store an answer in the transaction that the caller began; it ends its claim.

    Raises:
        AlreadyAnswered, KeyReused: see `sidestream.writing.answering.check_answer`.
    """
    kept, claim = _known(connection, answer.key)
    check_answer(answer, kept, claim, now_ms)
    connection.execute(_ANSWER, (answer.key, answer.request, answer.content, now_ms))


def _known(connection: sqlite3.Connection, key: str) -> tuple[Answer | None, Claim | None]:
    found = connection.execute("SELECT request, content, until_ms FROM answers WHERE key = ?", (key,)).fetchone()
    if found is None:
        return None, None
    request, content, until_ms = found
    return (Answer(key, request, content), None) if until_ms is None else (None, Claim(request, until_ms))


class SqliteAnswers(StoreFile):
    """What commands were answered, and which are running."""

    def claim(self, key: str, request: bytes, seconds: float) -> Answer | None:
        """See `sidestream.ports.Answers`."""
        check_key(key, request)
        with self._writing_lightly() as writer:
            now_ms = self._clock_ms()
            until_ms = ends_at(now_ms, seconds)
            answer = answer_of_claim(key, request, *_known(writer, key), now_ms)
            if answer is None:
                writer.execute(_CLAIM, (key, request, until_ms))
            return answer

    def release(self, key: str) -> None:
        """See `sidestream.ports.Answers`."""
        with self._writing_lightly() as writer:
            writer.execute("DELETE FROM answers WHERE key = ? AND answered_ms IS NULL", (findable(key),))

    def forget_answers(self, before_ms: int) -> int:
        """See `sidestream.ports.Answers`. Claims that nobody ended are forgotten with them."""
        with self._writing_lightly() as writer:
            over_ms = min(bounded(before_ms), self._clock_ms())
            writer.execute("DELETE FROM answers WHERE answered_ms IS NULL AND until_ms <= ?", (over_ms,))
        forgotten = 0
        while some := self._forget_some(before_ms):
            forgotten += some
        return forgotten

    def _forget_some(self, before_ms: int) -> int:
        with self._writing_lightly() as writer:
            return writer.execute(_FORGET, (bounded(before_ms), _FORGET_AT_ONCE)).rowcount


class SqliteSnapshots(StoreFile):
    """The newest snapshot of each stream."""

    def snapshot(self, stream: str, shape: str) -> Snapshot | None:
        """See `sidestream.ports.Snapshots`."""
        which = "SELECT stream, version, shape, state FROM snapshots WHERE stream = ? AND shape = ?"
        found = self._rows(which, (findable(stream), findable(shape)))
        return Snapshot(*found[0]) if found else None

    def keep_snapshot(self, snapshot: Snapshot) -> None:
        """See `sidestream.ports.Snapshots`."""
        with self._writing_lightly() as writer:
            writer.execute(_KEEP, (snapshot.stream, snapshot.version, snapshot.shape, snapshot.state))

    def drop_snapshots(self) -> int:
        """See `sidestream.ports.Snapshots`."""
        with self._writing_lightly() as writer:
            return writer.execute("DELETE FROM snapshots").rowcount


class SqliteLeases(StoreFile):
    """Who holds what, and until when by the machine's clock."""

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        """See `sidestream.ports.Outbox`."""
        with self._writing_lightly() as writer:
            now_ms = self._clock_ms()
            return writer.execute(_LEASE, (name, holder, ends_at(now_ms, seconds), now_ms, now_ms + LONGEST_MS)).rowcount == 1

    def end_lease(self, name: str, holder: str) -> None:
        """See `sidestream.ports.Outbox`."""
        with self._writing_lightly() as writer:
            writer.execute("DELETE FROM leases WHERE name = ? AND holder = ?", (findable(name), findable(holder)))
