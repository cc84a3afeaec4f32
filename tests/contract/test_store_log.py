"""What only the log of event stores has: its identity, several stores, and projections rebuilt from it."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.adapters.memory_log import MemoryLog
from sidestream.adapters.memory_read_model import MemoryReadModels
from sidestream.adapters.store_log import StoreLog
from sidestream.applying.applied import BOOKKEEPING, PARKED_EVENTS
from sidestream.applying.batch import Outcome
from sidestream.applying.decoding import Rule
from sidestream.applying.projector import Projector
from sidestream.errors import ForeignPosition, HistoryTrimmed, LogUnavailable, StoreAway
from sidestream.event import Envelope, NewEvent
from sidestream.identifiers import new_id
from sidestream.ports import Append, EventLog, Query, ServiceStore
from sidestream.projection import Key, Projection, Rows, Table
from sidestream.publishing.relay import Relay
from sidestream.registry import Category, EventType, Registry
from tests.contract.stores import ADAPTERS, event, facts, open_store, to
from tests.faulty_publisher import FaultyPublisher
from tests.waiting import until


@pytest.fixture(params=ADAPTERS)
def store(request: pytest.FixtureRequest) -> Iterator[ServiceStore]:
    made = open_store(request.param, request)
    yield made
    made.close()


def test_an_entry_is_the_wire_at_the_stores_own_position(store: ServiceStore) -> None:
    store.append([facts(event(topic="votes"))])
    (stored,) = store.append([to("order-1", event("order-1"))])
    (entry,) = StoreLog(store).read("orders", None, 10)
    assert (entry.position, entry.data, entry.recorded_ms) == ("2", stored.wire, stored.recorded_ms)


def test_the_identity_is_the_stores_and_outlives_its_epoch(store: ServiceStore) -> None:
    store.append([facts(event("x"))])
    identity = StoreLog(store).extent("orders").identity
    store.begin_epoch()
    assert StoreLog(store).extent("orders").identity == identity == store.producer.partition(".")[0]
    assert identity != MemoryEventStore().producer.partition(".")[0]


def test_several_stores_are_one_log_of_all_their_topics(store: ServiceStore) -> None:
    other = MemoryEventStore()
    (mine,), (theirs,) = store.append([facts(event("x"))]), other.append([facts(event("y", topic="votes"))])
    log = StoreLog(store, other)
    assert [entry.data for topic in ("orders", "votes", "nobody") for entry in log.read(topic, None, 10)] == [mine.wire, theirs.wire]
    assert log.extent("votes").identity == other.producer.partition(".")[0]


def test_a_topic_that_two_stores_keep_has_no_order_and_is_refused(store: ServiceStore) -> None:
    other = MemoryEventStore()
    for each in (store, other):
        each.append([facts(event("x"))])
    with pytest.raises(LogUnavailable, match="topic orders: expected one store that keeps it, found .* and .*"):
        StoreLog(store, other).read("orders", None, 1)


def test_a_position_of_another_kind_of_log_is_refused(store: ServiceStore) -> None:
    for wrong in ("1-0", "", "-1", "٣"):
        with pytest.raises(ForeignPosition, match="another kind of log"):
            StoreLog(store).compare(wrong, "1")
    with pytest.raises(ForeignPosition, match="another kind of log"):
        StoreLog(store).read("orders", "1-0", 1)


def test_a_store_that_is_away_is_a_log_that_is_unavailable() -> None:
    class Away(MemoryEventStore):
        def count_topic(self, topic: str) -> int:
            raise StoreAway("the database is away")

    log = StoreLog(Away())
    for ask in (lambda: log.read("orders", None, 1), lambda: log.read_back("orders", None, 1), lambda: log.extent("orders")):
        with pytest.raises(LogUnavailable, match="topic orders: the database is away"):
            ask()


# ── a projection follows the store ───────────────────────────────────────────────────────────────────────────────────


class Paid(msgspec.Struct, frozen=True):
    amount: int


class Account(msgspec.Struct, frozen=True):
    account: str
    history: str


ACCOUNTS = Table(Account, key=("account",))
REGISTRY = Registry([Category("account", "accounts", "/services/bank", (EventType("paid", Paid),))])


class Balances(Projection):
    """Every amount in the order of its account: an event lost, doubled or out of place shows."""

    name = "balances"
    topics = ("accounts",)
    handles = (Paid,)
    tables = (ACCOUNTS,)

    def keys(self, event: Paid, envelope: Envelope) -> list[tuple[Table[Any], Key]]:
        return [(ACCOUNTS, (envelope.stream,))]

    def evolve(self, rows: Rows, event: Paid, envelope: Envelope) -> None:
        account = rows.get(ACCOUNTS, (envelope.stream,)) or Account(envelope.stream, "")
        rows.put(ACCOUNTS, Account(account.account, f"{account.history} {event.amount}"))


def pay(account: str, *amounts: int) -> Append:
    events = (
        NewEvent(topic="accounts", id=new_id(), source="/services/bank", type="paid", data=b'{"amount":%d}' % amount, subject=account)
        for amount in amounts
    )
    return Append(account, tuple(events))


def built_from(log: EventLog) -> tuple[list[Account], int]:
    """Rows of a projection built from nothing, and how many events it parked."""
    models = MemoryReadModels()
    generation = models.open(models.create(1, (*BOOKKEEPING, ACCOUNTS), ""))
    projector = Projector(Rule(Balances(), REGISTRY), log, generation, lambda: "now", 7)
    projector.catch_up()
    with generation.snapshot() as reader:
        return list(reader.select(ACCOUNTS, Query(order_by=("account",)))), reader.count(PARKED_EVENTS)


def of_the_page() -> str:
    """The example of docs/event-store.md."""
    page = (Path(__file__).parents[2] / "docs/event-store.md").read_text()
    (example,) = re.findall(r"```python\n(from sidestream\.adapters\.store_log .*?)```", page, re.DOTALL)
    return str(example)


class Beside:
    """A projection that was built from a store by the example, and a broker's log that holds the store's events at other places."""

    def __init__(self, store: ServiceStore) -> None:
        self.store, self.log, self.models = store, MemoryLog(), MemoryReadModels()
        for number in range(3):
            store.append([facts(event("x")), pay("account-a", number)])
        names = {"projection": Balances(), "registry": REGISTRY, "store": store, "read_models": self.models, "now": lambda: "now"}
        exec(of_the_page(), names)
        self.rebuilt: Any = names["rebuilt"]

    def publish(self) -> None:
        self.log.record("accounts", [stored.wire for stored in self.store.read_topic("accounts", 0, 100)])

    def follow_the_broker(self) -> Outcome:
        with closing(self.models.open(self.rebuilt.generation)) as generation:
            return Projector(Rule(Balances(), REGISTRY), self.log, generation, lambda: "now").catch_up()

    @property
    def rows(self) -> list[Account]:
        with closing(self.models.open(self.rebuilt.generation)) as generation, generation.snapshot() as reader:
            return list(reader.select(ACCOUNTS, Query(order_by=("account",))))


def test_the_example_of_the_page_builds_a_read_model_from_the_store_that_goes_on_from_the_broker(store: ServiceStore) -> None:
    beside = Beside(store)
    assert (beside.rebuilt.live, beside.rows) == (True, [Account("account-a", " 0 1 2")])

    store.append([pay("account-a", 3)])
    beside.publish()
    outcome = beside.follow_the_broker()

    assert (outcome.duplicates, beside.rows) == (3, [Account("account-a", " 0 1 2 3")])
    assert beside.follow_the_broker().duplicates == 0, "the broker's log was read from its start once"


def test_what_was_built_from_a_store_does_not_go_on_from_a_trimmed_log(store: ServiceStore) -> None:
    beside = Beside(store)
    for _ in range(3):  # as a log that is much longer than the store
        beside.publish()
    beside.log.trim("accounts", "8")
    with pytest.raises(HistoryTrimmed):
        beside.follow_the_broker()
    assert beside.rows == [Account("account-a", " 0 1 2")]


async def test_a_projection_built_from_the_store_is_the_one_built_from_what_its_relay_published(store: ServiceStore) -> None:
    for round_ in range(10):
        store.append([pay(f"account-{number}", round_ * 10 + number, -number) for number in range(5)])
    log = MemoryLog()
    async with Relay(store, FaultyPublisher(log, seed=7, failing=0.2), sweep_seconds=0.05, retry_seconds=0.01):
        await until(lambda: sum(store.backlog().values()) == 0)
    by_hand = [Account(f"account-{number}", "".join(f" {round_ * 10 + number} {-number}" for round_ in range(10))) for number in range(5)]
    assert built_from(StoreLog(store)) == built_from(log) == (by_hand, 0)
