"""One batch, one transaction: several projectors, crashes, and what is remembered between, on every read model adapter."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sidestream.applying.dead_letters import retry
from sidestream.applying.projector import Projector
from sidestream.ports import Generation, Unit
from sidestream.projection import Table
from tests.contract.bank import ACCOUNTS, Bank


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
        self.check, self.close = generation.check, generation.close

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
        self.check, self.close = generation.check, generation.close

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
