"""The tally through its doors: the log on one side, HTTP on the other."""

import random
from collections.abc import Iterator

import msgspec
import pytest

from events.votes import VoteCast, vote_stream
from projections.tally import bootstrap
from sidestream.cli.asking import Told
from sidestream.testing import Happened, happened, stranger
from tests.e2e.read_side import ReadSide, reading


@pytest.fixture
def tally() -> Iterator[ReadSide]:
    with reading(bootstrap) as side:
        yield side


def vote(poll: str, option: str, voter: str) -> Happened:
    return happened(VoteCast(poll, option, voter), subject=vote_stream(poll, voter))


def test_a_poll_shows_its_options_with_most_votes_first(tally: ReadSide) -> None:
    tally.tell(vote("lunch", "soup", "ann"), vote("lunch", "cake", "bob"), vote("lunch", "cake", "cid"), vote("lunch", "soup", "bob"))
    assert tally.get("/polls/lunch") == {
        "poll": "lunch",
        "votes": 3,
        "options": [{"option": "cake", "votes": 2}, {"option": "soup", "votes": 1}],
    }


def test_polls_are_listed_by_name_page_by_page(tally: ReadSide) -> None:
    names = [f"poll {number:02}" for number in range(25)]
    tally.tell(*(vote(name, "yes", "ann") for name in random.Random(1).sample(names, len(names))))
    pages = tally.pages("/polls", "polls", limit=10)
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [line["poll"] for page in pages for line in page] == names


def test_options_are_listed_page_by_page(tally: ReadSide) -> None:
    tally.tell(*(vote("lunch", f"dish {at % 5}", f"voter {at}") for at in range(5 + 4)))
    pages = tally.pages("/polls/lunch", "options", limit=2)
    assert [[line["votes"] for line in page] for page in pages] == [[2, 2], [2, 2], [1]]
    assert len({line["option"] for page in pages for line in page}) == 5


def test_a_ballot_says_which_vote_counts_and_which_event_said_so(tally: ReadSide) -> None:
    tally.tell(vote("lunch", "soup", "ann"), vote("lunch", "cake", "ann"))
    assert tally.get("/polls/lunch/ballots/ann") == {
        "poll": "lunch",
        "voter": "ann",
        "option": "soup",
        "event_id": "e-001",
        "source": "/services/votes",
    }


@pytest.mark.parametrize("name", ["a/b", "ü", "100%", "a?b#c", "x\x00y", " ", "\N{PILE OF POO}"])
def test_any_name_can_be_asked_for(tally: ReadSide, name: str) -> None:
    from urllib.parse import quote

    tally.tell(vote(name, name, name))
    quoted = quote(name, safe="")
    assert tally.get(f"/polls/{quoted}")["options"] == [{"option": name, "votes": 1}]
    assert tally.get(f"/polls/{quoted}/ballots/{quoted}")["voter"] == name


def test_what_is_not_there_is_a_problem_that_says_how_far_it_was_looked(tally: ReadSide) -> None:
    tally.tell(vote("lunch", "soup", "ann"))
    assert tally.problem("/polls/dinner") == (404, "unknown-poll")
    assert tally.problem("/polls/lunch/ballots/bob") == (404, "unknown-ballot")
    assert tally.client.get("/polls/dinner").headers["sidestream-applied"] == "votes=1"


@pytest.mark.parametrize(
    "params",
    [{"limit": 0}, {"limit": 1001}, {"limit": "many"}, {"cursor": "forged"}, {"cursor": "WzFd"}, {"cursor": "x" * 5000}, {"cursor": ""}],
)
def test_a_bad_page_is_refused(tally: ReadSide, params: dict[str, str]) -> None:
    for path in ("/polls", "/polls/lunch"):
        assert tally.client.get(path, params=params).status_code == 400, path


def test_the_answer_says_how_far_it_has_applied_and_which_generation_answered(tally: ReadSide) -> None:
    assert tally.client.get("/polls").headers["sidestream-applied"] == "votes=start"
    tally.tell(vote("lunch", "soup", "ann"), vote("lunch", "soup", "bob"))
    headers = tally.client.get("/polls").headers
    assert (headers["sidestream-applied"], headers["sidestream-generation"]) == ("votes=2", "g1")


def test_an_event_that_cannot_be_applied_holds_up_nobody(tally: ReadSide) -> None:
    broken = stranger("votes", b'{"specversion":"1.0","id":"x","source":"/elsewhere","type":"vote.cast","data":{"poll":7}}')
    tally.tell(broken, vote("lunch", "soup", "ann"), broken, stranger("votes", b"{"), vote("lunch", "soup", "bob"))
    assert tally.get("/polls/lunch")["votes"] == 2
    (generation,) = tally.get("/generations")["generations"]
    assert (generation["name"], generation["live"], generation["following"]) == ("g1", True, True)
    assert generation["since_start"] == {"applied": 2, "unhandled": 0, "duplicates": 1, "parked": 2, "released": 0}


def test_the_command_line_understands_what_it_says_of_itself(tally: ReadSide) -> None:
    again = stranger("votes", b'{"specversion":"1.0","id":"x","source":"/elsewhere","type":"vote.cast","data":{"poll":7}}')
    tally.tell(again, again)
    told = msgspec.json.decode(tally.client.get("/generations").content, type=Told)
    assert (told.projection, told.of("g1").duplicates, told.of("g2").duplicates) == ("tally", 1, None)
    assert told.of("g1").rate is not None
    assert told.health.bells is not None
    assert told.health.sweeps is not None
    assert (told.health.not_ready, told.health.sidecar_silent) == ("", False)


def test_the_sidecar_is_told_to_ring_for_votes(tally: ReadSide) -> None:
    (subscription,) = tally.get("/dapr/subscribe")
    assert (subscription["topic"], subscription["bulkSubscribe"]["enabled"]) == ("votes", True)
    delivery = {"entries": [{"entryId": "1", "event": {}}]}
    assert tally.client.post(subscription["route"], json=delivery).json() == {"statuses": [{"entryId": "1", "status": "SUCCESS"}]}


def test_it_is_ready_when_it_has_caught_up_and_says_what_it_did(tally: ReadSide) -> None:
    tally.tell(vote("lunch", "soup", "ann"))
    assert tally.client.get("/readyz").status_code == 200
    metrics = tally.client.get("/metrics").text
    assert 'sidestream_events_applied_total{generation="g1",projection="tally"} 1.0' in metrics
    assert 'sidestream_following{projection="tally"} 1.0' in metrics


def test_a_lost_bell_costs_a_sweep() -> None:
    with reading(bootstrap, sweep_seconds=0.02) as side:
        side.log._bells.clear()
        side.tell(vote("lunch", "soup", "ann"))
        assert side.get("/polls/lunch")["votes"] == 1
