"""What probes make of a broker that misbehaves: errors, kills and outages; nothing is started.

Every verdict is tested by a broker that is wrong in just that way: a probe that is always content would measure nothing.
"""

import dataclasses
from pathlib import Path

import pytest

from sidestream.conformance import failing, outage, probes
from tests.unit.conformance.answered import named
from tests.unit.conformance.pretended_broker import PretendedBroker, stage_on, with_number


@pytest.mark.parametrize(
    ("log", "verdict", "lost"), [(True, "note", "no, 10 of 10 bells lost"), (False, "bad", "no, 10 of 10 events lost")]
)
async def test_an_error_that_loses_the_event(broker: PretendedBroker, record: Path, log: bool, verdict: str, lost: str) -> None:
    results = await failing.answers(stage_on(broker, record, log=log))
    assert named(results, "redelivery-bulk") == named(results, "redelivery-one") == (verdict, lost)
    assert named(results, "dead-letter") == ("note", "no, it is dropped")


async def test_an_error_that_brings_the_event_again_is_good(broker: PretendedBroker, record: Path) -> None:
    broker.redelivers = 3
    broker.dead_letters = True
    results = await failing.answers(stage_on(broker, record, log=False))
    assert named(results, "redelivery-one") == ("good", "comes again after 0.0 s")
    assert named(results, "dead-letter") == ("good", "yes, after 4 deliveries")


async def test_an_endless_retry_is_told_from_a_dropped_event(broker: PretendedBroker, record: Path) -> None:
    broker.redelivers = 3
    assert named(await failing.answers(stage_on(broker, record)), "dead-letter") == ("note", "no, it came 4 times and goes on")


@pytest.mark.parametrize(("log", "verdict", "lost"), [(True, "note", "100 of 150 bells"), (False, "bad", "100 of 150 events")])
async def test_a_killed_app_whose_deliveries_do_not_come_again(
    broker: PretendedBroker, record: Path, log: bool, verdict: str, lost: str
) -> None:
    assert named(await failing.app_killed(stage_on(broker, record, log=log)), "app-killed") == (verdict, lost)


@pytest.mark.parametrize("ask", [failing.app_killed, failing.sidecar_killed])
async def test_deliveries_that_come_again_after_a_kill_are_good(broker: PretendedBroker, record: Path, ask: probes.Ask) -> None:
    stage = stage_on(broker, record, log=False, keeps=True)
    [result] = await ask(stage)
    assert (result.verdict, result.answer) == ("good", "nothing")


async def test_a_publisher_that_is_told_no_has_lost_nothing(broker: PretendedBroker, record: Path) -> None:
    broker.refuses = "away"
    results = await failing.answers(stage_on(broker, record, log=False))
    assert named(results, "redelivery-bulk") == ("note", "publishing is refused meanwhile")


@pytest.mark.parametrize("log", [True, False])
async def test_a_confirmed_event_that_is_gone_after_an_outage_is_bad(broker: PretendedBroker, record: Path, log: bool) -> None:
    broker.records = broker.delivers = lambda wires: [wire for wire in wires if wire not in with_number(wires, 7)]
    results = await outage.broker_away(stage_on(broker, record, log=log), seconds=0.05)
    verdict, answer = named(results, "broker-away")
    assert verdict == "bad"
    assert answer.startswith("lost 1 of ")


async def test_an_outage_that_loses_nothing_is_good_and_is_not_asked_where_the_broker_may_not_be_touched(
    broker: PretendedBroker, record: Path
) -> None:
    stage = stage_on(broker, record)
    assert named(await outage.broker_away(stage, seconds=0.05), "broker-away") == ("good", "yes, all")
    assert await outage.broker_away(dataclasses.replace(stage, broker=None), seconds=0.05) == []
