"""What probes make of a broker that misbehaves: order, in the log and in deliveries; nothing is started.

Every verdict is tested by a broker that is wrong in just that way: a probe that is always content would measure nothing.
"""

from pathlib import Path

import pytest

from sidestream.conformance import ordering, probes
from sidestream.conformance.order import out_of_place, out_of_place_by_key, repeats
from tests.unit.conformance.answered import named
from tests.unit.conformance.pretended_broker import PretendedBroker, Wires, stage_on


def reversed_wires(wires: Wires) -> Wires:
    return wires[::-1]


# ── the measure of order ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("numbers", "wrong"), [([], 0), ([0, 1, 2], 0), ([0, 2, 1, 3], 1), ([2, 0, 1], 2), ([0, 1, 0, 2, 1], 0), ([3, 2, 1, 0], 3)]
)
def test_out_of_place_is_who_comes_first_after_a_greater_one(numbers: list[int], wrong: int) -> None:
    assert out_of_place(numbers) == wrong


def test_keys_do_not_disturb_each_other() -> None:
    assert out_of_place_by_key([("a", 5), ("b", 1), ("a", 6), ("b", 2)]) == 0
    assert out_of_place_by_key([("a", 5), ("b", 1), ("a", 4)]) == 1


def test_repeats_are_counted_beyond_the_first() -> None:
    assert repeats([1, 1, 1, 2]) == 2


# ── order ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_broker_that_keeps_order_is_good(broker: PretendedBroker, record: Path) -> None:
    stage = stage_on(broker, record)
    results = [*await ordering.in_bulk(stage), *await ordering.per_key(stage)]
    assert {result.verdict for result in results} == {"good"}
    assert {result.answer for result in results} == {"kept"}


async def test_a_call_out_of_order_is_a_note_because_no_call_holds_two_events_of_a_stream(broker: PretendedBroker, record: Path) -> None:
    broker.records = reversed_wires
    results = await ordering.in_bulk(stage_on(broker, record))
    assert named(results, "log-order-bulk") == ("note", "198 of 200 out of place")
    assert named(await ordering.per_key(stage_on(broker, record)), "log-order-key") == ("good", "kept")


async def test_a_stream_out_of_order_in_the_log_is_bad(broker: PretendedBroker, record: Path) -> None:
    waves: list[bytes] = []

    def newest_first(wires: Wires) -> Wires:
        waves[:0] = wires
        return waves if len(waves) == 200 else []

    broker.records = newest_first
    assert named(await ordering.per_key(stage_on(broker, record)), "log-order-key") == ("bad", "150 of 200 out of place")


@pytest.mark.parametrize("ask", [ordering.in_bulk, ordering.per_key])
async def test_a_confirmed_event_that_is_not_in_the_log_is_bad(broker: PretendedBroker, record: Path, ask: probes.Ask) -> None:
    broker.records = lambda wires: wires[1:]
    found = [result for result in await ask(stage_on(broker, record)) if result.name.startswith("log-")]
    assert [result.verdict for result in found] == ["bad"]
    assert found[0].answer.endswith(" of 200 lost")


async def test_lost_deliveries_are_a_note_where_the_log_is_read_and_bad_where_they_are_the_truth(
    broker: PretendedBroker, record: Path
) -> None:
    broker.delivers = lambda wires: wires[1:]
    for log, verdict, what in ((True, "note", "bells"), (False, "bad", "events")):
        assert named(await ordering.in_bulk(stage_on(broker, record, log=log)), "delivered-order-bulk") == (
            verdict,
            f"2 of 200 {what} lost",
        )
