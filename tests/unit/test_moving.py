"""A log moved to another one, over memory logs: order, repeats, killed moves, strangers, and what is refused."""

from collections.abc import Sequence

import pytest

from sidestream.adapters.log_writers import MemoryWriter, writer_of
from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.adapters.memory_log import MemoryLog
from sidestream.adapters.no_log import NoLog
from sidestream.errors import ConfigurationError, LogsDiffer, LogUnavailable
from sidestream.event import NewEvent
from sidestream.identifiers import new_id
from sidestream.logs.moving import Move
from sidestream.logs.verifying import entries_of
from sidestream.ports import Append, EventLog


def counted(number: int, topic: str = "orders") -> list[bytes]:
    """Events of one store, in order."""
    store = MemoryEventStore()
    facts = tuple(NewEvent(topic=topic, id=new_id(), source="/services/orders", type="order.noted") for _ in range(number))
    return [stored.wire for stored in store.append([Append(None, facts)])]


def stranger(number: int) -> bytes:
    return b'{"specversion":"1.0","id":"%d","source":"/elsewhere","type":"noted","data":{"n":9007199254740993}}' % number


def wires(log: EventLog, topic: str = "orders") -> list[bytes]:
    return [entry.data for entry in entries_of(log, topic)]


def holding(*entries: bytes) -> MemoryLog:
    log = MemoryLog()
    log.record("orders", entries)
    return log


def move_of(source: MemoryLog, target: MemoryLog, *topics: str) -> Move:
    return Move(source, target, MemoryWriter(target), topics or ("orders",))


def moved(source: MemoryLog, target: MemoryLog) -> Move:
    move = move_of(source, target)
    move.begin()
    move.copy()
    return move


def test_every_entry_is_copied_in_order_and_as_it_stands() -> None:
    events = counted(1234)
    source, target = holding(*events, b"no event", stranger(1), events[7], stranger(1), b""), MemoryLog()

    (found,) = moved(source, target).verified()

    assert wires(target) == wires(source)
    assert (found.summed.events, found.summed.unreadable, found.entries, found.there_before) == (1235, 2, 1239, 0)


def test_every_topic_is_moved_and_an_empty_one_stays_empty() -> None:
    source, target = holding(*counted(3)), MemoryLog()
    source.record("votes", counted(2, "votes"))
    move = move_of(source, target, "orders", "votes", "scans")
    move.begin()
    assert move.copy() == 5
    assert [(each.topic, each.summed.events) for each in move.verified()] == [("orders", 3), ("votes", 2), ("scans", 0)]
    assert wires(target, "votes") == wires(source, "votes")


def test_what_is_added_meanwhile_is_copied_by_the_next_look() -> None:
    source, target = holding(*counted(10)), MemoryLog()
    move = moved(source, target)
    source.record("orders", [stranger(1)])
    assert move.copy() == 1
    assert move.copy() == 0
    assert wires(target) == wires(source)
    assert move.verified()[0].summed.events == 11


@pytest.mark.parametrize("copied", [0, 1, 499, 500, 1233, 1234])
def test_a_killed_move_goes_on_where_it_was(copied: int) -> None:
    events = counted(1234)
    source, target = holding(*events), holding(*events[:copied])
    (found,) = moved(source, target).verified()
    assert wires(target) == events
    assert (found.there_before, found.entries) == (copied, 1234 - copied)


def test_a_killed_move_goes_on_behind_a_repeat() -> None:
    one, two, three = counted(3)
    source, target = holding(one, two, one, three), holding(one, two, one)
    moved(source, target).verified()
    assert wires(target) == [one, two, one, one, three], "a repeat more does no harm: it is counted already"


@pytest.mark.parametrize("there", [[stranger(1)], counted(1), [b"no event"]])
def test_a_target_that_holds_something_else_is_refused_and_left_alone(there: list[bytes]) -> None:
    source, target = holding(*counted(3)), holding(*there)
    with pytest.raises(ConfigurationError, match="topic orders: expected it empty .* found at 1 "):
        move_of(source, target).begin()
    assert wires(target) == there


def test_a_target_that_holds_more_than_the_source_is_refused() -> None:
    events = counted(3)
    with pytest.raises(ConfigurationError, match="found at 3"):
        move_of(holding(*events[:2]), holding(*events)).begin()


def test_a_target_in_another_order_is_refused() -> None:
    one, two = counted(2)
    with pytest.raises(ConfigurationError, match="found at 1"):
        move_of(holding(one, two), holding(two)).begin()


class Forgetful(MemoryWriter):
    """Confirms what it does not write: everything that `lost` names."""

    def __init__(self, log: MemoryLog, change: Sequence[bytes]) -> None:
        super().__init__(log)
        self._log = log
        self.append = self._append
        self._lost = change

    def _append(self, topic: str, wires: Sequence[bytes]) -> None:
        self._log.record(topic, [wire for wire in wires if wire not in self._lost])


def test_an_event_that_was_confirmed_and_is_not_there_is_found() -> None:
    events, target = counted(5), MemoryLog()
    move = Move(holding(*events), target, Forgetful(target, events[2:3]), ["orders"])
    move.begin()
    move.copy()
    target.record("orders", [stranger(1)])  # as many as there should be, so that nobody waits for a follower
    with pytest.raises(LogsDiffer, match="topic orders: expected .* found"):
        move.verified()


def test_events_that_changed_places_are_found() -> None:
    one, two = counted(2)
    target = MemoryLog()
    move = Move(holding(one, two), target, Forgetful(target, [one, two]), ["orders"])
    move.begin()
    move.copy()
    target.record("orders", [two, one])
    with pytest.raises(LogsDiffer):
        move.verified()


def test_data_that_changed_is_found() -> None:
    target = MemoryLog()
    move = Move(holding(stranger(1)), target, Forgetful(target, [stranger(1)]), ["orders"])
    move.begin()
    move.copy()
    target.record("orders", [stranger(1).replace(b"9007199254740993", b"9007199254740992")])
    with pytest.raises(LogsDiffer):
        move.verified()


def test_a_log_whose_beginning_is_gone_is_refused_unless_it_is_meant() -> None:
    events = counted(5)
    source, target = holding(*events), MemoryLog()
    source.trim("orders", "2")
    with pytest.raises(ConfigurationError, match="entries up to 2 are gone"):
        move_of(source, target).begin()
    move = move_of(source, target)
    move.begin(although_trimmed=True)
    move.copy()
    assert wires(target) == events[2:]


def test_a_topic_that_is_made_anew_meanwhile_ends_the_move() -> None:
    source, target = holding(*counted(5)), MemoryLog()
    move = moved(source, target)
    source.rewrite("orders", counted(2))
    with pytest.raises(LogUnavailable, match="made anew"):
        move.copy()


def test_progress_is_told_in_entries() -> None:
    told: list[tuple[int, int]] = []
    source, target = holding(*counted(1200)), MemoryLog()
    move = move_of(source, target)
    move.begin()
    move.copy(lambda done, total: told.append((done, total)))
    assert told == [(500, 1200), (1000, 1200), (1200, 1200)]


def test_a_log_that_nothing_writes_to_is_said() -> None:
    with pytest.raises(ConfigurationError, match="found NoLog"):
        writer_of(NoLog("of a test"))
