"""A log as it stood at some moment ends there, for whoever reads it."""

from sidestream.adapters.memory_log import MemoryLog
from sidestream.rebuilding.log_until import LogUntil, after_positions, after_time


def log_of(count: int) -> MemoryLog:
    times = iter(range(100, 100 * count + 1, 100))
    log = MemoryLog(lambda: next(times))
    for number in range(count):
        log.record("t", [b"%d" % number])
    return log


def positions(log: LogUntil, start: str | None = None, limit: int = 100) -> list[str]:
    return [entry.position for entry in log.read("t", start, limit)]


def test_it_ends_at_the_position_inclusive() -> None:
    log = log_of(9)
    cut = LogUntil(log, after_positions(log, {"t": "4"}))
    assert positions(cut) == ["1", "2", "3", "4"]
    assert positions(cut, "3") == ["3", "4"]
    assert positions(cut, limit=2) == ["1", "2"]


def test_nothing_of_a_topic_is_nothing_and_a_topic_not_named_is_whole() -> None:
    log = log_of(3)
    assert positions(LogUntil(log, after_positions(log, {"t": None}))) == []
    assert positions(LogUntil(log, after_positions(log, {}))) == ["1", "2", "3"]


def test_the_entry_one_goes_on_from_is_there_even_beyond_the_end() -> None:
    """Else a projector would take it for another log, and begin anew."""
    log = log_of(9)
    assert positions(LogUntil(log, after_positions(log, {"t": "4"})), "7") == ["7"]


def test_a_moment_ends_before_the_first_later_entry() -> None:
    assert positions(LogUntil(log_of(9), after_time(450))) == ["1", "2", "3", "4"]


def test_reading_back_sees_nothing_later_either() -> None:
    log = log_of(9)
    cut = LogUntil(log, after_positions(log, {"t": "4"}))
    assert [entry.position for entry in cut.read_back("t", "7", 4)] == ["4", "3"]
