"""A bank that counts deposits: the rule, its language, and a log with a generation and a projector over it.

What the tests of projecting and of corrections work with, on whatever read model adapter they are given.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from sidestream.adapters.memory_log import MemoryLog
from sidestream.applying.applied import BOOKKEEPING
from sidestream.applying.dead_letters import parked_events
from sidestream.applying.decoding import Rule
from sidestream.applying.projector import Projector
from sidestream.event import Counted, Envelope, NewEvent, encode_event
from sidestream.ports import Query, ReadModels
from sidestream.projection import Projection, Rows, Table
from sidestream.registry import Category, EventType, Registry


class Deposited(msgspec.Struct, frozen=True):
    amount: int


class Noted(msgspec.Struct, frozen=True):
    text: str


class Account(msgspec.Struct, frozen=True):
    subject: str
    balance: int
    history: str


ACCOUNTS = Table(Account, key=("subject",))
TOPIC = "accounts"
REGISTRY = Registry(
    [Category("account", TOPIC, "/services/bank", (EventType("account.deposited", Deposited), EventType("account.noted", Noted)))]
)


class Balances(Projection):
    """Adds up deposits; a negative one raises until it is mended."""

    name = "balances"
    topics = (TOPIC,)
    handles = (Deposited,)
    tables = (ACCOUNTS,)

    def __init__(self) -> None:
        self.mended = False

    def keys(self, event: Deposited, envelope: Envelope) -> list[tuple[Table[Any], tuple[str]]]:
        return [(ACCOUNTS, (envelope.stream,))]

    def evolve(self, rows: Rows, event: Deposited, envelope: Envelope) -> None:
        account = rows.get(ACCOUNTS, (envelope.stream,)) or Account(envelope.stream, 0, "")
        history = f"{account.history} {event.amount}"
        rows.put(ACCOUNTS, Account(account.subject, account.balance + event.amount, history))
        if event.amount < 0 and not self.mended:
            raise ValueError(f"amount {event.amount}")


class Bank:
    """A log, a generation and a projector over them, and a writer who counts."""

    def __init__(self, read_models: ReadModels) -> None:
        self.log = MemoryLog()
        self.projection = Balances()
        self.rule = Rule(self.projection, REGISTRY)
        self.read_models = read_models
        self.name = read_models.create(1, (*BOOKKEEPING, *self.projection.tables), "")
        self.generation = read_models.open(self.name)
        self.projector = self.new_projector()
        self._numbers = itertools.count(1)

    def new_projector(self, batch: int = 5000) -> Projector:
        return Projector(self.rule, self.log, self.generation, lambda: "now", batch)

    def wire(self, subject: str, amount: Any, version: int | None = None, **fields: Any) -> bytes:
        number = fields.pop("number", None) or next(self._numbers)
        event = NewEvent(
            topic=TOPIC,
            id=fields.pop("id", f"e{number}"),
            source="/services/bank",
            type=fields.pop("type", "account.deposited"),
            data=msgspec.json.encode({"amount": amount}),
            subject=subject,
            **fields,
        )
        return encode_event(event, Counted("writer.1", number, version))

    def record(self, *wires: bytes) -> None:
        self.log.record(TOPIC, wires)

    def accounts(self) -> dict[str, tuple[int, str]]:
        with self.generation.snapshot() as reader:
            rows = reader.select(ACCOUNTS, Query(order_by=("subject",)))
        return {row.subject: (row.balance, row.history.strip()) for row in rows}

    def reasons(self) -> list[str]:
        return [event.reason for event in parked_events(self.generation)]


@pytest.fixture
def bank(read_models: ReadModels) -> Iterator[Bank]:
    made = Bank(read_models)
    yield made
    made.generation.close()
