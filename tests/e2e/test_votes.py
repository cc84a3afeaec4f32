"""The votes service through its door, on the memory backbone."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from events import registry
from events.votes import VoteCast, vote_stream
from services.votes.bootstrap import create_app
from sidestream.adapters.memory_log import MemoryLog
from tests.e2e.garbage import GARBAGE
from tests.e2e.ordering import code_of
from tests.e2e.write_side import Backstage, WriteSide, writing
from tests.faulty_publisher import FaultyPublisher

VOTE = {"poll": "pets", "option": "cats", "voter": "ada"}


@pytest.fixture
async def votes(tmp_path: Path) -> AsyncIterator[WriteSide]:
    """A running votes service."""
    async with writing(create_app, tmp_path) as side:
        yield side


async def test_a_vote_stands_in_the_log_when_it_is_answered(votes: WriteSide) -> None:
    answer = await votes.client.post("/votes", json=VOTE)
    (event,) = votes.log("votes")

    assert answer.status_code == 202
    assert answer.json() == {
        "id": event.id,
        "subject": vote_stream("pets", "ada"),
        "consistency": [{"topic": "votes", "producer": event.producer, "sequence": 1}],
    }
    assert registry().read(event) == VoteCast("pets", "cats", "ada")
    assert (event.source, event.type, event.subject) == ("/services/votes", "vote.cast", vote_stream("pets", "ada"))


async def test_votes_from_many_at_once_are_counted_without_a_gap(votes: WriteSide) -> None:
    answers = await asyncio.gather(*(votes.client.post("/votes", json={**VOTE, "voter": f"voter {number}"}) for number in range(500)))

    assert {answer.status_code for answer in answers} == {202}
    assert sorted(event.number or 0 for event in votes.log("votes")) == list(range(1, 501))
    assert {event.id for event in votes.log("votes")} == {answer.json()["id"] for answer in answers}


async def test_any_text_that_can_be_seen_is_taken(votes: WriteSide) -> None:
    vote = {"poll": "🐈 or 🐕/ ", "option": "x" * 100, "voter": "Ądą\u00a0%"}
    answer = await votes.client.post("/votes", json=vote)

    assert answer.status_code == 202
    assert registry().read(votes.log("votes")[0]) == VoteCast(**vote)


async def test_the_callers_trace_goes_with_the_vote_if_it_is_one(votes: WriteSide) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    for header in (trace, "nonsense", "00-" + "0" * 32 + "-00f067aa0ba902b7-01"):
        await votes.client.post("/votes", json=VOTE, headers={"traceparent": header})

    assert [event.traceparent for event in votes.log("votes")] == [trace, None, None]


async def test_the_conversation_goes_with_the_vote(votes: WriteSide) -> None:
    answer = await votes.client.post("/votes", json=VOTE, headers={"x-correlation-id": "talk", "x-causation-id": "event-1"})
    await votes.client.post("/votes", json=VOTE)
    first, second = votes.log("votes")

    assert (first.correlationid, first.causationid, answer.headers["x-correlation-id"]) == ("talk", "event-1", "talk")
    assert second.correlationid not in (None, "", "talk")
    await votes.refused("POST", "/votes", json=VOTE, headers={"x-correlation-id": "two words"}, status=400)


@pytest.mark.parametrize(("body", "content_type", "status"), GARBAGE)
async def test_garbage_is_refused_and_nothing_is_published(votes: WriteSide, body: bytes, content_type: str, status: int) -> None:
    await votes.refused("POST", "/votes", content=body, headers={"content-type": content_type}, status=status)

    assert votes.log("votes") == []


@pytest.mark.parametrize(
    "change",
    [
        {"poll": ""},
        {"poll": "x" * 101},
        {"poll": 5},
        {"poll": None},
        {"poll": ["pets"]},
        {"poll": True},
        {"option": "\x00"},
        {"option": "a\nb"},
        {"option": "\x7f"},
        {"option": "\x85"},
        {"voter": "   "},
        {"voter": {}},
        {"time": "now"},
        {"id": "mine"},
    ],
)
async def test_a_vote_that_is_none_is_refused_and_nothing_is_published(votes: WriteSide, change: dict[str, Any]) -> None:
    problem = await votes.refused("POST", "/votes", json={**VOTE, **change}, status=400)

    assert next(iter(change)) in problem["detail"]
    assert votes.log("votes") == []


@pytest.mark.parametrize("missing", ["poll", "option", "voter"])
async def test_nothing_may_be_missing(votes: WriteSide, missing: str) -> None:
    await votes.refused("POST", "/votes", json={name: value for name, value in VOTE.items() if name != missing}, status=400)


async def test_another_content_type_another_method_and_another_path_are_refused(votes: WriteSide) -> None:
    await votes.refused("POST", "/votes", content="poll=pets", headers={"content-type": "application/x-www-form-urlencoded"}, status=415)
    await votes.refused("GET", "/votes", status=405)
    await votes.refused("GET", "/nothing", status=404)
    assert votes.log("votes") == []


async def test_without_a_broker_the_answer_is_to_come_again(tmp_path: Path) -> None:
    publisher = FaultyPublisher(MemoryLog())
    publisher.away = True
    async with writing(create_app, tmp_path, Backstage(publisher)) as votes:
        answer = await votes.client.post("/votes", json=VOTE)
        publisher.away = False
        again = await votes.client.post("/votes", json=VOTE)

    assert answer.status_code == 503
    assert code_of(answer.json()) == "publish-failed"
    assert "Send the same vote again: of all votes of one voter in one poll one counts" in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["content-type"] == "application/problem+json"
    assert again.status_code == 202


async def test_the_door_is_described(votes: WriteSide) -> None:
    document = (await votes.client.get("/openapi.json")).json()

    responses = document["paths"]["/votes"]["post"]["responses"]
    assert {"202", "400", "413", "415", "503"} <= set(responses)
    assert "Sidestream-Consistency" in responses["202"]["headers"]
    assert (await votes.client.get("/readyz")).status_code == 200
