"""The tally's rule: one vote per poll and voter, the smallest event id wins, whatever the order."""

import hypothesis.strategies as st
from hypothesis import given

import events
from events.votes import VoteCast, vote_stream
from projections.tally.projection import BALLOTS, POLLS, TOTALS, Ballot, Poll, Tally, Total
from sidestream.testing import Happened, ProjectionSpecification, happened, stranger

REGISTRY = events.registry()
SOURCE = "/services/votes"


def tally() -> ProjectionSpecification:
    return ProjectionSpecification(Tally(), REGISTRY)


def vote(poll: str, option: str, voter: str, event_id: str = "") -> Happened:
    return happened(VoteCast(poll, option, voter), subject=vote_stream(poll, voter), id=event_id)


def test_votes_are_counted_per_poll_and_option() -> None:
    tally().given(vote("lunch", "soup", "ann")).when(
        vote("lunch", "soup", "bob"), vote("lunch", "cake", "cid"), vote("tea", "cake", "ann")
    ).then(
        Poll("lunch", 3),
        Poll("tea", 1),
        Total("lunch", "soup", 2),
        Total("lunch", "cake", 1),
        Total("tea", "cake", 1),
        Ballot("lunch", "ann", "soup", "e-001", SOURCE),
        Ballot("lunch", "bob", "soup", "e-002", SOURCE),
        Ballot("lunch", "cid", "cake", "e-003", SOURCE),
        Ballot("tea", "ann", "cake", "e-004", SOURCE),
    )


def test_the_same_vote_delivered_twice_counts_once() -> None:
    tally().when(vote("lunch", "soup", "ann")).delivered(times=2).then_in(TOTALS, Total("lunch", "soup", 1))


def test_a_later_vote_of_the_same_voter_does_not_count() -> None:
    tally().when(vote("lunch", "soup", "ann", "1"), vote("lunch", "cake", "ann", "2")).then(
        Poll("lunch", 1), Total("lunch", "soup", 1), Ballot("lunch", "ann", "soup", "1", SOURCE)
    )


def test_an_earlier_vote_that_arrives_later_replaces_the_one_counted_and_leaves_no_option_without_votes() -> None:
    tally().when(vote("lunch", "cake", "ann", "2"), vote("lunch", "soup", "ann", "1")).then(
        Poll("lunch", 1), Total("lunch", "soup", 1), Ballot("lunch", "ann", "soup", "1", SOURCE)
    )


def test_two_events_with_one_id_are_decided_the_same_in_any_order() -> None:
    def forged(source: str, option: str) -> Happened:
        data = f'{{"poll":"lunch","option":"{option}","voter":"ann"}}'
        return stranger("votes", f'{{"specversion":"1.0","id":"1","source":"{source}","type":"vote.cast","data":{data}}}'.encode())

    events_of_one_id = [forged("/a", "soup"), forged("/b", "cake")]
    expected = Poll("lunch", 1), Total("lunch", "soup", 1), Ballot("lunch", "ann", "soup", "1", "/a")
    tally().when(*events_of_one_id).then(*expected)
    tally().when(*reversed(events_of_one_id)).then(*expected)


def test_a_vote_that_names_no_voter_is_parked_and_the_others_count() -> None:
    broken = stranger("votes", b'{"specversion":"1.0","id":"x","source":"/elsewhere","type":"vote.cast","data":{"poll":"lunch"}}')
    tally().when(broken, vote("lunch", "soup", "ann", "1")).then_parked("x")


names = st.text(min_size=1, max_size=3)
few = st.sampled_from(["a", "b", "ü", "\x00", "a/b"])
cast = st.lists(st.tuples(few, names | few, few), max_size=30)


@given(votes=cast, ids=st.randoms(use_true_random=False), times=st.integers(1, 3), seed=st.integers(0, 10_000))
def test_random_votes_in_any_order_give_what_counting_by_hand_gives(votes: list[tuple[str, str, str]], ids, times: int, seed: int) -> None:  # type: ignore[no-untyped-def]
    numbers = [f"{number:04}" for number in range(len(votes))]
    ids.shuffle(numbers)
    history = [vote(*each, event_id=number) for each, number in zip(votes, numbers, strict=True)]

    counted: dict[tuple[str, str], tuple[str, str]] = {}
    for (poll, option, voter), number in sorted(zip(votes, numbers, strict=True), key=lambda pair: pair[1]):
        counted.setdefault((poll, voter), (option, number))
    totals: dict[tuple[str, str], int] = {}
    polls: dict[str, int] = {}
    for (poll, _), (option, _) in counted.items():
        totals[poll, option] = totals.get((poll, option), 0) + 1
        polls[poll] = polls.get(poll, 0) + 1

    tally().when(*history).delivered(times=times).shuffled(seed).then(
        *(Ballot(poll, voter, option, number, SOURCE) for (poll, voter), (option, number) in counted.items()),
        *(Total(poll, option, votes) for (poll, option), votes in totals.items()),
        *(Poll(poll, votes) for poll, votes in polls.items()),
    )


def test_every_table_is_declared() -> None:
    assert Tally.tables == (BALLOTS, TOTALS, POLLS)
