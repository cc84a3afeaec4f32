"""A command's answer carries a token; a query that sends it back sees what was written, or is told why not."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from starlette.testclient import TestClient

from projections.asset_catalog import bootstrap as asset_catalog
from projections.tally import bootstrap as tally
from services.votes.bootstrap import create_app as votes_app
from sidestream.adapters.memory_log import MemoryLog
from sidestream.backbone import MemoryBackbone
from sidestream.settings import Settings

CONSISTENCY = "Sidestream-Consistency"
WAIT = "Sidestream-Wait"


class Both:
    """The votes service and the tally over one log."""

    def __init__(self, votes: TestClient, tally: TestClient, log: MemoryLog) -> None:
        self.votes = votes
        self.tally = tally
        self.log = log


@contextmanager
def _both(folder: Path, *, bells: bool = True) -> Iterator[Both]:
    backbone = MemoryBackbone()
    log = backbone.log()
    assert isinstance(log, MemoryLog)
    settings = Settings(data=folder, sweep_seconds=60.0)
    with TestClient(votes_app(settings, backbone)) as votes, TestClient(tally.create_app(settings, backbone)) as reading:
        if not bells:
            log._bells.clear()
        yield Both(votes, reading, log)


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Both]:
    with _both(tmp_path) as made:
        yield made


def cast(both: Both, voter: str) -> str:
    answer = both.votes.post("/votes", json={"poll": "pets", "option": "cats", "voter": voter})
    (place,) = answer.json()["consistency"]
    token = answer.headers[CONSISTENCY]
    assert token == f"votes:{place['producer']}:{place['sequence']}"
    return token


@pytest.mark.parametrize("bells", [True, False])
def test_two_hundred_times_a_vote_is_in_the_next_answer(tmp_path: Path, *, bells: bool) -> None:
    with _both(tmp_path, bells=bells) as both:
        for number in range(200):
            token = cast(both, f"voter {number}")
            answer = both.tally.get(f"/polls/pets/ballots/voter {number}", headers={CONSISTENCY: token})
            assert answer.status_code == 200, answer.text


def test_an_event_that_does_not_come_is_answered_stale_by_how_much(both: Both) -> None:
    token = cast(both, "ann")
    producer = token.split(":")[1]
    answer = both.tally.get("/polls", headers={CONSISTENCY: f"votes:{producer}:4", WAIT: "50ms"})
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (412, "urn:sidestream:problem:stale")
    assert int(answer.headers["retry-after"]) >= 1
    assert problem["missing"][0]["behind"] == 3
    assert problem["generation"] == "g1"
    assert "Ask again" in problem["detail"]


def test_an_event_that_is_parked_is_answered_with_its_reason_at_once(both: Both) -> None:
    bad = {"specversion": "1.0", "id": "bad", "source": "/x", "type": "vote.cast", "subject": "v", "data": {"poll": 7}}
    both.log.record("votes", [msgspec.json.encode({**bad, "producer": "p.1", "sequence": "1"})])
    answer = both.tally.get("/polls", headers={CONSISTENCY: "votes:p.1:1", WAIT: "30s"})
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (409, "urn:sidestream:problem:parked")
    assert (problem["parked"][0]["id"], problem["parked"][0]["reason"]) == ("bad", "unreadable-event")
    assert "sidestream dead-letters show tally bad" in problem["detail"]


@pytest.mark.parametrize("token", ["", "votes", "votes:p:0", "assets:p:1", "votes:p:1;votes:p:2"])
def test_a_token_that_is_none_is_refused(both: Both, token: str) -> None:
    answer = both.tally.get("/polls", headers={CONSISTENCY: token})
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:sidestream:problem:invalid-token")


@pytest.mark.parametrize("wait", ["", "2", "-1s", "31s", "1e3s", "soon", "NaNs", "30001ms"])
def test_a_wait_that_is_none_or_too_long_is_refused(both: Both, wait: str) -> None:
    answer = both.tally.get("/polls", headers={CONSISTENCY: "votes:p:1", WAIT: wait})
    assert answer.status_code == 400
    assert WAIT in answer.json()["detail"]


def test_a_wait_of_nothing_only_looks(both: Both) -> None:
    token = cast(both, "ann")
    assert both.tally.get("/polls", headers={CONSISTENCY: token}).status_code == 200
    assert both.tally.get("/polls", headers={CONSISTENCY: token, WAIT: "0s"}).status_code == 200
    assert both.tally.get("/polls", headers={CONSISTENCY: "votes:q:1", WAIT: "0ms"}).status_code == 412


def test_without_a_token_nobody_waits(both: Both) -> None:
    assert both.tally.get("/polls", headers={WAIT: "30s"}).status_code == 200


def test_the_headers_and_the_answers_are_described(both: Both) -> None:
    document = both.tally.get("/openapi.json").json()
    for path in ("/polls", "/polls/{poll}"):
        operation = document["paths"][path]["get"]
        assert {CONSISTENCY, WAIT} <= {each["name"] for each in operation["parameters"]}
        assert {"409", "412", "400"} <= set(operation["responses"])
    assert "412" not in document["paths"]["/generations"]["get"]["responses"]


def test_every_projection_waits(tmp_path: Path) -> None:
    with TestClient(asset_catalog.create_app(Settings(data=tmp_path, sweep_seconds=60.0), MemoryBackbone())) as client:
        assert client.get("/assets", headers={CONSISTENCY: "assets:p:1", WAIT: "0s"}).status_code == 412


def test_the_state_of_a_projection_is_told(both: Both) -> None:
    both.tally.get("/polls", headers={CONSISTENCY: cast(both, "ann")})
    state = both.tally.get("/generations").json()
    assert state["health"]["not_ready"] == ""
    assert (state["health"]["sidecar_silent"], state["health"]["wedged"], state["health"]["log_away"]) == (False, "", "")
    assert {"lag", "parked_events"} <= set(state["generations"][0]["measured"])
    metrics = both.tally.get("/metrics").text
    for name in ("lag_events", "lag_seconds", "oldest_unapplied_seconds", "parked_events", "generation_version"):
        assert f'sidestream_{name}{{generation="g1",projection="tally"}}' in metrics
    for name in ("sidecar_silent", "wedged", "log_away", "waiting_queries", "program_version"):
        assert f'sidestream_{name}{{projection="tally"}}' in metrics
