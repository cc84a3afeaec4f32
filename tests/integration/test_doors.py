"""Numbers, U+0000 and emoji come through every door into `activity` as they were sent, on SQLite and on PostgreSQL.

Compared as text: a number that was parsed on the way and written again would be another one.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest
import pytest_asyncio

from sidestream.launcher.system import System
from tests.integration.sidestream_program import sidestream
from tests.parts import REPOSITORY, running_system
from tests.postgres import running_postgres
from tests.waiting import until

RUN_FILE = REPOSITORY / "tests" / "apps" / "doors.yaml"
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
JSON = "application/json"
SOURCE = "/till/🐈"
VALUES = {
    "two to the 53rd plus one": "9007199254740993",
    "seventeen digits": "0.12345678901234567",
    "one point nought": "1.0",
    "an exponent": "-1.50e-7",
    "the largest of 64 bits": "18446744073709551615",
    "U+0000": '"\\u0000"',
    "emoji": '"🐈‍⬛ 👍🏽"',
    "all in one": '{"big":9007199254740993,"float":0.12345678901234567,"list":[1.0,1,[]],"nul":"a\\u0000b","sign":"🐈"}',
}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sqlite", "postgres"])
async def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """Votes, bridge, tally and activity, with read models in SQLite files and in a PostgreSQL."""
    with running_postgres() if request.param == "postgres" else nullcontext() as postgres:
        environment = {"SIDESTREAM_DATABASE_URL": postgres.url} if postgres else {}
        folder = tmp_path_factory.mktemp("doors") / "system"
        async with running_system(folder, RUN_FILE, environment=environment, guarded=False) as running:
            yield running


# ── the doors ────────────────────────────────────────────────────────────────────────────────────────────────────────


def written(event_id: str, value: str) -> str:
    """Return an event whose data is this very text."""
    event = {"specversion": "1.0", "id": event_id, "source": SOURCE, "type": "till.opened", "datacontenttype": JSON, "data": "@@"}
    return json.dumps(event, ensure_ascii=False).replace('"@@"', value)


async def post(url: str, body: str, content_type: str, headers: dict[str, str] | None = None) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.post(url, content=body.encode(), headers={"content-type": content_type, **(headers or {})})
    assert answer.status_code in {202, 204}, answer.text


async def through_the_bridge_structured(system: System, event_id: str, value: str, _: Path) -> None:
    await post(f"{system['bridge'].url}/events", written(event_id, value), STRUCTURED)


async def through_the_bridge_in_a_batch(system: System, event_id: str, value: str, _: Path) -> None:
    await post(f"{system['bridge'].url}/events", f"[{written(event_id, value)}]", BATCH)


async def through_the_bridge_in_binary_mode(system: System, event_id: str, value: str, _: Path) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": quote(event_id), "ce-source": quote(SOURCE), "ce-type": "till.opened"}
    await post(f"{system['bridge'].url}/events", value, JSON, headers)


async def through_the_bridge_in_the_plain_form(system: System, event_id: str, value: str, _: Path) -> None:
    body = json.dumps({"id": event_id, "source": SOURCE, "type": "till.opened", "payload": "@@"}).replace('"@@"', value)
    await post(f"{system['bridge'].url}/events", body, JSON)


async def through_a_sidecar_directly(system: System, event_id: str, value: str, _: Path) -> None:
    await post(f"{system['votes'].sidecar_url}/v1.0/publish/pubsub/external", written(event_id, value), STRUCTURED)


async def through_the_program(system: System, event_id: str, value: str, folder: Path) -> None:
    file = folder / "events.ndjson"
    file.write_text(written(event_id, value) + "\n", encoding="utf-8")
    await sidestream("publish", str(file), "--url", system["bridge"].url)


Door = Callable[[System, str, str, Path], Awaitable[None]]
DOORS: list[Door] = [
    through_the_bridge_structured,
    through_the_bridge_in_a_batch,
    through_the_bridge_in_binary_mode,
    through_the_bridge_in_the_plain_form,
    through_a_sidecar_directly,
    through_the_program,
]


# ── what is shown ────────────────────────────────────────────────────────────────────────────────────────────────────


async def data_of(system: System, source: str, event_id: str) -> str:
    """Wait for an event in activity and return its data as text, undecoded."""
    found: list[dict[str, msgspec.Raw]] = []

    async def is_there() -> bool:
        async with httpx.AsyncClient(base_url=system["activity"].url, timeout=10) as door:
            answer = await door.get("/events/by-id", params={"source": source, "id": event_id})
        if answer.status_code == 200:
            found[:] = msgspec.json.decode(answer.content, type=dict[str, list[dict[str, msgspec.Raw]]])["events"]
        return bool(found)

    await until(is_there, what=lambda: f"{event_id} of {source} in activity")
    (event,) = found
    return bytes(event["data"]).decode()


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__.replace("_", " "))
async def test_a_value_arrives_as_it_was_sent(system: System, door: Door, tmp_path: Path) -> None:
    program = door is through_the_program
    values = {"all in one": VALUES["all in one"]} if program else VALUES  # each run of the program takes a second
    for name, value in values.items():
        await door(system, f"{door.__name__} {name}", value, tmp_path)
    assert {name: await data_of(system, SOURCE, f"{door.__name__} {name}") for name in values} == values


@pytest.mark.parametrize("text", ["9007199254740993", "0.12345678901234567", "1.0", "🐈‍⬛ 👍🏽", '"\\u0000"', "50% / a?b#c&d=e"])
async def test_a_vote_is_counted_under_the_very_text_that_was_sent(system: System, text: str) -> None:
    vote = {"poll": f"poll {text}", "option": text, "voter": f"voter {text}"}
    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.post(f"{system['votes'].url}/votes", json=vote)
        assert answer.status_code == 202, answer.text
        assert json.loads(await data_of(system, "/services/votes", answer.json()["id"])) == vote
        poll = f"{system['tally'].url}/polls/{quote(vote['poll'], safe='')}"
        expected = {"poll": vote["poll"], "votes": 1, "options": [{"option": text, "votes": 1}]}

        async def is_counted() -> bool:
            found: Any = (await client.get(poll)).json()
            return bool(found == expected)

        await until(is_counted, what=lambda: f"{expected} at {poll}")


async def test_a_vote_with_a_control_character_is_refused_and_nothing_is_shown(system: System) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.post(f"{system['votes'].url}/votes", json={"poll": "nul", "option": "a\x00b", "voter": "v"})
        found = await client.get(f"{system['tally'].url}/polls/nul")
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert "option" in answer.json()["detail"]
    assert found.status_code == 404


async def test_what_binary_mode_brings_that_is_no_json_is_shown_in_base64(system: System) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "picture", "ce-source": "/camera", "ce-type": "seen"}
    async with httpx.AsyncClient(timeout=30) as client:
        await client.post(f"{system['bridge'].url}/events", content=b"\x89PNG\0", headers={"content-type": "image/png", **headers})

        async def is_there() -> bool:
            found = await client.get(f"{system['activity'].url}/events/by-id", params={"source": "/camera", "id": "picture"})
            return found.status_code == 200 and found.json()["events"][0]["data_base64"] == "iVBORwA="

        await until(is_there)
