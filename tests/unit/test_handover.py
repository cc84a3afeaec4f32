"""From one generation to the next: what was shown is reached first, and what cannot be reached is not waited for."""

import asyncio

import pytest

from sidestream.adapters.memory_log import MemoryLog
from sidestream.adapters.memory_read_model import MemoryGeneration
from sidestream.applying.applied import BOOKKEEPING
from sidestream.applying.corrections import InForce
from sidestream.applying.decoding import Rule
from sidestream.errors import ForeignPosition
from sidestream.hosting.followed import Errand, Following
from sidestream.hosting.handover import Handover
from sidestream.ports import GenerationInfo
from tests.contract.rebuilt import REGISTRY, Hits

TO = GenerationInfo("g2", 1, "ready", "", live=True)
PATIENCE = 3


def compare(left: str, right: str) -> int:
    if not (left.isdigit() and right.isdigit()):
        raise ForeignPosition("of another kind of log")
    return int(left) - int(right)


def following_nothing() -> Following:
    """What an app knows of g2; its log is empty."""
    nobody = Errand(
        rule=Rule(Hits(), REGISTRY, InForce()),
        log=MemoryLog(),
        in_force=InForce(),
        now=lambda: "now",
        sweep_seconds=3600.0,
        stopping=asyncio.Event(),
        swept=lambda: None,
        committed=lambda: None,
        caught_up=lambda name, outcome: None,
    )
    return Following(nobody, MemoryGeneration("g2", BOOKKEEPING))


class Led:
    """A handover to g2, and every move it made."""

    def __init__(self) -> None:
        self.moves: list[str] = []
        self.following = following_nothing()
        self.handover = Handover(TO, self.following, compare, lambda to, why: self.moves.append(f"{to.name} {why}".strip()), PATIENCE)

    def reach(self, **applied: str) -> list[str]:
        self.following.applied, self.following.caught_up = applied, True
        self.handover.end_if_reached()
        return self.moves

    def look(self, **now: str) -> None:
        self.handover.look(self.handover.shown, now)


@pytest.fixture
def led() -> Led:
    return Led()


def test_every_topic_is_reached_first(led: Led) -> None:
    led.look(hits="9", clicks="10")
    assert led.reach(hits="10", clicks="9") == []
    assert led.reach(hits="9") == []
    assert led.reach(hits="9", clicks="10") == ["g2"]


def test_what_was_answered_in_between_is_reached_first(led: Led) -> None:
    led.look(hits="5")
    assert led.handover.show({"hits": "7"})
    assert led.handover.show({"hits": "6"})  # a query that was slower than another
    assert led.reach(hits="6") == []
    assert led.reach(hits="7") == ["g2"]


def test_before_it_is_known_what_was_answered_nothing_is_reached(led: Led) -> None:
    assert led.reach(hits="9") == []
    led.look(hits="9")
    assert led.moves == ["g2"]


def test_who_never_caught_up_has_reached_nothing(led: Led) -> None:
    led.following.applied = {"hits": "9"}
    led.look(hits="5")
    assert led.moves == []


def test_an_answer_that_comes_after_the_move_is_too_late(led: Led) -> None:
    led.look(hits="5")
    led.reach(hits="5")
    assert not led.handover.show({"hits": "6"})


def test_one_that_was_called_off_moves_nothing_and_takes_no_answer(led: Led) -> None:
    led.look(hits="5")
    led.handover.cancel()
    led.handover.end("too late")
    assert led.reach(hits="5") == []
    assert not led.handover.show({"hits": "5"})


# ── what is not waited for ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_next_one_that_stands_still_is_waited_for_a_while_and_its_problem_is_the_reason(led: Led) -> None:
    led.following.problem = "internal: ZeroDivisionError"
    for _ in range(PATIENCE):
        led.look(hits="5")
    assert led.moves == []
    led.look(hits="5")
    assert led.moves == ["g2 internal: ZeroDivisionError"]


def test_a_next_one_that_moves_is_waited_for(led: Led) -> None:
    for at in range(10):
        led.reach(hits=str(at))
        led.look(hits=str(100 + at))
    assert led.moves == []


def test_a_log_that_is_away_is_waited_for(led: Led) -> None:
    led.following.away = True
    for _ in range(10):
        led.look(hits="5")
    assert led.moves == []


def test_one_before_that_cannot_be_read_is_waited_with_for_a_while(led: Led) -> None:
    led.look(hits="5")
    for at in range(PATIENCE):
        led.reach(hits=str(at))
        led.handover.look({}, None)
    assert led.moves == ["g2 it stands still"]


def test_positions_of_another_kind_of_log_are_reached_by_nobody(led: Led) -> None:
    led.look(hits="1732093200000-0")
    assert led.reach(hits="17") == ["g2 of another kind of log"]


def test_a_log_that_begins_anew_ends_it(led: Led) -> None:
    led.look(hits="500")
    led.look(hits="1")
    assert led.moves == ["g2 the log is another one than before"]
