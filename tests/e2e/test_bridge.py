"""The bridge through its doors, on the memory backbone."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from services.bridge import recent
from services.bridge.bootstrap import create_app
from sidestream.event import MAX_EVENT_BYTES
from tests.e2e.garbage import GARBAGE, JSON
from tests.e2e.write_side import WriteSide, writing

ONE = "application/cloudevents+json"
MANY = "application/cloudevents-batch+json"
STRANGE = ["9007199254740993", "1.0", "0.12345678901234567", '"\\u0000"', '"🐈"', '{"b": [ 1 , 2.50 ] , "a": null}', "null"]


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[WriteSide]:
    """A running bridge."""
    async with writing(create_app, tmp_path) as side:
        yield side


def event(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": str(number), "source": "/till", "type": "opened", "data": {"n": number}, **changes}


def text_of(data: str, **changes: Any) -> str:
    """Return an event whose data is this very text."""
    return json.dumps(event(data="@@", **changes)).replace('"@@"', data)


async def post(side: WriteSide, body: Any, content_type: str, **headers: str) -> httpx.Response:
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    return await side.client.post("/events", content=content, headers={"content-type": content_type, **headers})


def stored(side: WriteSide) -> int:
    return len(side.backbone.event_store("bridge").follow(0, 10_000))


# ── one event ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_event_of_a_stranger_reaches_the_log(bridge: WriteSide) -> None:
    answer = await post(bridge, event(subject="till-1", tenant="a", retries=3, sequence="9"), ONE)
    (found,) = await bridge.logged("external", 1)
    wire = msgspec.json.decode(bridge.wires("external")[0])

    assert answer.status_code == 202
    assert answer.json() == {
        "id": "1",
        "source": "/till",
        "topic": "external",
        "producer": found.producer,
        "sequence": 1,
        "duplicate": False,
    }
    assert {name: wire[name] for name in ("id", "source", "type", "subject", "tenant", "retries", "originsequence")} == {
        "id": "1",
        "source": "/till",
        "type": "opened",
        "subject": "till-1",
        "tenant": "a",
        "retries": 3,
        "originsequence": "9",
    }


@pytest.mark.parametrize("data", STRANGE)
async def test_data_is_kept_byte_by_byte_through_every_form(bridge: WriteSide, data: str) -> None:
    binary = {"ce-specversion": "1.0", "ce-id": "2", "ce-source": "/till", "ce-type": "opened"}
    answers = [
        await post(bridge, text_of(data), ONE),
        await post(bridge, data.encode(), JSON, **binary),
        await post(bridge, f'{{"type": "opened", "source": "/till", "payload": {data}}}', JSON),
        await post(bridge, f"[{text_of(data, id='3')}]", MANY),
    ]

    assert [answer.status_code for answer in answers] == [202] * 4, [answer.text for answer in answers]
    assert [bytes(found.data) for found in await bridge.logged("external", 4)] == [data.encode()] * 4


async def test_an_event_sent_again_is_the_same_success_and_doubles_nothing(bridge: WriteSide) -> None:
    first, again = await post(bridge, event(), ONE), await post(bridge, event(), ONE)

    assert again.status_code == 202
    assert again.json() == {**first.json(), "duplicate": True}
    assert stored(bridge) == 1


async def test_the_same_event_in_another_mode_is_a_repeat(bridge: WriteSide) -> None:
    await post(bridge, event(), ONE)
    binary = await post(
        bridge, json.dumps({"n": 1}), JSON, **{"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/till", "ce-type": "opened"}
    )
    plain = await post(bridge, {"id": "1", "source": "/till", "type": "opened", "payload": {"n": 1}}, JSON)

    assert binary.json()["duplicate"]
    assert plain.json()["duplicate"]
    assert stored(bridge) == 1


async def test_an_event_belongs_to_the_conversation_of_its_request_unless_it_names_one(bridge: WriteSide) -> None:
    talk = {"X-Correlation-ID": "talk", "X-Causation-ID": "cause"}
    await post(bridge, event(1), ONE, **talk)
    await post(bridge, [event(2, correlationid="own", causationid="mine"), event(3)], MANY, **talk)
    await post(bridge, event(4), ONE)
    found = await bridge.logged("external", 4)

    expected = [("1", "talk", "cause"), ("2", "own", "mine"), ("3", "talk", "cause"), ("4", None, None)]
    assert sorted((each.id, each.correlationid, each.causationid) for each in found) == expected


async def test_other_content_under_the_same_id_is_a_conflict(bridge: WriteSide) -> None:
    await post(bridge, event(), ONE)
    answer = await post(bridge, event(data={"n": 2}), ONE)

    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:sidestream:problem:event-conflict"
    assert (await post(bridge, event(source="/other", data={"n": 2}), ONE)).status_code == 202
    assert stored(bridge) == 2


async def test_a_plain_event_without_an_id_gets_one(bridge: WriteSide) -> None:
    answers = [await post(bridge, {"type": "opened", "source": "/till", "payload": 1}, JSON) for _ in range(2)]

    assert len({answer.json()["id"] for answer in answers}) == 2
    assert stored(bridge) == 2


async def test_anything_may_be_the_data_in_binary_mode(bridge: WriteSide) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/till", "ce-type": "seen", "ce-subject": "Caf%C3%A9%20%25"}
    await post(bridge, b"\x89PNG\0", "image/png", **headers)
    (found,) = await bridge.logged("external", 1)

    assert (found.data_base64, found.datacontenttype, found.subject) == ("iVBORwA=", "image/png", "Café %")


# ── batches ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_batch_is_stored_once(bridge: WriteSide) -> None:
    first = await post(bridge, [event(number) for number in range(3)], MANY)
    more = await post(bridge, [event(number) for number in range(5)], MANY)

    assert first.json() == {"stored": 3, "duplicates": 0}
    assert more.json() == {"stored": 2, "duplicates": 3}
    assert [found.id for found in await bridge.logged("external", 5)] == ["0", "1", "2", "3", "4"]


async def test_an_empty_batch_is_a_success(bridge: WriteSide) -> None:
    answer = await post(bridge, [], MANY)

    assert (answer.status_code, answer.json()) == (202, {"stored": 0, "duplicates": 0})


async def test_a_batch_with_a_bad_event_is_refused_whole_and_each_bad_one_is_named(bridge: WriteSide) -> None:
    await post(bridge, event(7), ONE)
    batch = [event(1), {"id": "2"}, event(3, source="a b"), 5, event(7, data="other")]
    answer = await post(bridge, batch, MANY)
    errors = answer.json()["errors"]

    assert answer.status_code == 400
    assert [(error["index"], error["status"]) for error in errors] == [(1, 400), (2, 400), (3, 400)]
    assert all(error["detail"] for error in errors)
    assert stored(bridge) == 1


async def test_a_batch_with_conflicts_alone_is_a_conflict_and_all_are_named(bridge: WriteSide) -> None:
    await post(bridge, [event(1), event(2)], MANY)
    answer = await post(bridge, [event(3), event(1, data="x"), event(2, data="x"), event(3, data="x"), event(1)], MANY)

    assert answer.status_code == 409
    assert [(error["index"], error["status"]) for error in answer.json()["errors"]] == [(1, 409), (2, 409), (3, 409)]
    assert stored(bridge) == 2


async def test_a_large_batch_is_taken_and_a_larger_one_is_not(bridge: WriteSide) -> None:
    large = [event(number, data="x" * 3_000_000) for number in range(5)]
    taken = await post(bridge, large, MANY)
    too_large = await post(bridge, [*large, event(6, data="x" * 3_000_000)], MANY)
    too_many = await post(bridge, [event(number) for number in range(10_001)], MANY)

    assert taken.json() == {"stored": 5, "duplicates": 0}
    assert (too_large.status_code, too_many.status_code) == (413, 413)
    assert stored(bridge) == 5


async def test_an_event_in_a_batch_may_not_be_larger_than_alone(bridge: WriteSide) -> None:
    answer = await post(bridge, [event(1), event(2, data="x" * MAX_EVENT_BYTES)], MANY)

    assert answer.status_code == 400
    assert [error["index"] for error in answer.json()["errors"]] == [1]
    assert stored(bridge) == 0


async def test_the_same_batch_from_many_at_once_is_stored_once(bridge: WriteSide) -> None:
    batch = [event(number) for number in range(200)]
    answers = await asyncio.gather(*(post(bridge, batch, MANY) for _ in range(6)))

    assert {answer.status_code for answer in answers} == {202}
    assert sum(answer.json()["stored"] for answer in answers) == 200
    assert stored(bridge) == 200


# ── refused ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("content_type", [JSON, ONE])
@pytest.mark.parametrize(("body", "_", "status"), GARBAGE)
async def test_garbage_is_refused_and_nothing_is_stored(bridge: WriteSide, body: bytes, _: str, status: int, content_type: str) -> None:
    await bridge.refused("POST", "/events", content=body, headers={"content-type": content_type}, status=status)
    assert stored(bridge) == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{}",
        b"null",
        b"[",
        b"[1",
        b"\xff",
        b"[" * 100_000 + b"]" * 100_000,
        b'[{"id": "\xff"}]',
        b'[{"id": "\\ud800"}]',
        b"[[]]",
    ],
)
async def test_a_batch_that_is_none_is_refused_and_nothing_is_stored(bridge: WriteSide, body: bytes) -> None:
    await bridge.refused("POST", "/events", content=body, headers={"content-type": MANY}, status=400)
    assert stored(bridge) == 0


@pytest.mark.parametrize("missing", ["specversion", "id", "source", "type"])
async def test_an_attribute_that_is_missing_is_named_and_nothing_is_stored(bridge: WriteSide, missing: str) -> None:
    body = {name: value for name, value in event().items() if name != missing}
    problem = await bridge.refused("POST", "/events", json=None, content=json.dumps(body), headers={"content-type": ONE}, status=400)
    headers = {f"ce-{name}": str(value) for name, value in body.items() if name != "data"}
    await bridge.refused("POST", "/events", content="1", headers={"content-type": JSON, **headers}, status=400)

    assert missing in problem["detail"]
    assert stored(bridge) == 0


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/cloudevents+xml", 415),
        ("application/cloudevents", 415),
    ],
)
async def test_another_content_type_is_refused_and_says_what_is_taken(bridge: WriteSide, content_type: str, status: int) -> None:
    headers = {"content-type": content_type} if content_type else {}
    problem = await bridge.refused("POST", "/events", content=json.dumps(event()), headers=headers, status=status)

    assert "application/cloudevents+json" in problem["detail"]
    assert stored(bridge) == 0


# ── looking back ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_recent_events_come_newest_first_and_unchanged(bridge: WriteSide) -> None:
    for number, data in enumerate(STRANGE):
        await post(bridge, text_of(data, id=str(number)), ONE)
    await bridge.logged("external", len(STRANGE))
    answer = await bridge.client.get("/events", params={"limit": 3})
    found = msgspec.json.decode(answer.content, type=dict[str, msgspec.Raw])
    events = msgspec.json.decode(found["events"], type=list[dict[str, msgspec.Raw]])

    assert [bytes(each["data"]).decode() for each in events] == STRANGE[:-4:-1]
    assert (bytes(found["complete"]), bytes(found["unreadable"])) == (b"true", b"0")


async def test_recent_events_are_filtered(bridge: WriteSide) -> None:
    batch = [event(n, type=f"t{n % 2}", source=f"/s{n % 3}", subject=f"u-{n % 5}") for n in range(30)]
    await post(bridge, batch, MANY)
    await bridge.logged("external", 30)

    async def ids(**params: Any) -> list[int]:
        return [int(found["id"]) for found in (await bridge.client.get("/events", params=params)).json()["events"]]

    assert await ids(type="t1", limit=2) == [29, 27]
    assert await ids(source="/s0") == list(range(27, -1, -3))
    assert await ids(subject="u-4", type="t0") == [24, 14, 4]
    assert await ids(type="nothing") == []
    assert await ids(since="2020-01-01T00:00:00Z", limit=1) == [29]
    assert await ids(since="2020-01-01T00:00:00+01:00", limit=1) == [29]
    assert await ids(since="2999-01-01T00:00:00Z") == []


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0},
        {"limit": 1001},
        {"limit": "x"},
        {"since": "yesterday"},
        {"since": "2026-02-30T00:00:00Z"},
        {"type": ""},
        {"source": "x" * 513},
    ],
)
async def test_bad_parameters_are_refused(bridge: WriteSide, params: dict[str, Any]) -> None:
    await bridge.refused("GET", "/events", params=params, status=400)


async def test_an_entry_that_is_no_event_is_passed_over(bridge: WriteSide) -> None:
    await post(bridge, event(), ONE)
    await bridge.logged("external", 1)
    lone = b'{"specversion":"1.0","id":"9","source":"s","type":"t","data":"\\ud800"}'
    bridge.backbone.log().record("external", [b"garbage", lone, b"{}", b"[" * 100_000])  # type: ignore[attr-defined]
    answer = (await bridge.client.get("/events")).json()

    assert [found["id"] for found in answer["events"]] == ["1"]
    assert answer["unreadable"] == 4


async def test_a_search_ends_after_bounded_work_and_says_so(bridge: WriteSide) -> None:
    wire = json.dumps(event()).encode()
    bridge.backbone.log().record("external", [wire] * (recent.MAX_SCANNED + 1))  # type: ignore[attr-defined]
    answer = (await bridge.client.get("/events", params={"type": "nothing"})).json()

    assert (answer["events"], answer["complete"], answer["scanned"]) == ([], False, recent.MAX_SCANNED)


async def test_the_service_is_ready_and_described(bridge: WriteSide) -> None:
    assert (await bridge.client.get("/readyz")).status_code == 200
    operation = (await bridge.client.get("/openapi.json")).json()["paths"]["/events"]["post"]

    assert set(operation["requestBody"]["content"]) == {ONE, MANY, JSON}
    assert {"202", "400", "409", "413", "415"} <= set(operation["responses"])
