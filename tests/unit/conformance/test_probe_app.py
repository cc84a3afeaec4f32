"""The probe app and its record: what it answers, what it remembers, and how the record is read while it grows."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
from starlette.testclient import TestClient

from sidestream.conformance.app import Setting, Subscribed, create_app
from sidestream.conformance.deliveries import Deliveries, Delivery
from sidestream.conformance.events import ERROR, event


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


class Overtaken(Deliveries):
    """A record to which everything is added just after it has been read for the first time."""

    def __init__(self, record: Path, added: bytes) -> None:
        super().__init__(record)
        self._path = record
        self._added = added

    def of(self, label: str, topic: str = "") -> list[Delivery]:
        found = super().of(label, topic)
        with self._path.open("ab") as file:
            file.write(self._added)
        self._added = b""
        return found


async def test_what_arrives_between_two_looks_is_not_lost_though_nothing_comes_after_it(record: Path) -> None:
    lines = b"".join(msgspec.json.encode(Delivery("t", "l", n, 0, "ok", 1, 0.0)) + b"\n" for n in range(100))
    assert await Overtaken(record, lines).settle("l", range(100), quiet=0.2) == set()
