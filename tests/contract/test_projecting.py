"""One batch, one transaction: what becomes of every kind of event, on every read model adapter."""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from sidestream.adapters.memory_log import MemoryLog
from sidestream.applying.applied import BOOKKEEPING, COUNTS, PARKED_EVENTS
from sidestream.applying.dead_letters import parked_events, parked_streams, retry
from sidestream.applying.projector import Projector
from sidestream.applying.rules import Rule
from sidestream.errors import ForeignPosition, HistoryTrimmed, RefusedByStore
from sidestream.event import Counted, Envelope, NewEvent, encode_event
from sidestream.ports import Generation, LogEntry, Query, ReadModels, Unit
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


def test_events_are_applied_in_log_order(bank: Bank) -> None:
    bank.record(bank.wire("account-a", 1), bank.wire("account-b", 10), bank.wire("account-a", 2))
    outcome = bank.projector.catch_up()
    assert bank.accounts() == {"account-a": (3, "1 2"), "account-b": (10, "10")}
    assert (outcome.applied, outcome.duplicates, outcome.parked) == (3, 0, 0)


def test_a_duplicate_leaves_the_read_model_as_it_was(bank: Bank) -> None:
    first, second = bank.wire("account-a", 1), bank.wire("account-a", 2)
    bank.record(first, first, second)
    bank.projector.catch_up()
    bank.record(second, first)
    outcome = bank.new_projector().catch_up()
    assert bank.accounts() == {"account-a": (3, "1 2")}
    assert outcome.duplicates == 2


def test_a_number_used_for_two_events_is_an_error_with_a_name(bank: Bank) -> None:
    bank.record(bank.wire("account-a", 1, number=1, id="one"), bank.wire("account-a", 5, number=1, id="other"))
    bank.projector.catch_up()
    (parked,) = parked_events(bank.generation)
    assert parked.reason == "number-reused"
    assert "one" in parked.detail
    assert "other" in parked.detail
    bank.record(bank.wire("account-a", 7, number=2))
    bank.projector.catch_up()
    assert bank.accounts() == {"account-a": (8, "1 7")}  # its stream goes on


def test_a_hole_in_the_count_is_not_waited_for_and_can_be_filled(bank: Bank) -> None:
    bank.record(bank.wire("account-a", 1, number=1), bank.wire("account-a", 3, number=3))
    bank.projector.catch_up()
    bank.record(bank.wire("account-a", 2, number=2), bank.wire("account-a", 3, number=3))
    bank.projector.catch_up()
    assert bank.accounts() == {"account-a": (6, "1 3 2")}
    with bank.generation.snapshot() as reader:
        assert [row.intervals for row in reader.select(COUNTS, Query())] == ["1-3"]


def test_a_strangers_event_is_taken_once(bank: Bank) -> None:
    stranger = b'{"specversion":"1.0","id":"x1","source":"/curl","type":"account.deposited","data":{"amount":4}}'
    bank.record(stranger, stranger)
    bank.projector.catch_up()
    bank.record(stranger, stranger.replace(b"/curl", b"/other"))
    bank.projector.catch_up()
    assert bank.accounts() == {"/curl x1": (4, "4"), "/other x1": (4, "4")}


def test_an_event_that_comes_early_waits_for_its_predecessor(bank: Bank) -> None:
    bank.record(bank.wire("account-a", 1, 1), bank.wire("account-a", 4, 4), bank.wire("account-a", 3, 3), bank.wire("account-b", 9, 1))
    bank.projector.catch_up()
    assert bank.accounts() == {"account-a": (1, "1"), "account-b": (9, "9")}
    (stream,) = parked_streams(bank.generation)
    assert stream.waiting_for == 2
    bank.record(bank.wire("account-a", 2, 2))
    outcome = bank.new_projector().catch_up()
    assert bank.accounts()["account-a"] == (10, "1 2 3 4")
    assert outcome.released == 2
    assert not parked_streams(bank.generation)


