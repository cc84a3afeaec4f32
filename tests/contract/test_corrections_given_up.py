"""A version that never comes: shown, given up by somebody, met by every generation, and never applied out of order later.

On every read model adapter.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sidestream.applying.corrections import Correction, GivenUp, InForce
from sidestream.applying.dead_letters import drain, parked_events, parked_streams, retry
from sidestream.applying.decoding import Rule
from sidestream.applying.missing import Missing, missing_in, missing_versions
from sidestream.applying.versions import Versions
from sidestream.errors import InvalidEvent
from sidestream.hosting.followed import Errand, Following
from sidestream.hosting.host import ProjectionHost
from tests.contract.bank import REGISTRY, TOPIC, Bank
from tests.contract.correcting import Desk
from tests.waiting import until


def record(bank: Bank, *versions: int, subject: str = "account-a") -> None:
    """Record events of a stream, each with its version as amount, and apply what the log holds."""
    bank.record(*(bank.wire(subject, version, version, id=f"v{version}") for version in versions))
    bank.projector.catch_up()


def missing(desk: Desk) -> list[str]:
    return [str(each.versions) for each in missing_versions(desk.bank.generation)]


# ── what is missing ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_missing_is_shown_with_how_many_wait_and_since_when(desk: Desk) -> None:
    record(desk.bank, 1, 2, 6, 7)
    record(desk.bank, 2, subject="account-b")
    record(desk.bank, 1, subject="account-c")
    assert list(missing_versions(desk.bank.generation)) == [
        Missing(TOPIC, Versions("account-a", 3, 5), 2, "now"),
        Missing(TOPIC, Versions("account-b", 1, 1), 1, "now"),
    ]
    assert [str(each.versions) for each in missing_in(desk.bank.generation, "account-a")] == ["account-a@3-5"]
    assert missing_in(desk.bank.generation, "account-c") == []


def test_a_stream_behind_a_failure_waits_for_no_version(desk: Desk) -> None:
    desk.bank.record(desk.bank.wire("account-a", -1, 1), desk.bank.wire("account-a", 5, 5))
    desk.bank.projector.catch_up()
    assert missing(desk) == []


def test_more_streams_than_a_page_are_all_shown(desk: Desk) -> None:
    desk.bank.record(*(desk.bank.wire(f"account-{at:04}", 1, 2) for at in range(1001)))
    desk.bank.projector.catch_up()
    assert missing(desk) == [f"account-{at:04}@1" for at in range(1001)]


# ── giving it up ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_waits_is_applied_in_order_and_a_rebuild_does_the_same(desk: Desk) -> None:
    record(desk.bank, 1, 2, 5, 4)
    record(desk.bank, 9, subject="account-b")
    decided = desk.give_up("account-a@3")
    assert (decided.kind, decided.who, decided.why, decided.number) == ("give-up", "ann", "typo", 1)
    desk.drain()
    assert desk.bank.accounts() == {"account-a": (12, "1 2 4 5")}
    assert missing(desk) == ["account-b@1-8"]
    desk.give_up("account-b@1-8")
    desk.drain()
    desk.expect({"account-a": (12, "1 2 4 5"), "account-b": (9, "9")})
    record(desk.bank, 6)
    desk.expect({"account-a": (18, "1 2 4 5 6"), "account-b": (9, "9")})


def test_of_several_missing_versions_the_first_can_be_given_up_and_the_others_waited_for(desk: Desk) -> None:
    record(desk.bank, 1, 5)
    desk.give_up("account-a@2-3")
    desk.drain()
    assert missing(desk) == ["account-a@4"]
    record(desk.bank, 4)
    desk.expect({"account-a": (10, "1 4 5")})


def test_a_stream_may_lack_its_beginning_and_more_later(desk: Desk) -> None:
    record(desk.bank, 3, 6)
    desk.give_up("account-a@1-2")
    desk.drain()
    assert (missing(desk), desk.bank.accounts()) == (["account-a@4-5"], {"account-a": (3, "3")})
    desk.give_up("account-a@4-5")
    desk.drain()
    desk.expect({"account-a": (9, "3 6")})


def test_a_stream_without_its_beginning_is_applied_in_order_however_its_events_came(desk: Desk) -> None:
    record(desk.bank, 3, 2)
    desk.give_up("account-a@1")
    desk.drain()
    desk.expect({"account-a": (5, "2 3")})


def test_of_a_missing_beginning_a_part_can_be_given_up_and_the_rest_waited_for(desk: Desk) -> None:
    record(desk.bank, 3)
    desk.give_up("account-a@1")
    desk.drain()
    assert missing(desk) == ["account-a@2"]
    record(desk.bank, 2)
    desk.expect({"account-a": (5, "2 3")})


@pytest.mark.parametrize("name", ["account-a@2", "account-a@4", "account-a@2-3", "account-a@3-6", "account-a@7", "account-b@1"])
def test_only_what_is_waited_for_can_be_given_up(desk: Desk, name: str) -> None:
    record(desk.bank, 1, 2, 6)
    with pytest.raises(InvalidEvent, match="expected versions that the stream waits for"):
        desk.give_up(name)
    assert desk.corrections.after(0) == []
    record(desk.bank, 3, 4, 5)
    desk.expect({"account-a": (21, "1 2 3 4 5 6")})


def test_a_version_that_came_while_somebody_decided_is_not_given_up(desk: Desk) -> None:
    """What was looked at is not what stands there when the decision is to be recorded."""
    record(desk.bank, 1, 3)
    (looked_at,) = missing_in(desk.bank.generation, "account-a")
    record(desk.bank, 2)
    with pytest.raises(InvalidEvent, match="found that it waits for none"):
        desk.give_up(str(looked_at.versions))
    desk.expect({"account-a": (6, "1 2 3")})


@pytest.mark.parametrize("name", ["", "account-a", "@3", "account-a@", "account-a@0", "account-a@5-3", "account-a@x", f"a@{2**63}"])
def test_a_name_of_no_versions_is_refused(name: str) -> None:
    with pytest.raises(InvalidEvent, match="expected versions of a stream such as"):
        Versions.parse(name)


@pytest.mark.parametrize("versions", [Versions("a@7", 3, 3), Versions("order-7@", 1, 2**53), Versions("a\nb", 1, 2)])
def test_a_name_of_versions_is_read_as_it_was_written(versions: Versions) -> None:
    assert Versions.parse(str(versions)) == versions


@pytest.mark.parametrize("kind", ["edit", "skip"])
def test_a_version_is_neither_edited_nor_skipped(desk: Desk, kind: Any) -> None:
    record(desk.bank, 1, 3)
    (found,) = missing_in(desk.bank.generation, "account-a")
    with pytest.raises(InvalidEvent, match="found versions that never came"):
        found.letter.correction(kind, who="ann", why="so", at="now")


def test_nobody_gives_up_without_a_name_and_a_reason(desk: Desk) -> None:
    record(desk.bank, 1, 3)
    (found,) = missing_in(desk.bank.generation, "account-a")
    with pytest.raises(InvalidEvent, match="expected who and why"):
        found.letter.correction("give-up", who="ann", why=" ", at="now")


# ── it comes after all ───────────────────────────────────────────────────────────────────────────────────────────────


def given_up_and_late(desk: Desk) -> None:
    record(desk.bank, 1, 2, 4)
    desk.give_up("account-a@3")
    desk.drain()
    record(desk.bank, 3, 5)


def test_what_comes_after_it_was_given_up_is_a_dead_letter_and_holds_up_nobody(desk: Desk) -> None:
    given_up_and_late(desk)
    for generation in (desk.bank.generation, desk.rebuilt(), desk.rebuilt(batch=1)):
        desk.bank.generation = generation
        assert desk.bank.accounts() == {"account-a": (12, "1 2 4 5")}
        (late,) = parked_events(generation)
        assert (late.event_id, late.reason) == ("v3", "version-given-up")
        assert "given up by ann at 2026-11-21T09:00:00Z: typo" in late.detail


def test_in_a_log_that_was_put_in_order_later_it_is_not_applied_either(desk: Desk) -> None:
    given_up_and_late(desk)
    wires = {entry.position: entry.data for entry in desk.bank.log.read(TOPIC, None, 10)}
    desk.bank.log.flush(TOPIC)
    desk.bank.record(*(wires[position] for position in ("1", "2", "4", "3", "5")))
    for batch in (1, 5000):
        desk.bank.generation = desk.rebuilt(batch)
        assert desk.bank.accounts() == {"account-a": (12, "1 2 4 5")}
        assert desk.bank.reasons() == ["version-given-up"]


def test_what_came_too_late_is_skipped_like_any_letter(desk: Desk) -> None:
    given_up_and_late(desk)
    desk.skip("v3")
    desk.drain()
    desk.expect({"account-a": (12, "1 2 4 5")})


def test_what_came_too_late_stays_as_it_is_when_it_is_tried_again(desk: Desk) -> None:
    given_up_and_late(desk)
    done = retry(desk.rule, desk.bank.generation, lambda: "later")
    assert (done.tried, done.freed) == (1, 0)
    assert [(late.reason, late.attempts) for late in parked_events(desk.bank.generation)] == [("version-given-up", 2)]


def test_once_it_is_taken_back_a_rebuild_applies_it_in_order(desk: Desk) -> None:
    given_up_and_late(desk)
    desk.decide(desk.given_up("account-a@3"), "undo")
    assert desk.bank.accounts() == {"account-a": (12, "1 2 4 5")}  # what was done stays until a rebuild
    desk.bank.generation = desk.rebuilt()
    assert desk.bank.accounts() == {"account-a": (15, "1 2 3 4 5")}
    assert not parked_streams(desk.bank.generation)


def test_once_it_is_taken_back_a_stream_that_nothing_was_applied_to_since_takes_it(desk: Desk) -> None:
    bank = desk.bank
    bank.record(bank.wire("account-a", 1, 1), bank.wire("account-a", -4, 4))
    bank.projector.catch_up()
    desk.give_up("account-a@2-3")
    desk.drain()
    assert bank.reasons() == ["rule-failed"]
    record(bank, 2, 3)
    assert bank.reasons() == ["rule-failed", "version-given-up", "version-given-up"]
    desk.decide(desk.given_up("account-a@2-3"), "undo")
    retry(desk.rule, bank.generation, lambda: "later")
    assert (bank.accounts(), bank.reasons()) == ({"account-a": (6, "1 2 3")}, ["rule-failed"])
    bank.projection.mended = True
    desk.rule.projection.mended = True  # type: ignore[attr-defined]
    retry(desk.rule, bank.generation, lambda: "later")
    desk.expect({"account-a": (2, "1 2 3 -4")})


def test_once_it_is_taken_back_a_stream_that_still_waits_waits_for_it_again(desk: Desk) -> None:
    record(desk.bank, 1, 2, 6)
    desk.give_up("account-a@3-4")
    desk.drain()
    assert missing(desk) == ["account-a@5"]
    desk.decide(desk.given_up("account-a@3-4"), "undo")
    desk.drain()
    assert missing(desk) == ["account-a@3-5"]
    record(desk.bank, 3, 4, 5)
    desk.expect({"account-a": (21, "1 2 3 4 5 6")})


def test_taken_back_before_anybody_met_it_the_stream_waits_for_it_again(desk: Desk) -> None:
    """The verb died between recording it and applying what waited: the stream stands still, and must not do so for ever."""
    record(desk.bank, 1, 2, 5)
    desk.give_up("account-a@3-4")
    desk.decide(desk.given_up("account-a@3-4"), "undo")
    desk.drain()
    assert missing(desk) == ["account-a@3-4"]
    record(desk.bank, 3, 4)
    desk.expect({"account-a": (15, "1 2 3 4 5")})


# ── an app that has not heard of it yet ──────────────────────────────────────────────────────────────────────────────


def test_until_it_is_drained_a_version_that_comes_to_an_app_without_the_decision_is_not_applied(desk: Desk) -> None:
    """The app looks for decisions once a sweep; what comes before that sweep stands behind the stream, not in it."""
    record(desk.bank, 1, 2, 5)
    unaware = desk.unaware()
    desk.give_up("account-a@3-4")
    desk.bank.record(desk.bank.wire("account-a", 3, 3, id="v3"))
    unaware.catch_up()
    assert desk.bank.accounts() == {"account-a": (3, "1 2")}
    desk.drain()
    assert (desk.bank.accounts(), desk.bank.reasons()) == ({"account-a": (8, "1 2 5")}, ["version-given-up"])


def test_what_an_app_without_the_decision_calls_used_twice_is_called_by_its_name_when_the_app_hears_of_it(desk: Desk) -> None:
    record(desk.bank, 1, 2, 4)
    unaware = desk.unaware()
    desk.give_up("account-a@3")
    desk.drain()
    desk.bank.record(desk.bank.wire("account-a", 3, 3, id="v3"))
    unaware.catch_up()
    assert desk.bank.reasons() == ["version-reused"]
    desk.drain()
    assert (desk.bank.accounts(), desk.bank.reasons()) == ({"account-a": (7, "1 2 4")}, ["version-given-up"])


def test_a_version_that_waited_twice_leaves_its_stream_when_the_first_is_applied(desk: Desk) -> None:
    bank = desk.bank
    bank.record(bank.wire("account-a", 1, 1), bank.wire("account-a", 3, 3, id="one"), bank.wire("account-a", 9, 3, id="other"))
    bank.record(bank.wire("account-a", 4, 4), bank.wire("account-a", 2, 2))
    bank.projector.catch_up()
    (left,) = parked_events(bank.generation)
    assert (bank.accounts(), left.event_id, left.reason) == ({"account-a": (10, "1 2 3 4")}, "other", "version-reused")
    desk.skip("other")
    desk.drain()
    desk.expect({"account-a": (10, "1 2 3 4")})


def test_a_give_up_is_met_by_who_has_nothing_parked_without_harm(desk: Desk) -> None:
    record(desk.bank, 1, 3)
    decided = desk.give_up("account-a@2")
    fresh = desk.rebuilt()
    assert drain(desk.rule, fresh, lambda: "later", [decided]).tried == 0


# ── in memory ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_decisions_that_overlap_are_passed_over_together() -> None:
    names = ("account-a@4-8", "account-a@2-5", "account-a@3")
    known = GivenUp(Correction(0, "version", TOPIC, name, "give-up", b"", b"", "ann", "so", "now") for name in names)
    assert [known.next_wanted(TOPIC, "account-a", version) for version in (1, 2, 3, 6, 9)] == [1, 9, 9, 9, 9]
    assert known.next_wanted(TOPIC, "account-b", 2) == 2
    decided = known.find(TOPIC, "account-a", 8)
    assert decided is not None
    assert decided.name == "account-a@4-8"
    assert known.find(TOPIC, "account-a", 9) is None


# ── a running app ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a sqlite3 connection of a thread pool's thread is closed with it
async def test_a_running_app_meets_it_at_a_sweep_though_the_verb_died_before_it_applied_anything(desk: Desk) -> None:
    bank = desk.bank
    await asyncio.to_thread(record, bank, 1, 2, 5)
    bank.read_models.mark_ready(bank.name)
    bank.read_models.switch(bank.name)
    async with ProjectionHost(desk.rule.projection, REGISTRY, bank.log, bank.read_models, now=lambda: "now", sweep_seconds=0.02):
        await asyncio.to_thread(desk.give_up, "account-a@3-4")  # the record alone: nothing is drained by it
        await until(lambda: bank.accounts() == {"account-a": (8, "1 2 5")})
        bank.record(bank.wire("account-a", 4, 4, id="late"))
        await until(lambda: bank.reasons() == ["version-given-up"])
        assert bank.accounts() == {"account-a": (8, "1 2 5")}


class HeardBetween(InForce):
    """Another thread takes over what was recorded, right after somebody has asked for the news."""

    def since(self, number: int) -> list[Correction]:
        news = super().since(number)
        self.refresh()
        return news


@asynccontextmanager
async def following(desk: Desk, in_force: InForce) -> AsyncIterator[None]:
    """Follow the log by these decisions, in a generation that somebody else looks at too."""
    rule = Rule(desk.rule.projection, REGISTRY, in_force)
    errand = Errand(
        rule=rule,
        log=desk.bank.log,
        in_force=in_force,
        now=lambda: "now",
        sweep_seconds=0.02,
        stopping=asyncio.Event(),
        swept=lambda: None,
        committed=lambda: None,
        caught_up=lambda _name, _outcome: None,
    )
    made = Following(errand, desk.bank.read_models.open(desk.bank.name))
    made.start()
    try:
        yield
    finally:
        errand.stopping.set()
        await made.leave()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a sqlite3 connection of a thread pool's thread is closed with it
async def test_a_decision_that_is_heard_of_while_the_news_are_read_is_met(desk: Desk) -> None:
    await asyncio.to_thread(record, desk.bank, 1, 2, 5)
    in_force = await asyncio.to_thread(HeardBetween, desk.corrections)
    await asyncio.to_thread(desk.give_up, "account-a@3-4")
    async with following(desk, in_force):
        await until(lambda: desk.bank.accounts() == {"account-a": (8, "1 2 5")})
