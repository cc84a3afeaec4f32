"""What probes make of a broker that misbehaves, and what is made of their results; nothing is started.

Every verdict is tested by a broker that is wrong in just that way: a probe that is always content would measure nothing.
"""

import asyncio
import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from starlette.testclient import TestClient
from typer.testing import CliRunner

from sidestream.cli.broker import app as broker_verbs
from sidestream.conformance import failing, ordering, outage, probes, rating, reaching
from sidestream.conformance.app import Setting, Subscribed, create_app
from sidestream.conformance.clearing import clear
from sidestream.conformance.deliveries import Deliveries, Delivery
from sidestream.conformance.events import ERROR, event
from sidestream.conformance.order import out_of_place, out_of_place_by_key, repeats
from sidestream.conformance.page import page_of
from sidestream.conformance.results import Result, Run, read_run
from sidestream.errors import ConfigurationError
from tests.parts import REPOSITORY
from tests.unit.pretended_broker import PretendedBroker, Wires, stage_on, with_number

RECORDED = sorted((REPOSITORY / "benchmarks/results/brokers").glob("*.json"))


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "deliveries.ndjson"


@pytest.fixture
def broker(record: Path) -> PretendedBroker:
    return PretendedBroker(record)


def named(results: Sequence[Result], name: str) -> tuple[str, str]:
    """Return the verdict and the answer of a name."""
    return next((result.verdict, result.answer) for result in results if result.name == name)


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


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── what arrives ─────────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── the probe app and its record ─────────────────────────────────────────────────────────────────────────────────────


def an_app(record: Path, **subscribed: Any) -> TestClient:
    return TestClient(create_app(Setting("pubsub", str(record), (Subscribed("t", **subscribed),))))


def delivered(*wires: bytes) -> bytes:
    entries = [{"entryId": str(at), "event": msgspec.Raw(wire)} for at, wire in enumerate(wires)]
    return msgspec.json.encode({"entries": entries})


def test_the_app_answers_each_event_as_it_asks_and_remembers_over_a_restart(record: Path) -> None:
    good, failing_once = event("l", 0).wire, event("l", 1, answers=(ERROR,)).wire
    first = an_app(record).post("/take/0", content=delivered(good, failing_once)).json()
    assert [status["status"] for status in first["statuses"]] == ["SUCCESS", "RETRY"]
    again = an_app(record).post("/take/0", content=delivered(failing_once)).json()
    assert [status["status"] for status in again["statuses"]] == ["SUCCESS"]
    assert Deliveries(record).taken("l") == [0, 1]
    assert [each.attempt for each in Deliveries(record).of("l")] == [0, 0, 1]


def test_one_event_at_a_time_is_failed_by_its_status(record: Path) -> None:
    client = an_app(record, bulk=False)
    assert client.post("/take/0", content=event("l", 0, answers=(ERROR,)).wire).status_code == 500
    assert client.post("/take/0", content=event("l", 0, answers=(ERROR,)).wire).json() == {"status": "SUCCESS"}


def test_a_dead_letter_is_taken_whatever_it_asks(record: Path) -> None:
    client = an_app(record, bulk=False, answers_ok=True)
    assert client.post("/take/0", content=event("l", 0, answers=(ERROR,)).wire).status_code == 200


def test_what_the_app_subscribes_to_is_what_it_was_told(record: Path) -> None:
    [subscription] = an_app(record, raw=True, dead_letter="d").get("/dapr/subscribe").json()
    assert subscription["metadata"] == {"rawPayload": "true"}
    assert (subscription["deadLetterTopic"], subscription["bulkSubscribe"]["enabled"]) == ("d", True)


def test_an_entry_that_is_not_ours_is_answered_and_not_recorded(record: Path) -> None:
    answer = an_app(record).post("/take/0", content=delivered(b'{"id":"stranger"}', event("l", 0).wire)).json()
    assert [status["status"] for status in answer["statuses"]] == ["SUCCESS", "SUCCESS"]
    assert Deliveries(record).taken("l") == [0]


async def test_a_line_that_is_half_written_is_read_when_it_is_whole(record: Path) -> None:
    deliveries = Deliveries(record)
    line = msgspec.json.encode(Delivery("t", "l", 4, 0, "ok", 1, 0.0)) + b"\n"
    record.write_bytes(line[:20])
    assert deliveries.taken("l") == []
    with record.open("ab") as file:
        file.write(line[20:])
    assert deliveries.taken("l") == [4]


