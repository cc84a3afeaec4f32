"""The log is not the one that was read before: another one, of another kind, or trimmed. On every read model adapter."""

from collections.abc import Sequence

import msgspec
import pytest

from sidestream.adapters.memory_log import MemoryLog
from sidestream.applying.dead_letters import parked_events, parked_streams
from sidestream.applying.log_reading import FIRST_ENTRIES
from sidestream.errors import ForeignPosition, HistoryTrimmed
from sidestream.ports import LogEntry, LogExtent
from tests.contract.bank import TOPIC, Bank


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


def test_another_log_is_told_apart_also_where_something_unreadable_stands_at_the_checkpoint(bank: Bank) -> None:
    bank.record(b"garbage")
    bank.projector.catch_up()
    bank.log.flush(TOPIC)
    bank.record(b"other garbage", bank.wire("account-a", 1))
    bank.new_projector().catch_up()
    assert sorted(letter.wire for letter in parked_events(bank.generation)) == [b"garbage", b"other garbage"]
    assert bank.new_projector().catch_up().duplicates == 0, "it goes on where it was"


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


def test_a_log_trimmed_up_to_the_checkpoint_is_whole_as_before_and_versions_are_waited_for(bank: Bank) -> None:
    bank.record(bank.wire("account-a", 1, 1))
    bank.projector.catch_up()
    bank.log.trim(TOPIC, "1")
    bank.record(bank.wire("account-b", 20, 2), bank.wire("account-b", 10, 1))
    bank.new_projector().catch_up()
    assert bank.accounts() == {"account-a": (1, "1"), "account-b": (30, "10 20")}
    assert not parked_streams(bank.generation)


class Reborn(MemoryLog):
    """Another log, which says so."""

    def extent(self, topic: str) -> LogExtent:
        return msgspec.structs.replace(super().extent(topic), identity="another")


def test_another_log_that_begins_exactly_after_the_checkpoint_is_read_from_its_start(bank: Bank) -> None:
    wires = [bank.wire("account-a", amount) for amount in (1, 2)]
    bank.record(*wires)
    bank.projector.catch_up()
    bank.log = Reborn()
    bank.record(*wires, bank.wire("account-a", 3))
    bank.log.trim(TOPIC, "2")
    bank.new_projector().catch_up()
    assert bank.accounts() == {"account-a": (6, "1 2 3")}


def test_an_empty_look_says_nothing_about_how_large_the_next_entries_are(bank: Bank) -> None:
    asked: list[int] = []

    class Asked(MemoryLog):
        def read(self, topic: str, start: str | None, limit: int) -> Sequence[LogEntry]:
            asked.append(limit)
            return super().read(topic, start, limit)

    bank.log = Asked()
    projector = bank.new_projector()
    projector.catch_up()
    bank.record(bank.wire("account-a", 1))
    projector.catch_up()
    assert asked[:2] == [FIRST_ENTRIES, FIRST_ENTRIES]


def test_where_history_was_trimmed_the_first_version_seen_is_the_beginning(bank: Bank) -> None:
    bank.record(*(bank.wire("account-a", version, version) for version in (1, 2, 3, 4)))
    bank.log.trim(TOPIC, "2")
    bank.projector.catch_up()
    assert bank.accounts() == {"account-a": (7, "3 4")}
    assert not parked_streams(bank.generation)
