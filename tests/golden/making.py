"""Makes the golden files of a release: `python -m tests.golden.making FOLDER`, run with that release's code.

A small log with every kind of thing that a generation keeps: rows, counts, a dead letter with an event behind it, an event
that waits, a stranger, a decision; an inbox; and the event store of `storing`. What must come out of the files is written down
in tests/contract/test_files_of_the_last_release.py and test_stores_of_the_last_release.py.
"""

import asyncio
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from sidestream.adapters.memory_log import MemoryLog
from sidestream.adapters.sqlite_inbox import SqliteInbox
from sidestream.adapters.sqlite_read_model import SqliteReadModels
from sidestream.applying.applied import BOOKKEEPING
from sidestream.applying.corrections import CORRECTIONS, Corrections
from sidestream.applying.dead_letters import letters_about
from sidestream.applying.decoding import Rule
from sidestream.applying.projector import Projector
from sidestream.event import Counted, Envelope, NewEvent, encode_event
from sidestream.logs.inbox import arrived
from sidestream.projection import Projection, Rows, Table
from sidestream.registry import Category, EventType, Registry
from tests.golden.storing import make_store

TOPIC = "accounts"
MADE_AT = "2026-11-21T12:00:00.000000Z"


class Deposited(msgspec.Struct, frozen=True):
    """Money came in."""

    amount: int


class Account(msgspec.Struct, frozen=True):
    """What was paid in; every type of column is there."""

    subject: str
    balance: int
    share: float
    large: bool
    digest: bytes
    note: str | None


ACCOUNTS = Table(Account, key=("subject",), indexes=[("balance", "subject")])
LANGUAGE = Registry([Category("account", TOPIC, "/services/bank", (EventType("account.deposited", Deposited),))])


class Balances(Projection):
    """Adds up deposits; a negative one raises."""

    name = "balances"
    topics = (TOPIC,)
    handles = (Deposited,)
    tables = (ACCOUNTS,)

    def keys(self, event: Deposited, envelope: Envelope) -> list[tuple[Table[Any], tuple[str]]]:
        """Name the account."""
        return [(ACCOUNTS, (envelope.stream,))]

    def evolve(self, rows: Rows, event: Deposited, envelope: Envelope) -> None:
        """Add the deposit."""
        if event.amount < 0:
            raise ValueError(f"amount {event.amount}")
        before = rows.get(ACCOUNTS, (envelope.stream,))
        balance = event.amount + (before.balance if before else 0)
        note = None if before is None else f"after {before.balance}"
        rows.put(ACCOUNTS, Account(envelope.stream, balance, balance / 3, balance > 100, bytes([balance % 256, 0]), note))


def wire(number: int, subject: str, amount: int, version: int) -> bytes:
    """Return one deposit as it stands in the log."""
    event = NewEvent(
        topic=TOPIC,
        id=f"e{number}",
        source="/services/bank",
        type="account.deposited",
        data=msgspec.json.encode({"amount": amount}),
        dataschema="urn:sidestream:account.deposited:1",
        subject=subject,
    )
    return encode_event(event, Counted("writer.1", number, version))


STRANGER = b'{"specversion":"1.0","id":"x1","source":"/curl","type":"account.deposited","data":{"amount":4}}'
RECORDED: Sequence[bytes] = (
    wire(1, "account-a", 2**53 + 1, 1),
    wire(2, "account-b", 40, 1),
    wire(3, "account-a", 5, 2),
    wire(4, "account-c", -7, 1),  # raises
    wire(5, "account-c", 8, 2),  # behind it
    wire(6, "account-d", 3, 2),  # waits for version 1
    STRANGER,
)


def log() -> MemoryLog:
    """Return a log that holds what was recorded."""
    made = MemoryLog()
    made.record(TOPIC, RECORDED)
    return made


def make_generations(folder: Path) -> None:
    """Build a generation, make it live, and record a decision about the event that raises."""
    read_models = SqliteReadModels(folder)
    name = read_models.create(1, (*BOOKKEEPING, ACCOUNTS), MADE_AT)
    with closing(read_models.open(name)) as generation:
        Projector(Rule(Balances(), LANGUAGE), log(), generation, lambda: MADE_AT).catch_up()
        (letter,) = letters_about(generation, "e4")
    read_models.mark_ready(name)
    read_models.switch(name)
    with closing(Corrections(read_models.beside((CORRECTIONS,)))) as corrections:
        corrections.record(letter.correction("skip", who="ann", why="typing error", at=MADE_AT))
    read_models.close()


def make_inbox(path: Path) -> None:
    """Append all in two deliveries, and trim the first entry."""
    inbox = SqliteInbox(path, clock_ms=lambda: 1_795_262_400_000)
    inbox.append(TOPIC, arrived(RECORDED[:3]))
    inbox.append(TOPIC, arrived(RECORDED[2:]))
    inbox.trim(TOPIC, "1")
    inbox.close()


def make_small(path: Path) -> None:
    """Leave one file behind, without the write-ahead log that WAL lays beside it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def main() -> None:
    """Make the files in the folder that is named."""
    folder = Path(sys.argv[1])
    make_generations(folder / "generations")
    make_inbox(folder / "inbox.sqlite")
    asyncio.run(make_store(folder))
    for path in folder.rglob("*.sqlite"):
        make_small(path)


if __name__ == "__main__":
    main()
