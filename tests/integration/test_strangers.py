"""Strangers publish by plain HTTP to a sidecar that is not theirs: what is an event arrives once, what is not stops nothing.

Nothing of Sidestream stands between the stranger and the log here: daprd takes whatever it takes, and the read models
have to live with it.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from sidestream.launcher.system import System
from tests.asking import all_pages, broker_of, caught_up, length, since_start
from tests.integration.sidestream_program import dead_letters
from tests.parts import REPOSITORY, running_system
from tests.waiting import until

RUN_FILE = REPOSITORY / "tests" / "apps" / "doors.yaml"
CLOUDEVENT = "application/cloudevents+json"
HUNG_UP = 0
"""Stands for a status where daprd closed the connection without an answer."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """Votes, bridge, tally and activity; each test writes under a source of its own."""
    async with running_system(tmp_path_factory.mktemp("strangers") / "system", RUN_FILE, guarded=False) as running:
        yield running


async def publish(system: System, topic: str, body: bytes | str | dict[str, Any], content_type: str = CLOUDEVENT, **query: str) -> int:
    """Publish by plain HTTP to the sidecar of votes, and return the status."""
    content = json.dumps(body) if isinstance(body, dict) else body
    async with httpx.AsyncClient(timeout=30) as client:
        url = f"{system['votes'].sidecar_url}/v1.0/publish/pubsub/{topic}"
        try:
            return (await client.post(url, content=content, headers={"content-type": content_type}, params=query)).status_code
        except httpx.RemoteProtocolError:
            return HUNG_UP


async def seen(system: System, source: str) -> list[dict[str, Any]]:
    """Return what activity shows of a source when everything published so far has been applied."""
    await caught_up(system, "activity", "/events")
    return await all_pages(system["activity"].url, "/events", "events", source=source)


def four(source: str, event_id: str = "1", event_type: str = "till.opened") -> dict[str, Any]:
    return {"specversion": "1.0", "id": event_id, "source": source, "type": event_type}


@pytest.mark.parametrize("topic", ["external", "votes", "assets", "scans"])
async def test_four_attributes_are_enough_and_twice_the_same_event_is_one(system: System, topic: str) -> None:
    source = f"/stranger/{topic}"
    before = length(system, topic)
    for event_id in ("a", "b", "a", "a"):
        assert await publish(system, topic, four(source, event_id)) == 204

    await until(lambda: length(system, topic) >= before + 4)
    assert sorted((event["id"], event["type"]) for event in await seen(system, source)) == [("a", "till.opened"), ("b", "till.opened")]
    assert length(system, topic) == before + 4, "daprd has written an event twice by itself"


async def test_everything_a_stranger_says_is_shown_as_it_came(system: System) -> None:
    event = {
        **four("/stranger/talkative"),
        "subject": "till-🐈",
        "time": "2026-11-20T10:30:00.5+01:00",
        "dataschema": "https://example.org/till",
        "correlationid": "c",
        "causationid": "d",
        "tenant": "anybody's",
        "sequence": "not a number",
        "data": {"float": 100},
    }
    assert await publish(system, "external", event) == 204

    (found,) = await seen(system, "/stranger/talkative")
    assert {name: found[name] for name in ("subject", "dataschema", "correlationid", "causationid", "data", "time_given")} == {
        **{name: event[name] for name in ("subject", "dataschema", "correlationid", "causationid", "data")},
        "time_given": event["time"],
    }
    assert found["time"] == "2026-11-20T09:30:00.500000000Z"


async def test_a_stranger_who_speaks_the_language_is_counted(system: System) -> None:
    vote = {**four("/stranger/voter", "1", "vote.cast"), "subject": "vote-1", "data": {"poll": "stranger", "option": "yes", "voter": "s"}}
    for _ in range(2):
        assert await publish(system, "votes", vote) == 204

    await seen(system, "/stranger/voter")
    await caught_up(system, "tally", "/polls")
    async with httpx.AsyncClient(base_url=system["tally"].url, timeout=30) as door:
        assert (await door.get("/polls/stranger")).json() == {"poll": "stranger", "votes": 1, "options": [{"option": "yes", "votes": 1}]}


DEEP = "[" * 100_000 + "]" * 100_000
LONG = "x" * 600
REFUSED: dict[str, bytes | str | dict[str, Any]] = {
    "nothing": b"",
    "text": b"not JSON",
    "half an object": b'{"specversion": "1.0", "id": "1"',
    "data that is not JSON": b'{"specversion": "1.0", "id": "1", "source": "/garbage", "type": "t", "data": nonsense}',
    "a list": b"[]",
    "null": b"null",
    "a depth of 100,000": f'{{"specversion": "1.0", "id": "7", "source": "/garbage", "type": "t", "data": {DEEP}}}',
}
UNREADABLE: dict[str, bytes | str | dict[str, Any]] = {
    "no id": {"specversion": "1.0", "source": "/garbage", "type": "t"},
    "an empty id": {**four("/garbage"), "id": ""},
    "an id that is a number": {**four("/garbage"), "id": 7},
    "an id that is nothing": {**four("/garbage"), "id": None},
    "a source that is a list": {**four("/garbage"), "source": ["/garbage"]},
    "a type that is an object": {**four("/garbage"), "type": {}},
    "a long id": {**four("/garbage"), "id": LONG},
    "a long source": {**four("/garbage"), "source": f"/garbage/{LONG}"},
    "a long type": {**four("/garbage"), "type": LONG},
    "a long subject": {**four("/garbage"), "subject": LONG},
    "a subject that is a number": {**four("/garbage", "2"), "subject": 5},
    "a forged count": {**four("/garbage", "3"), "producer": "me.1", "sequence": "minus one"},
    "a forged version": {**four("/garbage", "4"), "producer": "me.1", "sequence": "1", "streamversion": 0},
    "a count beyond all numbers": {**four("/garbage", "5"), "producer": "me.2", "sequence": "9" * 40},
}
STRANGE: dict[str, bytes | str | dict[str, Any]] = {
    "a lone surrogate": b'{"specversion": "1.0", "id": "6", "source": "/garbage", "type": "t", "data": "\\ud800"}',
    "bytes that are not UTF-8": b'{"specversion": "1.0", "id": "\xff", "source": "/garbage", "type": "t"}',
    "a number beyond all numbers": b'{"specversion": "1.0", "id": "8", "source": "/garbage", "type": "t", "data": 1e999}',
    "a vote for nothing": {**four("/garbage", "9", "vote.cast"), "subject": "vote-g", "data": {"poll": 7}},
    "a vote without data": {**four("/garbage", "10", "vote.cast"), "subject": "vote-h"},
}


@pytest.mark.parametrize("topic", ["external", "votes"])
async def test_garbage_is_refused_or_a_dead_letter_and_stops_nothing(system: System, topic: str) -> None:
    source, counted = f"/stranger/after-garbage/{topic}", ("activity", "tally") if topic == "votes" else ("activity",)
    parked = {app: (await since_start(system[app].url))["parked"] for app in counted}
    before = length(system, topic)
    for name, body in REFUSED.items():
        # On `null` the handler of daprd 1.18.1 panics and hangs up; the sidecar lives on.
        assert await publish(system, topic, body) in {HUNG_UP, 400, 500}, name
    assert length(system, topic) == before
    for name, body in {**UNREADABLE, **STRANGE}.items():
        assert await publish(system, topic, body) == 204, name
    assert await publish(system, topic, four(source)) == 204

    assert [event["id"] for event in await seen(system, source)] == ["1"]
    await caught_up(system, "tally", "/polls")
    votes_for_nothing = {"activity": 0, "tally": 2}
    expected = {app: parked[app] + len(UNREADABLE) + votes_for_nothing[app] for app in counted}
    assert {app: (await since_start(system[app].url))["parked"] for app in counted} == expected
    await assert_all_is_well(system)


async def assert_all_is_well(system: System) -> None:
    assert system.deaths == []
    for app in ("activity", "tally"):
        async with httpx.AsyncClient(base_url=system[app].url, timeout=30) as door:
            assert (await door.get("/readyz")).status_code == 200


@pytest.mark.parametrize("topic", ["external", "votes"])
async def test_bytes_that_no_sidecar_looked_at_become_dead_letters_and_stop_nothing(system: System, topic: str) -> None:
    """`rawPayload` hands the very bytes to the broker; the last entries come from somebody at the broker itself."""
    source, before = f"/stranger/after-bytes/{topic}", (await since_start(system["activity"].url))["parked"]
    raw = [b"not JSON", b"\xff\xfe", DEEP.encode(), b"{" * 1_000, json.dumps({**four("/garbage"), "id": LONG}).encode()]
    for body in raw:
        assert await publish(system, topic, body, "application/octet-stream", **{"metadata.rawPayload": "true"}) == 204
    with broker_of(system) as client:
        client.xadd(topic, {"nothing": "here"})
        client.xadd(topic, {"data": b'{"id": "1"}'})
    assert await publish(system, topic, four(source)) == 204

    assert [event["id"] for event in await seen(system, source)] == ["1"]
    assert (await since_start(system["activity"].url))["parked"] == before + len(raw) + 2
    letters = await dead_letters(system.folder.path, "activity")
    assert letters
    assert {letter["reason"] for letter in letters} == {"unreadable-entry"}
    assert all(letter["detail"] for letter in letters)
    await assert_all_is_well(system)


async def test_as_it_is_started_by_default_a_stranger_has_a_topic_of_its_own_and_no_other(tmp_path: Path) -> None:
    async with running_system(tmp_path / "system", RUN_FILE, tokens="off") as running, httpx.AsyncClient(timeout=30) as curl:
        sidecar, headers = running["bridge"].sidecar_url, {"content-type": CLOUDEVENT}
        for _ in range(2):
            answer = await curl.post(f"{sidecar}/v1.0/publish/pubsub/external", json=four("/curl"), headers=headers)
            assert answer.status_code == 204
        refused = await curl.post(f"{sidecar}/v1.0/publish/pubsub/votes", json=four("/curl"), headers=headers)
        assert (refused.status_code, refused.json()["errorCode"]) == (403, "ERR_PUBSUB_FORBIDDEN")
        assert [event["id"] for event in await seen(running, "/curl")] == ["1"]
