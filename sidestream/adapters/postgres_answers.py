"""Answers, snapshots and leases of a PostgreSQL store: each verb is one statement, on the clock of the database.

None of them waits for the disk: a claim, a snapshot or a lease that a crash of the server takes along is only taken again.
An answer is stored by the append itself.
"""

from sidestream.adapters.postgres_append_transaction import NOW_MS
from sidestream.adapters.postgres_database import Database, escaped
from sidestream.ports import Answer, Snapshot
from sidestream.writing.answering import LONGEST_MS, Claim, answer_of_claim, check_key, ends_at

_FIND = f"SELECT request, content, until_ms, {NOW_MS} FROM answers WHERE key = %s"  # noqa: S608 - all our own text
_CLAIM = (
    f"INSERT INTO answers AS a (key, request, until_ms) VALUES (%s, %s, {NOW_MS} + %s) "  # noqa: S608 - all our own text
    "ON CONFLICT (key) DO UPDATE SET request = excluded.request, until_ms = excluded.until_ms "
    f"WHERE a.content IS NULL AND a.until_ms NOT BETWEEN {NOW_MS} + 1 AND {NOW_MS} + {LONGEST_MS}"
)
_LEASE = (
    f"INSERT INTO leases AS l VALUES (%s, %s, {NOW_MS} + %s) "  # noqa: S608 - all our own text
    "ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_ms = excluded.until_ms "
    f"WHERE l.holder = excluded.holder OR l.until_ms NOT BETWEEN {NOW_MS} + 1 AND {NOW_MS} + {LONGEST_MS}"
)
_FORGET_CLAIMS = f"DELETE FROM answers WHERE content IS NULL AND until_ms <= least(%s, {NOW_MS})"  # noqa: S608 - all our own text
_KEEP = (
    "INSERT INTO snapshots AS s VALUES (%s, %s, %s, %s) ON CONFLICT (stream) DO UPDATE SET version = excluded.version, "
    "shape = excluded.shape, state = excluded.state WHERE s.version < excluded.version OR s.shape <> excluded.shape"
)


class PostgresAnswers:
    """What commands were answered, and who has claimed which."""

    _database: Database

    def claim(self, key: str, request: bytes, seconds: float) -> Answer | None:
        """See `sidestream.ports.Answers`."""
        check_key(key, request)
        values = (escaped(key), request, ends_at(0, seconds))
        while not self._database.change(_CLAIM, values):  # somebody has it; unless that one ends right now, this says who
            for first, content, until_ms, now_ms in self._database.rows(_FIND, (escaped(key),)):
                kept = None if content is None else Answer(key, first, content)
                answer = answer_of_claim(key, request, kept, Claim(first, until_ms or 0), now_ms)
                if answer is not None:
                    return answer
        return None

    def release(self, key: str) -> None:
        """See `sidestream.ports.Answers`."""
        self._database.change("DELETE FROM answers WHERE key = %s AND content IS NULL", (escaped(key),))

    def forget_answers(self, before_ms: int) -> int:
        """See `sidestream.ports.Answers`. Claims that nobody ended are forgotten with them."""
        self._database.change(_FORGET_CLAIMS, (before_ms,))
        return self._database.change("DELETE FROM answers WHERE given_ms < %s", (before_ms,))


class PostgresSnapshots:
    """The newest snapshot of each stream."""

    _database: Database

    def snapshot(self, stream: str, shape: str) -> Snapshot | None:
        """See `sidestream.ports.Snapshots`."""
        values = (escaped(stream), escaped(shape))
        rows = self._database.rows("SELECT version, state FROM snapshots WHERE stream = %s AND shape = %s", values)
        return next((Snapshot(stream, version, shape, state) for version, state in rows), None)

    def keep_snapshot(self, snapshot: Snapshot) -> None:
        """See `sidestream.ports.Snapshots`."""
        self._database.change(_KEEP, (escaped(snapshot.stream), snapshot.version, escaped(snapshot.shape), snapshot.state))

    def drop_snapshots(self) -> int:
        """See `sidestream.ports.Snapshots`."""
        return self._database.change("DELETE FROM snapshots")


class PostgresLeases:
    """Who holds what, and until when."""

    _database: Database

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        """See `sidestream.ports.Outbox`."""
        return self._database.change(_LEASE, (escaped(name), escaped(holder), ends_at(0, seconds))) > 0

    def end_lease(self, name: str, holder: str) -> None:
        """See `sidestream.ports.Outbox`."""
        self._database.change("DELETE FROM leases WHERE name = %s AND holder = %s", (escaped(name), escaped(holder)))