def test_a_version_given_twice_is_an_error_with_a_name(bank: Bank) -> None:
    bank.record(bank.wire("account-a", 1, 1), bank.wire("account-a", 5, 1), bank.wire("account-a", 2, 2))
    bank.projector.catch_up()
    assert bank.reasons() == ["version-reused"]
    assert bank.accounts() == {"account-a": (3, "1 2")}


def test_a_poison_event_parks_its_stream_and_no_other(bank: Bank) -> None:
    bank.record(bank.wire("account-a", 1, 1), bank.wire("account-a", -5, 2), bank.wire("account-a", 3, 3), bank.wire("account-b", 9, 1))
    outcome = bank.projector.catch_up()
    assert bank.accounts() == {"account-a": (1, "1"), "account-b": (9, "9")}
    assert bank.reasons() == ["rule-failed", "behind"]
    assert (outcome.applied, outcome.parked) == (2, 2)
    failed = parked_events(bank.generation)[0]
    assert "ValueError: amount -5" in failed.detail
    assert failed.attempts == 1
    assert msgspec.json.decode(failed.wire)["id"] == "e2"


def test_a_retry_after_a_mended_rule_drains_in_order(bank: Bank) -> None:
    bank.record(bank.wire("account-a", -5), bank.wire("account-a", 3), bank.wire("account-b", -1))
    bank.projector.catch_up()
    again = retry(bank.rule, bank.generation, lambda: "later")
    assert (again.freed, again.applied) == (0, 0)
    assert parked_events(bank.generation)[0].attempts == 2
    bank.projection.mended = True
    done = retry(bank.rule, bank.generation, lambda: "later")
    assert (done.tried, done.freed, done.applied) == (2, 2, 3)
    assert bank.accounts() == {"account-a": (-2, "-5 3"), "account-b": (-1, "-1")}
    bank.record(bank.wire("account-a", 7))
    bank.projector.catch_up()  # remembers the stream as parked, and must notice that it is not any more
    assert bank.accounts()["account-a"] == (5, "-5 3 7")


def test_a_retry_stops_at_the_next_event_that_fails(bank: Bank) -> None:
    bank.record(bank.wire("account-a", -5, 1), bank.wire("account-a", 3, 2))
    bank.record(
        encode_event(
            NewEvent(topic=TOPIC, id="bad", source="/services/bank", type="account.deposited", data=b"[]", subject="account-a"),
            Counted("writer.1", 3, 3),
        )
    )
    bank.projector.catch_up()
    bank.projection.mended = True
    done = retry(bank.rule, bank.generation, lambda: "later", stream="account-a")
    assert (done.freed, done.applied) == (0, 2)
    assert bank.accounts() == {"account-a": (-2, "-5 3")}
    assert bank.reasons() == ["unreadable-event"]


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'"text"',
        b'{"id":"1"}',
        b'{"id":"1","source":"","type":"t"}',
        b'{"id":"1","source":"s","type":"t","producer":"p","sequence":"0"}',
    ],
)
def test_an_entry_that_cannot_be_read_is_a_dead_letter_and_holds_up_nothing(bank: Bank, garbage: bytes) -> None:
    bank.record(garbage, bank.wire("account-a", 1))
    bank.projector.catch_up()
    bank.projector.catch_up()
    assert bank.accounts() == {"account-a": (1, "1")}
    (parked,) = parked_events(bank.generation)
    assert (parked.reason, parked.position, parked.wire) == ("unreadable-entry", "1", garbage)


def test_a_schema_version_from_the_future_is_parked_not_lost(bank: Bank) -> None:
    bank.record(bank.wire("account-a", 1, dataschema="urn:sidestream:account.deposited:2"), bank.wire("account-b", 2))
    bank.projector.catch_up()
    assert bank.reasons() == ["unknown-schema-version"]
    assert bank.accounts() == {"account-b": (2, "2")}


