"""`sidestream events` beside a running system: a real bridge, its sidecar and broker, and a subscriber that fails now and then."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from sidestream.launcher.system import System
from tests.asking import caught_up, length, since_start, wires
from tests.integration.importing import encoded, event
from tests.integration.sidestream_program import Ended, sidestream
from tests.parts import REPOSITORY, running_system
from tests.subscriber import Door
from tests.waiting import until

RUN_FILE = REPOSITORY / "tests" / "apps" / "importing.yaml"
EVENTS = 3_000

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    """The bridge and activity, each with a sidecar, and some thousand events in the log, applied."""
    async with running_system(tmp_path / "system", RUN_FILE) as running:
        file = tmp_path / "events.ndjson"
        file.write_bytes(b"\n".join(encoded(event(number)) for number in range(EVENTS)))
        await sidestream("publish", str(file), "--url", running["bridge"].url)
        await until(lambda: length(running, "external") >= EVENTS, seconds=60)
        await caught_up(running, "activity", "/events", seconds=60)
        yield running


@pytest.fixture
def subscriber() -> Iterator[Door]:
    with closing(Door()) as door:
        yield door


def where(tmp_path: Path) -> tuple[str, ...]:
    return ("--data", str(tmp_path / "system"), "-f", str(RUN_FILE))


async def events(tmp_path: Path, verb: str, *words: str, code: int = 0) -> Ended:
    return await sidestream("events", verb, *words, "--json", *where(tmp_path), code=code)


async def listed(tmp_path: Path, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (await events(tmp_path, "list", *words)).out.splitlines()]


async def test_the_list_and_an_event_are_what_stands_in_the_log(system: System, tmp_path: Path) -> None:
    recorded = [json.loads(wire) for wire in wires(system, "external")]
    everything = await listed(tmp_path)
    assert [line["event"] for line in everything] == recorded
    stream = await listed(tmp_path, "--stream", "till-7", "--start", "last", "--count", "2", "--reverse")
    assert [line["event"]["id"] for line in stream] == ["2807", "2407"]
    middle = everything[1500]
    since = await listed(tmp_path, "--topic", "external", "--since", middle["position"], "--count", "1")
    assert since == [middle]
    later = await listed(tmp_path, "--since", middle["recorded"], "--topic", "external")
    assert [line for line in everything if line["recorded"] >= middle["recorded"]] == later
    shown = json.loads((await events(tmp_path, "show", "2999")).out)["found"]
    assert [each["event"]["data"]["big"] for each in shown] == [2**53 + 2999]
    assert (await events(tmp_path, "show", "nobody", code=1)).out == ""


async def test_the_store_of_a_service_is_listed_beside_the_running_app(system: System, tmp_path: Path) -> None:
    stored = await listed(tmp_path, "--store", "bridge", "--type", "till.sold")
    assert len(stored) == EVENTS
    assert {line["event"]["id"] for line in stored} == {str(number) for number in range(EVENTS)}


async def test_a_conversation_is_told_as_a_tree(system: System, tmp_path: Path) -> None:
    async with httpx.AsyncClient(base_url=system["bridge"].url, timeout=30) as client:
        for name, cause in (("placed", None), ("paid", "placed"), ("mailed", "paid"), ("thanked", "placed")):
            one = {"specversion": "1.0", "id": name, "source": "/shop", "type": f"order.{name}", "correlationid": "k-1", "data": {}}
            body = one if cause is None else {**one, "causationid": cause}
            answer = await client.post("/events", json=body, headers={"content-type": "application/cloudevents+json"})
            assert answer.status_code == 202, answer.text
    await until(lambda: length(system, "external") >= EVENTS + 4)
    found = json.loads((await events(tmp_path, "trace", "paid")).out)
    assert found["correlation"] == "k-1"
    assert [(each["id"], each["depth"]) for each in found["events"]] == [("placed", 0), ("paid", 1), ("mailed", 2), ("thanked", 1)]
    tree = (await sidestream("events", "trace", "k-1", *where(tmp_path))).out.splitlines()
    assert [line.find("order.") // 4 for line in tree[1:]] == [1, 2, 3, 2]
    await events(tmp_path, "trace", "nobody", code=1)


@asynccontextmanager
async def tailing(tmp_path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    words = ("events", "tail", "--json", "--since", "2000-01-01T00:00:00Z", *where(tmp_path))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        str(REPOSITORY / ".venv/bin/sidestream"), *words, stdout=pipe, stderr=pipe, env={**os.environ}
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_the_tail_shows_what_comes_and_ends_quietly(system: System, tmp_path: Path) -> None:
    async with tailing(tmp_path) as process:
        assert process.stdout is not None
        for number in range(EVENTS):
            assert await process.stdout.readline(), f"{process.returncode} after {number} lines: {await process.communicate()}"
        await sidestream("publish", str(a_file(tmp_path, EVENTS)), "--url", system["bridge"].url)
        assert json.loads(await asyncio.wait_for(process.stdout.readline(), 20))["event"]["id"] == str(EVENTS)
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
        assert (process.returncode, out, err) == (0, b"", b"")


def a_file(tmp_path: Path, number: int) -> Path:
    file = tmp_path / "one.ndjson"
    file.write_bytes(encoded(event(number)))
    return file


async def test_a_replay_reaches_a_subscriber_that_fails_now_and_then_in_order_and_no_read_model(
    system: System, tmp_path: Path, subscriber: Door
) -> None:
    recorded = [json.loads(wire) for wire in wires(system, "external")]
    subscriber.answers = [(503, b""), (200, b""), (200, b'{"status":"RETRY"}'), (200, b""), (500, b"")]
    words = ("--to", subscriber.url, "--type", "till.sold")
    first = json.loads((await events(tmp_path, "replay", *words, "--count", "300")).out)
    assert (first["handed"], first["problem"]) == (300, None)
    subscriber.answers = [(200, b"")] * 100 + [(500, b"broken")] * 2
    stopped = json.loads((await events(tmp_path, "replay", *words, "--after", first["after"], "--attempts", "2", code=1)).out)
    assert stopped["handed"] == 100
    assert "found 500: 'broken'" in stopped["problem"]
    rest = json.loads((await events(tmp_path, "replay", *words, "--after", stopped["after"])).out)
    assert rest["handed"] == EVENTS - 400
    assert [(each["id"], each["data"], each["sequence"]) for each in subscriber.taken] == [
        (each["id"], each["data"], each["sequence"]) for each in recorded
    ]
    assert {each["replayed"] for each in subscriber.taken} == {True}
    assert length(system, "external") == EVENTS
    assert (await since_start(system["activity"].url))["applied"] == EVENTS


async def test_a_replay_is_refused_by_everything_that_keeps_facts(system: System, tmp_path: Path) -> None:
    refused = await events(tmp_path, "replay", "--to", "activity", code=2)
    assert "activity is a projection" in json.loads(refused.err)["error"]["message"]
    bridge = await events(tmp_path, "replay", "--to", f"{system['bridge'].url}/events", "--attempts", "1", code=1)
    assert "replayed: expected a new event" in json.loads(bridge.out)["problem"]
    door = f"{system['activity'].url}/bell/external"
    bell = await events(tmp_path, "replay", "--to", door, "--attempts", "1", code=1)
    assert "found 401" in json.loads(bell.out)["problem"], "only its sidecar rings it"
    token = system["activity"].app.program.secrets["APP_API_TOKEN"].read_text().strip()
    async with httpx.AsyncClient(headers={"dapr-api-token": token}, timeout=30) as sidecar:
        replayed = {**json.loads(wires(system, "external")[0]), "id": "new", "replayed": True}
        rung = await sidecar.post(door, json=replayed, headers={"content-type": "application/cloudevents+json"})
    assert rung.status_code == 200, "a bell is no more than a bell"
    assert length(system, "external") == EVENTS
    assert (await since_start(system["activity"].url))["applied"] == EVENTS
    dry = json.loads((await events(tmp_path, "replay", "--to", "http://127.0.0.1:1/", "--dry-run")).out)
    assert (dry["handed"], dry["dry_run"]) == (EVENTS, True)
