"""A database that rolls back, or that another process has locked: the batch is applied once it can be, whole and once.

The real thing each time: a deadlock between two connections of PostgreSQL, and a SQLite file whose write lock somebody else
holds, as a replica does that was frozen inside its transaction.
"""

import inspect
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from sidestream.adapters.memory_log import MemoryLog
from sidestream.adapters.postgres_read_model import PostgresReadModels
from sidestream.adapters.sqlite_generation import LOCK_SECONDS as LONGEST_WAIT
from sidestream.adapters.sqlite_read_model import SqliteReadModels
from sidestream.applying.decoding import Rule
from sidestream.applying.projector import Projector
from sidestream.errors import StoreAway, TryAgain
from sidestream.event import Envelope
from sidestream.hosting.host import ProjectionHost
from sidestream.ports import LogEntry
from sidestream.projection import Rows
from tests.contract.bank import REGISTRY, Balances, Bank, Deposited
from tests.contract.test_hosting import REGISTRY as WEB
from tests.contract.test_hosting import Hits, hits, now, wires
from tests.waiting import until

LOCK_SECONDS = 0.2


# ── again at once: a deadlock in PostgreSQL ──────────────────────────────────────────────────────────────────────────


class Interrupted(Balances):
    """A rule that lets something happen in the middle of the first transaction in which it is asked."""

    def __init__(self, happens: Callable[[], None]) -> None:
        super().__init__()
        self._happens = [happens]
        self.asked = 0

    def evolve(self, rows: Rows, event: Deposited, envelope: Envelope) -> None:
        self.asked += 1
        if self._happens:
            self._happens.pop()()
        super().evolve(rows, event, envelope)


class ReadAfter(MemoryLog):
    """A log that is read on only when an opponent, once he wants the lock, has had it: else the next try may meet him again."""

    opponent: "Opponent | None" = None

    def read(self, topic: str, start: str | None, limit: int) -> Sequence[LogEntry]:
        if self.opponent is not None and self.opponent.got_it is not None:
            self.opponent.got_it.result(60)  # raises where it is he who was rolled back
        return super().read(topic, start, limit)


class Opponent:
    """A connection that holds the row of an account, and wants the generation's lock while somebody holds that and wants the row.

    It never looks for a deadlock itself, so that it is the other one who is rolled back.
    """

    def __init__(self, url: str, schema: str, pool: ThreadPoolExecutor) -> None:
        self._connection = psycopg.connect(url, options="-c deadlock_timeout=1h")
        self._connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(schema)))
        self._connection.execute("SELECT 1 FROM account FOR UPDATE")
        self._url = url
        self._pool = pool
        self.got_it: Future[object] | None = None

    def block(self) -> None:
        """Want the generation's lock in a thread; return when the server says that it waits."""
        self.got_it = self._pool.submit(self._take_over)
        with psycopg.connect(self._url, autocommit=True) as observer:
            while not self.got_it.done() and not self._waits(observer):
                pass

    def _take_over(self) -> None:
        """Wait for the lock and let go of everything."""
        self._connection.execute("SELECT 1 FROM generation_lock FOR UPDATE")
        self._connection.rollback()

    def _waits(self, observer: psycopg.Connection[Any]) -> bool:
        pid = self._connection.info.backend_pid
        row = observer.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", (pid,)).fetchone()
        return bool(row and row[0])

    def close(self) -> None:
        self._connection.close()


def test_a_batch_that_was_rolled_back_by_a_deadlock_is_applied_at_once(postgres_database: str) -> None:
    with closing(PostgresReadModels(postgres_database, "tally")) as read_models, ThreadPoolExecutor(1) as pool:
        bank = Bank(read_models)
        bank.log = log = ReadAfter()
        bank.record(bank.wire("account-a", 1), bank.wire("account-b", 10))
        bank.new_projector().catch_up()
        with closing(Opponent(postgres_database, f"tally_{bank.name}", pool)) as opponent:
            log.opponent, rule = opponent, Interrupted(opponent.block)
            bank.record(bank.wire("account-a", 2), bank.wire("account-b", 20), bank.wire("account-a", 4))
            outcome = Projector(Rule(rule, REGISTRY), log, bank.generation, lambda: "now").step()
        assert rule.asked == 6  # every event once, and once more
        assert outcome is not None
        assert (outcome.applied, outcome.parked, outcome.duplicates) == (3, 0, 0)
        assert bank.accounts() == {"account-a": (7, "1 2 4"), "account-b": (30, "10 20")}
        assert bank.reasons() == []