def test_an_event_type_that_is_not_handled_moves_its_stream_on(bank: Bank) -> None:
    bank.record(bank.wire("account-a", 1, 1), bank.wire("account-a", 0, 2, type="account.noted"), bank.wire("account-a", 3, 3))
    outcome = bank.projector.catch_up()
    assert bank.accounts() == {"account-a": (4, "1 3")}
    assert outcome.unhandled == 1


def test_an_event_the_database_refuses_is_parked_and_the_others_flow(bank: Bank, request: pytest.FixtureRequest) -> None:
    if "memory" in request.node.name:
        return  # Python holds any integer: there is nothing to refuse
    wires = [bank.wire(f"account-{at}", 2**63 if at == 37 else at) for at in range(100)]
    bank.record(*wires)
    bank.projector.catch_up()
    assert len(bank.accounts()) == 99
    (parked,) = parked_events(bank.generation)
    assert (parked.stream, parked.reason) == ("account-37", RefusedByStore.code)


def test_text_no_database_likes_arrives_unchanged(bank: Bank) -> None:
    bank.record(bank.wire("account-\x00🎈\ufdd0", 1, id="\x00"))
    bank.projector.catch_up()
    assert bank.accounts() == {"account-\x00🎈\ufdd0": (1, "1")}


def test_another_log_under_the_same_name_does_not_take_the_read_model_back(bank: Bank) -> None:
    wires = [bank.wire("account-a", amount) for amount in (1, 2, 3)]
    bank.record(*wires)
    bank.projector.catch_up()
    bank.log.flush(TOPIC)
    bank.projector.catch_up()
    bank.record(*wires[:2], bank.wire("account-a", 4), wires[2])
    outcome = bank.new_projector().catch_up()
    assert bank.accounts() == {"account-a": (10, "1 2 3 4")}
    assert outcome.duplicates == 3


class OtherKind(MemoryLog):
    """Positions of another kind than those that were noted."""

    def read(self, topic: str, start: str | None, limit: int) -> Sequence[LogEntry]:
        if start is not None and not start.startswith("at "):
            raise ForeignPosition(f"{start} is of another kind of log")
        found = super().read(topic, start and start.removeprefix("at "), limit)
        return [msgspec.structs.replace(entry, position=f"at {entry.position}") for entry in found]


def test_a_log_that_moved_to_another_kind_of_broker_is_read_from_its_start_and_the_counts_skip(bank: Bank) -> None:
    wires = [bank.wire("account-a", amount) for amount in (1, 2, 3)]
    bank.record(*wires)
    bank.projector.catch_up()
    bank.log = OtherKind()
    assert bank.new_projector().catch_up().counted == 0, "nothing stands there yet"
    bank.record(*wires, bank.wire("account-a", 4))
    outcome = bank.new_projector().catch_up()
    assert bank.accounts() == {"account-a": (10, "1 2 3 4")}
    assert outcome.duplicates == 3
    assert bank.new_projector().catch_up().duplicates == 0, "it goes on where it was"


def test_a_log_trimmed_beyond_the_checkpoint_is_an_error_never_a_silent_skip(bank: Bank) -> None:
    bank.record(*(bank.wire("account-a", amount) for amount in (1, 2, 3, 4)))
    bank.new_projector(batch=1).step()
    bank.log.trim(TOPIC, "2")
    with pytest.raises(HistoryTrimmed, match=r"after 1.*trimmed up to 2"):
        bank.new_projector().catch_up()
    assert bank.accounts() == {"account-a": (1, "1")}


def test_a_log_trimmed_up_to_the_checkpoint_goes_on(bank: Bank) -> None:
    bank.record(*(bank.wire("account-a", amount) for amount in (1, 2)))
    bank.projector.catch_up()
    bank.record(bank.wire("account-a", 3))
    bank.log.trim(TOPIC, "2")
    bank.new_projector().catch_up()
    assert bank.accounts() == {"account-a": (6, "1 2 3")}