async def test_waiting_goes_on_while_something_arrives(record: Path) -> None:
    deliveries = Deliveries(record)

    async def arrive() -> None:
        for n in range(6):
            await asyncio.sleep(0.1)
            with record.open("ab") as file:
                file.write(msgspec.json.encode(Delivery("t", "l", n, 0, "ok", n, 0.0)) + b"\n")

    arriving = asyncio.create_task(arrive())
    assert await deliveries.settle("l", range(7), quiet=0.4) == {6}
    await arriving


# ── results, page, bad input ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_run_is_full_and_asks_each_question_once(path: Path) -> None:
    found = read_run(path)
    assert (found.broker, found.scope) == (path.stem, "full")
    names = [result.name for result in found.results]
    assert len(names) == len(set(names))


def test_the_page_is_that_of_the_recorded_runs() -> None:
    written = (REPOSITORY / "docs/brokers.md").read_text(encoding="utf-8")
    assert written == page_of([read_run(path) for path in RECORDED]), (
        "write it anew: sidestream broker check --write docs/brokers.md benchmarks/results/brokers/*.json"
    )


def test_a_page_says_what_is_bad_and_what_was_not_asked() -> None:
    run = read_run(RECORDED[0])
    bad = Result(name="log-order-key", question="Is order kept?", answer="lost 1 | 2", verdict="bad", explanation="It is not.")
    other = Result(name="new", question="What else?", answer="no", verdict="bad", explanation="Nobody knows.")
    page = page_of([run, msgspec.structs.replace(run, broker="mine", results=[bad, other])])
    assert "| **mine** |" in page
    assert "✗ lost 1 \\| 2" in page
    assert "| – |" in page
    assert "- mine: What else? no. Nobody knows." in page


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no json", "expected what `sidestream broker check --json` prints"),
        (b'{"broker": 1}', "expected what `sidestream broker check --json` prints"),
        (None, "expected what `sidestream broker check --json` prints"),
    ],
)
def test_a_file_that_holds_no_run_is_one_sentence(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "run.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="run.json") as raised:
        read_run(path)
    assert said in str(raised.value)


def test_a_run_of_another_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(read_run(RECORDED[0]), form=2)))
    with pytest.raises(ConfigurationError, match="expected form 1, found 2"):
        read_run(path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "found 'nowhere'"),
        (["redis", "kafka"], "expected one broker, found redis, kafka"),
        (["redis", "--pid", "99999999"], "--pid 99999999: expected a process of yours"),
        (["redis", "--pid", "-1"], "--pid -1: expected the broker's process"),
        (["redis", "--pid", "1"], "--pid 1: expected the broker's process"),
        (["--write", "page.md"], "expected files of runs, found none"),
        (["kafka"], "expected the address of kafka, found none"),
    ],
)
def test_words_that_ask_for_nothing_possible_are_one_sentence(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SIDESTREAM_BROKER", raising=False)
    shutil.copytree(REPOSITORY / "components", tmp_path / "components")
    common = {"resourcesPath": "components", "configFilePath": "components/configuration.yaml"}
    ports = {"appPort": 1, "daprHTTPPort": 2, "daprGRPCPort": 3, "metricsPort": 4}
    app = {"appID": "one", "appDirPath": ".", "command": ["true"], **ports}
    (tmp_path / "dapr.yaml").write_text(yaml.safe_dump({"version": 1, "common": common, "apps": [app]}))
    file = [] if "--write" in words else ["-f", str(tmp_path / "dapr.yaml")]
    ended = CliRunner().invoke(broker_verbs, ["check", *words, *file])
    assert isinstance(ended.exception, ConfigurationError)
    assert said in str(ended.exception)


async def test_clearing_touches_only_what_a_check_has_made(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="only what a check has made"):
        await clear(tmp_path, "pubsub", ["sidestream-check-1-a", "votes"], [])


def test_a_run_is_bad_by_one_bad_answer() -> None:
    run = read_run(RECORDED[0])
    good = msgspec.structs.replace(run, results=[r for r in run.results if r.verdict != "bad"])
    assert not good.is_bad
    bad = Result(name="x", question="?", answer="no", verdict="bad", explanation="")
    assert msgspec.structs.replace(good, results=[*good.results, bad]).is_bad
    assert isinstance(good, Run)
