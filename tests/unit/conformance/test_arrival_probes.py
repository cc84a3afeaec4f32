"""What probes make of a broker that misbehaves: what arrives, how quickly, and whether it can be asked; nothing is started.

Every verdict is tested by a broker that is wrong in just that way: a probe that is always content would measure nothing.
"""

import json
from pathlib import Path

from sidestream.conformance import probes, rating, reaching
from tests.unit.conformance.answered import named
from tests.unit.conformance.pretended_broker import PretendedBroker, Wires, stage_on


async def test_numbers_that_were_changed_are_named_bad_in_the_log_and_a_note_in_a_delivery(broker: PretendedBroker, record: Path) -> None:
    def parsed(wires: Wires) -> Wires:
        return [json.dumps({**(one := json.loads(wire)), "data": {**one["data"], "whole": 1}, "sequence": "1"}).encode() for wire in wires]

    broker.delivers = parsed
    results = await reaching.attributes(stage_on(broker, record))
    assert named(results, "attributes-log") == ("good", "kept")
    assert named(results, "attributes-delivered") == ("note", "changed: sequence, data.whole")
    broker.records = parsed
    broker.log.flush("sidestream-check-unit-attributes")
    assert named(await reaching.attributes(stage_on(broker, record)), "attributes-log") == ("bad", "changed: sequence, data.whole")


async def test_an_event_that_never_comes_has_no_attributes_that_are_kept(broker: PretendedBroker, record: Path) -> None:
    broker.delivers = lambda wires: []
    results = await reaching.attributes(stage_on(broker, record, log=False))
    assert named(results, "attributes-delivered") == ("bad", "it never came")


async def test_a_broker_that_takes_an_id_for_a_repetition_is_told(broker: PretendedBroker, record: Path) -> None:
    broker.records = lambda wires: wires[:1]
    results = await reaching.alike(stage_on(broker, record))
    assert named(results, "same-event") == ("note", "1")
    assert named(results, "same-id") == ("note", "no, one is gone")


async def test_a_log_without_the_past_is_bad_and_no_log_is_a_note(broker: PretendedBroker, record: Path) -> None:
    broker.records = lambda wires: wires[2:]
    assert named(await reaching.past_in_the_log(stage_on(broker, record)), "replay-log") == ("bad", "lost 2 of 20")
    assert named(await reaching.past_in_the_log(stage_on(broker, record, log=False)), "replay-log") == ("note", "no, from its inbox log")


async def test_rates_say_what_was_not_delivered_though_nothing_failed(broker: PretendedBroker, record: Path) -> None:
    broker.delivers = lambda wires: wires[3:]
    for log, verdict, what in ((True, "note", "bells"), (False, "bad", "events")):
        results = await rating.rates(stage_on(broker, record, log=log))
        assert named(results, "delivered-all") == (verdict, f"no, 6 of 400 {what} lost")


async def test_a_broker_that_refuses_bulk_calls_is_asked_three_times(broker: PretendedBroker, record: Path) -> None:
    broker.refuses = "full"
    [result] = await rating.rates(stage_on(broker, record))
    assert (result.name, result.verdict, result.answer) == ("rate-bulk", "bad", "refused")
    assert "full" in result.explanation
    assert broker.published == 2 * 3 * 200


async def test_a_probe_that_cannot_be_asked_is_a_bad_result_and_the_others_go_on(broker: PretendedBroker, record: Path) -> None:
    broker.refuses = "sidecar: away"
    told: list[int] = []
    results = await probes.ask_all(stage_on(broker, record), probes.QUICK, lambda probe, number: told.append(number))
    assert told == list(range(1, len(probes.QUICK) + 1))
    assert {result.verdict for result in results} == {"bad"}
    assert "order-one" in {result.name for result in results}