def test_where_history_was_trimmed_the_first_version_seen_is_the_beginning(bank: Bank) -> None:
    bank.record(*(bank.wire("account-a", version, version) for version in (1, 2, 3, 4)))
    bank.log.trim(TOPIC, "2")
    bank.projector.catch_up()
    assert bank.accounts() == {"account-a": (7, "3 4")}
    assert not parked_streams(bank.generation)


def test_two_projectors_of_one_generation_apply_every_event_once(bank: Bank) -> None:
    bank.record(*(bank.wire(f"account-{at % 10}", 1) for at in range(500)))
    projectors = [Projector(bank.rule, bank.log, bank.read_models.open(bank.name), lambda: "now", 7) for _ in range(2)]
    run = _until_the_end
    threads = [threading.Thread(target=run, args=(projector,)) for projector in projectors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {balance for balance, _ in bank.accounts().values()} == {50}


def _until_the_end(projector: Projector) -> None:
    projector.catch_up()


def test_a_crash_before_the_commit_is_a_rollback(bank: Bank) -> None:
    bank.record(bank.wire("account-a", 1), bank.wire("account-a", 2))
    crashing = Projector(bank.rule, bank.log, _Crashing(bank.generation), lambda: "now")
    with pytest.raises(KeyboardInterrupt):
        crashing.step()
    assert bank.accounts() == {}
    crashing.catch_up()
    assert bank.accounts() == {"account-a": (3, "1 2")}


class _Crashing:
    """A generation whose first transaction is interrupted at its very end."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._interrupts = [KeyboardInterrupt()]
        self.name = generation.name
        self.snapshot: Callable[..., Any] = generation.snapshot
        self.close: Callable[..., None] = generation.close

    def unit(self) -> Any:
        return _InterruptedUnit(self._generation.unit(), self._interrupts)


class _InterruptedUnit:
    def __init__(self, inner: Any, interrupts: list[KeyboardInterrupt]) -> None:
        self._inner = inner
        self._interrupts = interrupts

    def __enter__(self) -> Any:
        return self._inner.__enter__()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> Any:
        if self._interrupts:
            interrupt = self._interrupts.pop()
            self._inner.__exit__(KeyboardInterrupt, interrupt, None)
            raise interrupt
        return self._inner.__exit__(kind, error, trace)


def test_an_event_whose_data_cannot_be_read_stays_parked_when_it_is_retried(bank: Bank) -> None:
    bank.record(bank.wire("account-a", "five"), bank.wire("account-a", 1))
    bank.projector.catch_up()
    done = retry(bank.rule, bank.generation, lambda: "later")
    assert (done.freed, done.applied) == (0, 0)
    assert bank.reasons() == ["unreadable-event", "behind"]
    assert bank.accounts() == {}


def test_an_unreadable_entry_that_becomes_readable_is_counted_when_it_is_retried(bank: Bank) -> None:
    good = bank.wire("account-a", 1)
    bank.record(b"{")
    bank.projector.catch_up()
    with bank.generation.unit() as unit:
        (parked,) = unit.select(PARKED_EVENTS, Query())
        unit.write(PARKED_EVENTS, [msgspec.structs.replace(parked, wire=good)])
    retry(bank.rule, bank.generation, lambda: "later")
    bank.record(good)
    bank.new_projector().catch_up()
    assert bank.accounts() == {"account-a": (1, "1")}


# ── what is remembered between transactions ──────────────────────────────────────────────────────────────────────────


def test_rows_that_another_process_wrote_meanwhile_are_read_again(bank: Bank) -> None:
    bank.record(bank.wire("account-a", 1))
    other = bank.new_projector()
    bank.projector.catch_up()
    bank.record(bank.wire("account-a", 2))
    other.catch_up()
    bank.record(bank.wire("account-a", 4))
    for _ in range(2):  # the first finds that somebody was faster
        bank.projector.catch_up()
    assert bank.accounts() == {"account-a": (7, "1 2 4")}


def test_rows_that_a_retry_wrote_meanwhile_are_read_again(bank: Bank) -> None:
    bank.record(bank.wire("account-a", 1, 1), bank.wire("account-a", -5, 2))
    bank.projector.catch_up()
    bank.projection.mended = True
    retry(bank.rule, bank.generation, lambda: "later")  # the checkpoint stands where it stood
    bank.record(bank.wire("account-a", 7, 3))
    bank.projector.catch_up()
    assert bank.accounts() == {"account-a": (3, "1 -5 7")}


def test_rows_of_a_transaction_that_was_rolled_back_are_forgotten(bank: Bank) -> None:
    bank.record(bank.wire("account-a", 1))
    bank.projector.catch_up()
    crashing = Projector(bank.rule, bank.log, _Crashing(bank.generation), lambda: "now")
    bank.record(bank.wire("account-a", 2))
    with pytest.raises(KeyboardInterrupt):
        crashing.step()
    crashing.catch_up()
    assert bank.accounts() == {"account-a": (3, "1 2")}


def test_rows_are_kept_from_one_transaction_to_the_next_and_not_read_again(bank: Bank) -> None:
    counting = _CountingReads(bank.generation)
    projector = Projector(bank.rule, bank.log, counting, lambda: "now")
    for amount in (1, 2, 3):
        bank.record(bank.wire("account-a", amount), bank.wire("account-b", amount))
        projector.catch_up()
    assert bank.accounts() == {"account-a": (6, "1 2 3"), "account-b": (6, "1 2 3")}
    assert counting.rows_read == 2


def test_rows_that_weigh_too_much_are_not_kept(bank: Bank) -> None:
    counting = _CountingReads(bank.generation)
    projector = Projector(bank.rule, bank.log, counting, lambda: "now", keep_bytes=1)
    for amount in (1, 2, 3):
        bank.record(bank.wire("account-a", amount))
        projector.catch_up()
    assert bank.accounts() == {"account-a": (6, "1 2 3")}
    assert counting.rows_read == 3


class _CountingReads:
    """A generation that counts which rows of the rule are read in its transactions."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self.rows_read = 0
        self.name = generation.name
        self.snapshot: Callable[..., Any] = generation.snapshot
        self.close: Callable[..., None] = generation.close

    @contextmanager
    def unit(self) -> Iterator[Unit]:
        with self._generation.unit() as unit:
            yield _CountingUnit(unit, self)


class _CountingUnit:
    def __init__(self, unit: Unit, counting: _CountingReads) -> None:
        self._unit = unit
        self._counting = counting
        self.select, self.count, self.write = unit.select, unit.count, unit.write
        self.delete, self.keep_newest = unit.delete, unit.keep_newest

    def read(self, table: Table[Any], keys: Any) -> Any:
        wanted = list(keys)
        self._counting.rows_read += len(wanted) if table is ACCOUNTS else 0
        return self._unit.read(table, wanted)


# ── the database refuses what a waiting event brings ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("refused", [2, 3, 4, 5])
def test_of_events_that_are_applied_together_the_one_that_the_database_refuses_is_blamed(
    bank: Bank, request: pytest.FixtureRequest, refused: int
) -> None:
    if "memory" in request.node.name:
        return  # Python holds any integer: there is nothing to refuse
    bank.record(bank.wire("account-a", 1, 1))
    amounts = {version: 2**63 if version == refused else version for version in (2, 3, 4, 5)}
    bank.record(*(bank.wire("account-a", amounts[version], version, id=f"v{version}") for version in (5, 3, 4)))
    bank.projector.catch_up()
    bank.record(bank.wire("account-a", amounts[2], 2, id="v2"), bank.wire("account-b", 9, 1))
    bank.projector.catch_up()
    blamed = [event.event_id for event in parked_events(bank.generation) if event.reason == RefusedByStore.code]
    assert blamed == [f"v{refused}"]
    applied = list(range(1, refused))
    assert bank.accounts() == {"account-a": (sum(applied), " ".join(map(str, applied))), "account-b": (9, "9")}
    assert len(parked_events(bank.generation)) == 5 - len(applied)
