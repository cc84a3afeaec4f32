"""The inbox's door: kept before it is answered, all of it or nothing, and only raw deliveries."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.testclient import TestClient

from sidestream.errors import StoreAway
from sidestream.settings import Settings
from sidestream.web.app import new_app
from sidestream.web.inbox import collect


class Kept:
    """What was handed on, unless the disk is away."""

    def __init__(self) -> None:
        self.wires: list[tuple[str, list[bytes]]] = []
        self.away = False

    def __call__(self, topic: str, wires: Sequence[bytes]) -> None:
        if self.away:
            raise StoreAway("the disk is full")
        self.wires.append((topic, list(wires)))


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def door(kept: Kept) -> TestClient:
    app = new_app("tested", Settings(app_id="tally"))
    collect(app, "pubsub", "tally", ["votes"], kept)
    return TestClient(app)


def delivery(*wires: bytes | None) -> dict[str, Any]:
    return {"entries": [{"entryId": str(at), "event": wire if wire is None else b64encode(wire).decode()} for at, wire in enumerate(wires)]}


def test_it_subscribes_for_raw_payloads_and_for_what_was_given_up(door: TestClient) -> None:
    first, second = door.get("/dapr/subscribe").json()
    assert (first["topic"], first["route"], first["deadLetterTopic"]) == ("votes", "/inbox/votes", "votes.undelivered.tally")
    assert (second["topic"], second["route"]) == ("votes.undelivered.tally", "/inbox/votes")
    assert first["metadata"] == second["metadata"] == {"rawPayload": "true"}
    assert "deadLetterTopic" not in second


def test_every_entry_is_kept_as_it_came_and_then_answered(door: TestClient, kept: Kept) -> None:
    answer = door.post("/inbox/votes", json=delivery(b'{"n":1.0}', b"\xff\xfe", b"", None))
    assert kept.wires == [("votes", [b'{"n":1.0}', b"\xff\xfe", b"", b""])]
    assert answer.json() == {"statuses": [{"entryId": str(at), "status": "SUCCESS"} for at in range(4)]}


def test_what_could_not_be_kept_is_answered_500_as_a_whole(door: TestClient, kept: Kept) -> None:
    kept.away = True
    answer = door.post("/inbox/votes", json=delivery(b"{}"))
    assert (answer.status_code, answer.json()["type"], answer.json()["detail"]) == (
        500,
        "urn:sidestream:problem:store-away",
        "the disk is full",
    )


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b'{"entries":[{"entryId":"1","event":{"id":"1"}}]}', b'{"id":"1"}'])
def test_a_delivery_that_is_not_raw_is_held_back_and_never_lost(door: TestClient, kept: Kept, body: bytes) -> None:
    answer = door.post("/inbox/votes", content=body)
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:sidestream:problem:invalid-delivery")
    assert "raw payloads" in answer.json()["detail"]
    assert kept.wires == []


def test_a_delivery_may_be_larger_than_other_bodies(door: TestClient, kept: Kept) -> None:
    assert door.post("/inbox/votes", json=delivery(b"x" * 8_000_000)).status_code == 200
    assert len(kept.wires[0][1][0]) == 8_000_000


def test_only_the_sidecar_may_deliver(kept: Kept) -> None:
    app = new_app("tested", Settings(app_id="tally", app_api_token="secret"))
    collect(app, "pubsub", "tally", ["votes"], kept)
    client = TestClient(app)
    assert client.post("/inbox/votes", json=delivery(b"{}")).status_code == 401
    assert client.post("/inbox/votes", json=delivery(b"{}"), headers={"dapr-api-token": "secret"}).status_code == 200


def test_a_replayed_event_is_acknowledged_and_never_kept(door: TestClient, kept: Kept) -> None:
    answer = door.post("/inbox/votes", json=delivery(b'{"id":"1"}', b'{"id":"2","replayed":true}', b'{"id":"3","data":{"replayed":true}}'))
    assert [each["status"] for each in answer.json()["statuses"]] == ["SUCCESS"] * 3
    assert kept.wires == [("votes", [b'{"id":"1"}', b'{"id":"3","data":{"replayed":true}}'])]


def test_a_replayed_event_that_comes_alone_is_acknowledged_and_never_kept(door: TestClient, kept: Kept) -> None:
    answer = door.post("/inbox/votes", content=b'{"specversion":"1.0","id":"1","source":"/s","type":"t","replayed":true}')
    assert (answer.status_code, answer.json()) == (200, {"status": "SUCCESS"})
    assert kept.wires == []
