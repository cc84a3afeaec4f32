"""The votes of the demonstration."""

from services.demo.script import TWICE, VOTERS, write_script


def test_every_run_plays_the_same_three_hundred_votes() -> None:
    script = write_script()

    assert script == write_script()
    assert len(script.first) + len(script.second) == 300 == VOTERS + TWICE


def test_nobody_votes_twice_for_the_same_option() -> None:
    script = write_script()
    first = {vote.voter: vote for vote in script.first}

    assert len(first) == VOTERS
    assert all(vote.poll == first[vote.voter].poll and vote.option != first[vote.voter].option for vote in script.second)


def test_only_first_votes_are_expected_to_count() -> None:
    expected = write_script().expected()

    assert sum(counts.total() for counts in expected.values()) == VOTERS
    assert len(expected) == 3
