"""Two replicas in two processes, two topics on one row: exact, because a transaction holds its generation from the start.

Each replica reads both topics, now the one and now the other first, as replicas do that hear of events at different moments:
so their transactions hold different topics and the same row. Each is drawn out in the middle: whatever could come
between does. Without the lock one overwrites what the other has added.
"""

import multiprocessing
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sidestream.adapters.memory_log import MemoryLog
from sidestream.adapters.postgres_read_model import PostgresReadModels
from sidestream.adapters.sqlite_read_model import SqliteReadModels
from sidestream.applying.applied import BOOKKEEPING, COUNTS
from sidestream.applying.dead_letters import parked_events
from sidestream.applying.decoding import Rule
from sidestream.applying.projector import Projector
from sidestream.event import Counted, Envelope, NewEvent, encode_event
from sidestream.ports import LogEntry, Query, ReadModels
from sidestream.projection import Projection, Rows, Table
from sidestream.registry import Category, EventType, Registry

EVENTS = 40
PAUSE_SECONDS = 0.005
Open = Callable[[], ReadModels]


class Paid(msgspec.Struct, frozen=True):
    amount: int


class Charged(msgspec.Struct, frozen=True):
    amount: int


class Balance(msgspec.Struct, frozen=True):
    owner: str
    paid: int
    charged: int


BALANCES = Table(Balance, key=("owner",))
REGISTRY = Registry(
    [
        Category("payment", "payments", "/services/till", (EventType("payment.made", Paid),)),
        Category("charge", "charges", "/services/till", (EventType("charge.made", Charged),)),
    ]
)


class Ledger(Projection):
    """Adds up what one customer paid and was charged, in one row, and takes its time over it."""

    name = "ledger"
    topics = ("payments", "charges")
    handles = (Paid, Charged)
    tables = (BALANCES,)

    def keys(self, event: Paid | Charged, envelope: Envelope) -> list[tuple[Table[Any], tuple[str]]]:
        return [(BALANCES, ("ann",))]

    def evolve(self, rows: Rows, event: Paid | Charged, envelope: Envelope) -> None:
        threading.Event().wait(PAUSE_SECONDS)  # the transaction is open, its rows are read and not written
        was = rows.get(BALANCES, ("ann",)) or Balance("ann", 0, 0)
        if isinstance(event, Paid):
            rows.put(BALANCES, Balance(was.owner, was.paid + event.amount, was.charged))
        else:
            rows.put(BALANCES, Balance(was.owner, was.paid, was.charged + event.amount))


class Heard(MemoryLog):
    """A log of both topics, of which a replica has heard in one topic only; which one changes from turn to turn."""

    def __init__(self, topics: Sequence[str]) -> None:
        super().__init__()
        self.topics = list(topics)
        for topic, word in (("payments", "payment"), ("charges", "charge")):
            self.record(topic, [_wire(topic, word, number) for number in range(1, EVENTS + 1)])

    def turn(self) -> None:
        self.topics.reverse()

    def read(self, topic: str, start: str | None, limit: int) -> Sequence[LogEntry]:
        at_the_checkpoint = 0 if start is None else 1
        return super().read(topic, start, limit if topic == self.topics[0] else at_the_checkpoint)


def _wire(topic: str, word: str, number: int) -> bytes:
    event = NewEvent(
        topic=topic,
        id=f"{word}-{number}",
        source="/services/till",
        type=f"{word}.made",
        data=msgspec.json.encode({"amount": number}),
        subject=f"{word}-{number % 7}",
    )
    return encode_event(event, Counted("till.1", number))


def _replica(open_read_models: Open, name: str, topics: Sequence[str], both_are_up: Barrier) -> None:
    """Apply one event of one topic in each transaction until both topics are at their end."""
    log = Heard(topics)
    with closing(open_read_models()) as read_models, closing(read_models.open(name)) as generation:
        projector = Projector(Rule(Ledger(), REGISTRY), log, generation, lambda: "now", 1)
        both_are_up.wait(60)
        ended = 0
        while ended < len(topics):
            ended = 0 if projector.step() is not None else ended + 1
            log.turn()


def _in_a_file(folder: Path) -> ReadModels:
    return SqliteReadModels(folder)


def _in_a_database(url: str) -> ReadModels:
    return PostgresReadModels(url, "ledger")


@pytest.fixture(params=["sqlite", "postgres"])
def open_read_models(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """What opens the same read models from any process."""
    if request.param == "sqlite":
        return partial(_in_a_file, tmp_path / "ledger")
    return partial(_in_a_database, request.getfixturevalue("postgres_database"))


def test_two_replicas_in_two_processes_and_two_topics_on_one_row_are_exact(open_read_models: Open) -> None:
    with closing(open_read_models()) as read_models:
        name = read_models.create(1, (*BOOKKEEPING, *Ledger.tables), "")
    context = multiprocessing.get_context("spawn")
    both_are_up = context.Barrier(2)
    orders = Ledger.topics, Ledger.topics[::-1]
    replicas = [context.Process(target=_replica, args=(open_read_models, name, topics, both_are_up)) for topics in orders]
    for replica in replicas:
        replica.start()
    for replica in replicas:
        replica.join()
    assert [replica.exitcode for replica in replicas] == [0, 0]
    _expect_exact(open_read_models, name)


def _expect_exact(open_read_models: Open, name: str) -> None:
    total = EVENTS * (EVENTS + 1) // 2
    with closing(open_read_models()) as read_models, closing(read_models.open(name)) as generation:
        with generation.snapshot() as reader:
            assert reader.select(BALANCES, Query()) == [Balance("ann", total, total)]
            counted = {row.topic: row.intervals for row in reader.select(COUNTS, Query())}
        assert counted == dict.fromkeys(Ledger.topics, f"1-{EVENTS}")
        assert parked_events(generation) == []