# ── away: a SQLite file that somebody else has locked ────────────────────────────────────────────────────────────────


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the write lock of a generation's file from another connection, as a replica that is frozen in its transaction."""
    with closing(sqlite3.connect(file, timeout=60, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@pytest.fixture
def bank_in_a_file(tmp_path: Path) -> Iterator[Bank]:
    made = Bank(SqliteReadModels(tmp_path / "tally", LOCK_SECONDS))
    yield made
    made.generation.close()


def test_a_locked_file_is_called_away_once_it_was_waited_for_and_its_batch_is_applied_when_it_is_free(
    bank_in_a_file: Bank, tmp_path: Path
) -> None:
    bank = bank_in_a_file
    bank.record(bank.wire("account-a", 1))
    bank.projector.catch_up()
    bank.record(bank.wire("account-a", 2), bank.wire("account-b", 3))
    with locked(tmp_path / "tally" / "g1.sqlite"):
        for _ in range(2):
            with pytest.raises(StoreAway, match=r"g1\.sqlite: locked by another process for 0\.2 s: is a replica frozen\?"):
                bank.projector.step()
        assert bank.accounts() == {"account-a": (1, "1")}  # queries go on
    outcome = bank.projector.catch_up()
    assert (outcome.applied, outcome.duplicates) == (2, 0)
    assert bank.accounts() == {"account-a": (3, "1 2"), "account-b": (3, "3")}
    assert bank.reasons() == []


def test_a_lock_that_is_let_go_in_time_is_nobodys_business(tmp_path: Path) -> None:
    bank = Bank(SqliteReadModels(tmp_path / "tally"))
    bank.record(bank.wire("account-a", 1))
    with ThreadPoolExecutor(1) as pool:
        with locked(tmp_path / "tally" / "g1.sqlite"):
            stepping = pool.submit(bank.projector.step)
            wait([stepping], 0.3)  # by then one that does not wait for the lock has failed
        outcome = stepping.result(60)
    assert outcome is not None
    assert outcome.applied == 1
    assert bank.accounts() == {"account-a": (1, "1")}
    bank.generation.close()


def test_a_table_that_this_process_itself_has_locked_is_tried_again_at_once(bank_in_a_file: Bank) -> None:
    bank_in_a_file.record(bank_in_a_file.wire("account-a", 1), bank_in_a_file.wire("account-b", 1))
    bank_in_a_file.projector.catch_up()
    with pytest.raises(TryAgain, match=r"g1\.sqlite: .*table is locked"):
        drop_while_it_is_read(bank_in_a_file.generation)
    assert set(bank_in_a_file.accounts()) == {"account-a", "account-b"}


def drop_while_it_is_read(generation: Any) -> None:
    with generation.unit(), closing(generation._writer.execute("SELECT * FROM account")) as reading:
        reading.fetchone()
        generation._writer.execute("DROP TABLE account")


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a sqlite3 connection of a thread pool's thread is closed with it
async def test_an_app_beside_a_frozen_replica_says_who_it_waits_for_and_goes_on_when_it_is_gone(tmp_path: Path) -> None:
    log = MemoryLog()
    read_models = SqliteReadModels(tmp_path / "hits", LOCK_SECONDS)
    async with ProjectionHost(Hits(), WEB, log, read_models, now=now, sweep_seconds=0.02, still_seconds=0.05) as host:
        log.record("hits", wires(1, 3))
        await until(lambda: hits(host) == 3 and host.not_ready() == "")
        with locked(tmp_path / "hits" / "g1.sqlite"):
            log.record("hits", wires(4, 2))
            await until(lambda: "wedged: 2 events behind" in host.not_ready() and "locked by another process" in host.not_ready())
            assert "Restart this app" not in host.not_ready()
            assert "is a replica frozen?" in host.not_following()
            assert hits(host) == 3  # queries go on
        await until(lambda: hits(host) == 5 and host.not_ready() == "")
        assert host.not_following() == ""
        assert host.totals()["g1"].applied == 5


def test_a_lock_is_said_before_a_checkpoint_that_stands_still_is_called_wedged() -> None:
    still_seconds = inspect.signature(ProjectionHost).parameters["still_seconds"].default
    assert still_seconds >= 1.25 * LONGEST_WAIT
