"""A schema version that the reader does not know, through the projector: parked, its stream behind it, and nothing lost.

The newer program finds all of it and applies it in order, on every read model adapter.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from sidestream.adapters.memory_log import MemoryLog
from sidestream.applying.applied import BOOKKEEPING
from sidestream.applying.dead_letters import parked_events, parked_streams, retry
from sidestream.applying.decoding import Rule
from sidestream.applying.projector import Projector
from sidestream.event import Counted, Envelope, NewEvent, encode_event
from sidestream.ports import Query, ReadModels
from sidestream.projection import Projection, Rows, Table
from sidestream.registry import Category, EventType, Registry, Upcaster

TOPIC = "accounts"


class Deposited(msgspec.Struct, frozen=True):
    """Version 1: so many euros came in."""

    euros: int


class DepositedCents(msgspec.Struct, frozen=True):
    """Version 2: so many cents came in."""

    cents: int


class Account(msgspec.Struct, frozen=True):
    subject: str
    cents: int
    history: str


ACCOUNTS = Table(Account, key=("subject",))


class Balances(Projection):
    """Adds up deposits, in order."""

    name = "balances"
    topics = (TOPIC,)
    tables = (ACCOUNTS,)

    def __init__(self, model: type[msgspec.Struct]) -> None:
        self.handles = (model,)

    def keys(self, event: Any, envelope: Envelope) -> list[tuple[Table[Any], tuple[str]]]:
        return [(ACCOUNTS, (envelope.stream,))]

    def evolve(self, rows: Rows, event: Any, envelope: Envelope) -> None:
        account = rows.get(ACCOUNTS, (envelope.stream,)) or Account(envelope.stream, 0, "")
        cents = event.cents if isinstance(event, DepositedCents) else event.euros * 100
        rows.put(ACCOUNTS, Account(account.subject, account.cents + cents, f"{account.history} {cents}".strip()))


def to_cents(data: dict[str, Any]) -> dict[str, Any]:
    return {"cents": data["euros"] * 100}


def written_by(model: type[msgspec.Struct], version: int, upcaster: Upcaster = to_cents) -> Rule:
    upcasters = dict.fromkeys(range(1, version), upcaster)
    declared = EventType("account.deposited", model, version=version, upcasters=upcasters)
    return Rule(Balances(model), Registry([Category("account", TOPIC, "/services/bank", (declared,))]))


OLD = written_by(Deposited, 1)
NEW = written_by(DepositedCents, 2)


def deposit(number: int, subject: str, version: int, schema: int, **data: object) -> bytes:
    event = NewEvent(
        topic=TOPIC,
        id=f"e{number}",
        source="/services/bank",
        type="account.deposited",
        data=msgspec.json.encode(data),
        dataschema=f"urn:sidestream:account.deposited:{schema}",
        subject=subject,
    )
    return encode_event(event, Counted("writer.1", number, version))


RECORDED = (
    deposit(1, "account-a", 1, 1, euros=1),
    deposit(2, "account-b", 1, 1, euros=5),
    deposit(3, "account-a", 2, 2, cents=250),
    deposit(4, "account-a", 3, 1, euros=3),  # an old writer that was still running
    deposit(5, "account-b", 2, 1, euros=7),
)


class Following:
    """A log, and one generation that programs of different age follow it into."""

    def __init__(self, read_models: ReadModels) -> None:
        self.log = MemoryLog()
        self.generation = read_models.open(read_models.create(1, (*BOOKKEEPING, ACCOUNTS), ""))

    def catch_up(self, rule: Rule, *wires: bytes) -> None:
        self.log.record(TOPIC, wires)
        Projector(rule, self.log, self.generation, lambda: "now").catch_up()

    @property
    def histories(self) -> dict[str, str]:
        with self.generation.snapshot() as reader:
            return {row.subject: row.history for row in reader.select(ACCOUNTS, Query(order_by=("subject",), limit=1000))}

    @property
    def parked(self) -> list[tuple[str, str]]:
        return [(event.event_id, event.reason) for event in parked_events(self.generation)]


@pytest.fixture
def following(read_models: ReadModels) -> Iterator[Following]:
    made = Following(read_models)
    yield made
    made.generation.close()


def test_an_old_program_parks_what_is_newer_than_it_and_the_stream_behind_it(following: Following) -> None:
    following.catch_up(OLD, *RECORDED)
    assert following.parked == [("e3", "unknown-schema-version"), ("e4", "behind")]
    assert following.histories == {"account-a": "100", "account-b": "500 700"}
    (letter, _) = parked_events(following.generation)
    assert letter.wire == RECORDED[2]
    assert "event e3: version 2 is newer than 1, the newest this program knows. Deploy the newer program" in letter.detail


def test_the_newer_program_drains_it_in_order_after_a_retry(following: Following) -> None:
    following.catch_up(OLD, *RECORDED)
    assert retry(OLD, following.generation, lambda: "later").freed == 0
    done = retry(NEW, following.generation, lambda: "later")
    assert (done.freed, done.applied) == (1, 2)
    assert following.parked == []
    assert not parked_streams(following.generation)
    following.catch_up(NEW, deposit(6, "account-a", 4, 2, cents=1))
    assert following.histories == {"account-a": "100 250 300 1", "account-b": "500 700"}


def test_what_was_parked_and_drained_is_what_a_rebuild_by_the_newer_program_makes(following: Following, read_models: ReadModels) -> None:
    following.catch_up(OLD, *RECORDED)
    retry(NEW, following.generation, lambda: "later")
    rebuilt = Following(read_models)
    rebuilt.catch_up(NEW, *RECORDED)
    assert rebuilt.histories == following.histories == {"account-a": "100 250 300", "account-b": "500 700"}
    rebuilt.generation.close()


def test_an_upcaster_that_raises_parks_the_event_and_no_other(following: Following) -> None:
    def picky(data: dict[str, Any]) -> dict[str, Any]:
        return to_cents(data) if data["euros"] != 3 else data["francs"]

    following.catch_up(written_by(DepositedCents, 2, picky), *RECORDED)
    assert following.parked == [("e4", "unreadable-event")]
    assert following.histories == {"account-a": "100 250", "account-b": "500 700"}
    assert "event e4: KeyError when it was read from" in parked_events(following.generation)[0].detail
    assert retry(NEW, following.generation, lambda: "later").freed == 1
    assert following.histories["account-a"] == "100 250 300"


def test_an_upcaster_that_raises_in_a_run_of_one_version_parks_the_event_and_no_other(following: Following) -> None:
    """A run of events that are alike is decoded at once; one of them must not stop the projector."""

    def picky(data: dict[str, Any]) -> dict[str, Any]:
        return to_cents(data) if data["euros"] != 77 else data["francs"]

    wires = [deposit(number, f"account-{number}", 1, 1, euros=number) for number in range(1, 200)]
    following.catch_up(written_by(DepositedCents, 2, picky), *wires)
    assert following.parked == [("e77", "unreadable-event")]
    assert len(following.histories) == 198
