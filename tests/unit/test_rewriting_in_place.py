"""A topic written anew behind what stands there: whatever others write, and wherever it is killed, nothing is lost or misplaced."""

import contextlib
import json
import threading
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidestream.adapters.memory_log import MemoryLog
from sidestream.errors import LeaseLost, LogUnavailable
from sidestream.logs.rewriting_in_place import InPlace
from sidestream.logs.verifying import entries_of
from sidestream.ports import LogEntry

TOPIC = "orders"
OURS = [f"ours {number}".encode() for number in range(12)]


class Killed(BaseException):
    """The process is gone."""


class Others:
    """Somebody else who publishes on the topic, and remembers it."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.wires: list[bytes] = []

    def write(self, subjects: str) -> None:
        """Write one event for each letter."""
        for subject in subjects:
            self.wires.append(theirs(len(self.wires), subject))
            self._log.record(TOPIC, [self.wires[-1]])


class Ends:
    """Both ends of a topic in memory. Before each step others may write, and at one of them it may be killed."""

    def __init__(self, log: MemoryLog, others: Others, *, meanwhile: Sequence[str] = (), killed_at: int | None = None) -> None:
        self._log = log
        self._others = others
        self._meanwhile = meanwhile
        self._killed_at = killed_at
        self._steps = 0
        self.begun = 0
        self.given_up = False

    def begin(self, topic: str, wire: bytes) -> str:
        self.begun += 1
        return self._record(topic, wire)

    def append(self, topic: str, wires: Sequence[bytes]) -> None:
        for wire in wires:
            self._record(topic, wire)

    def forget_before(self, topic: str, position: str) -> None:
        self._step()
        self._log.trim(topic, str(int(position) - 1))
        self.given_up = True

    def close(self) -> None:
        pass

    def _record(self, topic: str, wire: bytes) -> str:
        self._step()
        self._log.record(topic, [wire])
        return str(self._log.extent(topic).last)

    def _step(self) -> None:
        if self._steps == self._killed_at:
            raise Killed
        if self._steps < len(self._meanwhile):
            self._others.write(self._meanwhile[self._steps])
        self._steps += 1


class Losing(Ends):
    """Confirms what it has not written."""

    def append(self, topic: str, wires: Sequence[bytes]) -> None:
        super().append(topic, [wire for wire in wires if wire != OURS[5]])


class Lagging(MemoryLog):
    """Once, it takes its time and then knows nothing of what was written last."""

    lags = False

    def read(self, topic: str, start: str | None, limit: int) -> Sequence[LogEntry]:
        if not self.lags:
            return super().read(topic, start, limit)
        self.lags = False
        threading.Event().wait(0.2)
        return []


class EndsOfALaggingLog(Ends):
    """The log lags behind when all is written."""

    def append(self, topic: str, wires: Sequence[bytes]) -> None:
        super().append(topic, wires)
        assert isinstance(self._log, Lagging)
        self._log.lags = OURS[-1] in wires


def theirs(number: int, subject: str) -> bytes:
    event = {"specversion": "1.0", "id": str(number), "source": "/theirs", "type": "noted", "subject": subject}
    return json.dumps(event).encode()


def is_theirs(wire: bytes) -> bool:
    return b"theirs" in wire


def firsts(log: MemoryLog) -> list[bytes]:
    """The entries, each where it stands first."""
    return list(dict.fromkeys(entry.data for entry in entries_of(log, TOPIC)))


def of_subject(wires: Sequence[bytes], subject: str) -> list[bytes]:
    return [wire for wire in wires if is_theirs(wire) and json.loads(wire)["subject"] == subject]


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def others(log: MemoryLog) -> Others:
    """Have written two events of one subject into a topic that lost its beginning."""
    others = Others(log)
    log.record(TOPIC, OURS[8:10])
    others.write("aa")
    log.record(TOPIC, OURS[10:])
    return others


def assert_exact(log: MemoryLog, others: Others) -> None:
    found = firsts(log)
    assert [wire for wire in found if not is_theirs(wire)] == OURS
    assert {wire for wire in found if is_theirs(wire)} == set(others.wires)
    for subject in "abc":
        assert of_subject(found, subject) == of_subject(others.wires, subject)


def test_what_was_before_is_given_up_only_when_all_of_it_stands_behind(log: MemoryLog, others: Others) -> None:
    before = [entry.data for entry in entries_of(log, TOPIC)]
    with pytest.raises(LogUnavailable, match="expected to read back all that was written, found some of it missing"):
        InPlace(log, Losing(log, others), patience_seconds=0).rewrite(TOPIC, OURS, is_theirs)
    assert [entry.data for entry in entries_of(log, TOPIC)][: len(before)] == before


def test_a_log_that_lags_and_takes_longer_than_anybody_waits_is_looked_at_once_more() -> None:
    log = Lagging()
    InPlace(log, EndsOfALaggingLog(log, Others(log)), patience_seconds=0.05).rewrite(TOPIC, OURS, is_theirs)
    assert firsts(log) == OURS


def test_a_later_event_that_comes_between_does_not_stay_before_an_earlier_one_of_its_subject(log: MemoryLog, others: Others) -> None:
    ends = Ends(log, others, meanwhile=["", "a"])
    InPlace(log, ends).rewrite(TOPIC, OURS, is_theirs)
    assert_exact(log, others)
    assert ends.begun == 2


def test_another_subject_that_comes_between_costs_no_second_beginning(log: MemoryLog, others: Others) -> None:
    ends = Ends(log, others, meanwhile=["", "b"])
    InPlace(log, ends).rewrite(TOPIC, OURS, is_theirs)
    assert_exact(log, others)
    assert ends.begun == 1


def test_somebody_who_never_pauses_is_named_and_nothing_has_changed_but_repeats(log: MemoryLog, others: Others) -> None:
    before = firsts(log)
    ends = Ends(log, others, meanwhile=["a"] * 1000)
    with pytest.raises(LogUnavailable, match="Stop whoever publishes there beside the store, and try again"):
        InPlace(log, ends).rewrite(TOPIC, OURS, is_theirs)
    assert not ends.given_up
    assert firsts(log)[: len(before)] == before


def test_with_nothing_to_write_nothing_is_given_up(log: MemoryLog) -> None:
    log.record(TOPIC, OURS)
    InPlace(log, Ends(log, Others(log))).rewrite(TOPIC, [], is_theirs)
    assert firsts(log) == OURS


class Counted(Ends):
    """Counts what is written."""

    writes = 0

    def begin(self, topic: str, wire: bytes) -> str:
        self.writes += 1
        return super().begin(topic, wire)

    def append(self, topic: str, wires: Sequence[bytes]) -> None:
        self.writes += 1
        super().append(topic, wires)

    def forget_before(self, topic: str, position: str) -> None:
        self.writes += 1
        super().forget_before(topic, position)


@pytest.mark.parametrize("allowed", range(5))
def test_before_every_write_it_is_asked_whether_that_is_allowed_still(log: MemoryLog, others: Others, allowed: int) -> None:
    ends, asked = Counted(log, others), list[int]()

    def may_write() -> None:
        assert ends.writes == len(asked)
        if len(asked) == allowed:
            raise LeaseLost("somebody else may be at it")
        asked.append(ends.writes)

    with contextlib.suppress(LeaseLost):
        InPlace(log, ends).rewrite(TOPIC, OURS, is_theirs, may_write)
    assert (ends.writes, ends.given_up) == (min(allowed, 4), allowed == 4)


_meanwhile = st.lists(st.text("abc", max_size=2), max_size=30)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(before=st.text("abco", max_size=15), first=_meanwhile, second=_meanwhile, killed_at=st.integers(0, 45))
def test_killed_anywhere_and_run_again_nothing_is_lost_and_nothing_out_of_place(
    before: str, first: list[str], second: list[str], killed_at: int
) -> None:
    log = MemoryLog()
    others = Others(log)
    for kind in before:
        log.record(TOPIC, [OURS[-1]]) if kind == "o" else others.write(kind)

    with contextlib.suppress(Killed, LogUnavailable):
        InPlace(log, Ends(log, others, meanwhile=first, killed_at=killed_at)).rewrite(TOPIC, OURS, is_theirs)
    assert {wire for wire in firsts(log) if is_theirs(wire)} == set(others.wires)
    for subject in "abc":
        assert of_subject(firsts(log), subject) == of_subject(others.wires, subject)

    with contextlib.suppress(LogUnavailable):  # others wrote without a pause
        InPlace(log, Ends(log, others, meanwhile=second)).rewrite(TOPIC, OURS, is_theirs)
    InPlace(log, Ends(log, others)).rewrite(TOPIC, OURS, is_theirs)
    assert_exact(log, others)
