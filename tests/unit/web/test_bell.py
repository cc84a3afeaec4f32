import json
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from sidestream.settings import Settings
from sidestream.web.app import new_app
from sidestream.web.bell import MAX_BELL_BYTES, subscribe


class Rung:
    def __init__(self) -> None:
        self.topics: list[str] = []

    def __call__(self, topic: str) -> None:
        self.topics.append(topic)


@pytest.fixture
def rung() -> Rung:
    return Rung()


@pytest.fixture
def client(rung: Rung) -> Iterator[TestClient]:
    app = new_app("x", Settings())
    subscribe(app, "pubsub", ["votes", "orders.0"], rung)
    with TestClient(app) as client:
        yield client


def a_bulk(count: int) -> dict[str, object]:
    entries = [{"entryId": f"e{at}", "event": {"id": at, "data": 1.0}, "metadata": None, "contentType": "x"} for at in range(count)]
    return {"id": "b", "entries": entries, "metadata": {}, "pubsubname": "pubsub", "topic": "votes", "type": "com.dapr.event.sent.bulk"}


def test_the_sidecar_is_told_every_topic_in_bulk(client: TestClient) -> None:
    subscriptions = client.get("/dapr/subscribe").json()
    assert [(each["topic"], each["route"], each["pubsubname"]) for each in subscriptions] == [
        ("votes", "/bell/votes", "pubsub"),
        ("orders.0", "/bell/orders.0", "pubsub"),
    ]
    assert all(each["bulkSubscribe"] == {"enabled": True, "maxMessagesCount": 100, "maxAwaitDurationMs": 10} for each in subscriptions)


def test_a_bulk_rings_once_and_every_entry_is_answered(client: TestClient, rung: Rung) -> None:
    answer = client.post("/bell/orders.0?whatever=the-sidecar-adds", json=a_bulk(3))
    assert answer.json() == {"statuses": [{"entryId": f"e{at}", "status": "SUCCESS"} for at in range(3)]}
    assert rung.topics == ["orders.0"]


def test_an_empty_bulk_is_answered(client: TestClient) -> None:
    assert client.post("/bell/votes", json=a_bulk(0)).json() == {"statuses": []}


def test_a_single_delivery_rings_too(client: TestClient, rung: Rung) -> None:
    answer = client.post("/bell/votes", content=b'{"id":"1","data":{}}', headers={"content-type": "application/cloudevents+json"})
    assert answer.json() == {"status": "SUCCESS"}
    assert rung.topics == ["votes"]


GARBAGE = [b"", b"{", b"[]", b"7", b'{"entries": {}}', b'{"entries": [1]}', b'{"entries": [{"event": {}}]}', b"\xff"]


@pytest.mark.parametrize("body", GARBAGE)
def test_garbage_rings_nothing(client: TestClient, rung: Rung, body: bytes) -> None:
    answer = client.post("/bell/votes", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert rung.topics == []


def test_a_topic_nobody_subscribed_to_has_no_bell(client: TestClient, rung: Rung) -> None:
    assert client.post("/bell/others", json=a_bulk(1)).status_code == 404
    assert client.get("/bell/votes").status_code == 405
    assert rung.topics == []


def test_a_bell_may_be_larger_than_other_bodies_but_not_without_end(client: TestClient, rung: Rung) -> None:
    large = a_bulk(1) | {"filling": "a" * 5_000_000}
    assert client.post("/bell/votes", json=large).status_code == 200
    assert client.post("/bell/votes", content=b" " * (MAX_BELL_BYTES + 1)).status_code == 404, "the one answer that does not come again"
    assert rung.topics == ["votes", "votes"]


def test_two_projections_of_one_app_subscribe_side_by_side() -> None:
    app = new_app("x", Settings())
    one, other = Rung(), Rung()
    subscribe(app, "pubsub", ["votes"], one)
    subscribe(app, "pubsub", ["assets"], other)
    with TestClient(app) as client:
        assert [each["topic"] for each in client.get("/dapr/subscribe").json()] == ["votes", "assets"]
        client.post("/bell/assets", json=a_bulk(1))
    assert (one.topics, other.topics) == ([], ["assets"])


@pytest.mark.parametrize("headers", [{}, {"dapr-api-token": "wrong"}, {"dapr-api-token": ""}, {"dapr-api-token": "s3cret2"}])
def test_who_does_not_carry_the_token_rings_nothing(rung: Rung, headers: dict[str, str]) -> None:
    app = new_app("x", Settings(app_api_token="s3cret"))
    subscribe(app, "pubsub", ["votes"], rung)
    with TestClient(app) as client:
        assert client.post("/bell/votes", json=a_bulk(1), headers=headers).status_code == 401
        assert client.get("/dapr/subscribe", headers=headers).status_code == 401
        assert client.get("/healthz").status_code == 200, "the rest is for everybody"
        assert rung.topics == []


def test_who_carries_the_token_may_ring(rung: Rung) -> None:
    app = new_app("x", Settings(app_api_token="s3cret"))
    subscribe(app, "pubsub", ["votes"], rung)
    with TestClient(app) as client:
        answer = client.post("/bell/votes", content=json.dumps(a_bulk(1)), headers={"dapr-api-token": "s3cret"})
    assert answer.status_code == 200
    assert rung.topics == ["votes"]


def test_a_replayed_event_is_nothing_but_a_bell(client: TestClient, rung: Rung) -> None:
    replayed = b'{"specversion":"1.0","id":"1","source":"/s","type":"vote.cast","replayed":true,"data":{}}'
    answer = client.post("/bell/votes", content=replayed, headers={"content-type": "application/cloudevents+json"})
    assert answer.json() == {"status": "SUCCESS"}
    assert rung.topics == ["votes"], "the log is read, where the event stands already; what was handed over is not looked at"
