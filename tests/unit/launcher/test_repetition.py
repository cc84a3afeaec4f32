"""A part that repeats itself fills no disk, and nothing that it says once is missing."""

from sidestream.launcher.repetition import Repetition

AWAY = 'time="2026-11-21T15:00:00.%09dZ" level=error msg="connection refused"'


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_the_same_line_is_let_through_a_few_times_a_second_and_then_counted() -> None:
    clock = Clock()
    repetition = Repetition(clock)
    written = [line for number in range(30_000) for line in repetition.passed(AWAY % number)]
    assert written == [AWAY % number for number in range(20)]

    clock.seconds = 1.0
    assert repetition.passed("it is back") == [
        '(29,980 times more within a second: level=error msg="connection refused")',
        "it is back",
    ]


def test_what_is_said_once_passes_whatever_else_is_repeated() -> None:
    repetition = Repetition(Clock())
    lines = [line for number in range(100) for line in (AWAY % number, f"event {number}")]
    written = [line for each in lines for line in repetition.passed(each)]
    assert [line for line in written if line.startswith("event")] == [f"event {number}" for number in range(100)]


def test_in_the_next_second_it_is_let_through_again() -> None:
    clock = Clock()
    repetition = Repetition(clock)
    for number in range(100):
        repetition.passed(AWAY % number)
    clock.seconds = 1.5
    assert repetition.passed(AWAY % 7)[-1] == AWAY % 7


def test_what_was_held_back_last_is_told_at_the_end() -> None:
    repetition = Repetition(Clock())
    for number in range(25):
        repetition.passed(AWAY % number)
    assert repetition.held() == ['(5 times more within a second: level=error msg="connection refused")']
    assert repetition.held() == []
