"""The tally: one vote per poll and voter, counted per option.

Votes come in any order. Of several votes of one voter in one poll the one with the smallest event id counts, which is the
first one cast, because ids are UUIDv7. So the rule commutes: whatever the order, the same rows are there in the end.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from events.votes import CATEGORY, VoteCast
from sidestream.event import Envelope
from sidestream.projection import Key, Projection, Rows, Table


class Ballot(msgspec.Struct, frozen=True):
    """The vote that counts of one voter in one poll, and the event that said so."""

    poll: str
    voter: str
    option: str
    event_id: str
    source: str


class Total(msgspec.Struct, frozen=True):
    """How many votes an option has; an option without votes has no row."""

    poll: str
    option: str
    votes: int


class Poll(msgspec.Struct, frozen=True):
    """How many voters a poll has."""

    poll: str
    votes: int


BALLOTS: Final = Table(Ballot, key=("poll", "voter"))
TOTALS: Final = Table(Total, key=("poll", "option"), indexes=[("poll", "votes", "option")])
POLLS: Final = Table(Poll, key=("poll",))


class Tally(Projection):
    """Votes per poll and option: one vote per poll and voter, the one with the smallest event id."""

    name = "tally"
    version = 1
    topics = CATEGORY.topics
    handles = (VoteCast,)
    tables = (BALLOTS, TOTALS, POLLS)
    ordered = False

    def keys(self, event: VoteCast, envelope: Envelope) -> Iterable[tuple[Table[Any], Key]]:
        """Name the ballot, the total of its option and the poll."""
        return (BALLOTS, (event.poll, event.voter)), (TOTALS, (event.poll, event.option)), (POLLS, (event.poll,))

    def evolve(self, rows: Rows, event: VoteCast, envelope: Envelope) -> None:
        """Count the vote, unless another one of this voter comes before it."""
        cast = Ballot(event.poll, event.voter, event.option, envelope.id, envelope.source)
        counted = rows.get(BALLOTS, (cast.poll, cast.voter))
        if counted is None:
            _count_voter(rows, cast.poll)
        elif _place(counted) <= _place(cast):
            return
        else:
            _count(rows, counted, -1)
        _count(rows, cast, 1)
        rows.put(BALLOTS, cast)


def _place(ballot: Ballot) -> tuple[str, str, str]:
    """Order ballots by event id; source and option decide between events that nobody should have made."""
    return ballot.event_id, ballot.source, ballot.option


def _count(rows: Rows, ballot: Ballot, by: int) -> None:
    total = rows.get(TOTALS, (ballot.poll, ballot.option))
    votes = (total.votes if total else 0) + by
    if votes:
        rows.put(TOTALS, Total(ballot.poll, ballot.option, votes))
    else:
        rows.delete(TOTALS, (ballot.poll, ballot.option))


def _count_voter(rows: Rows, poll: str) -> None:
    found = rows.get(POLLS, (poll,))
    rows.put(POLLS, Poll(poll, found.votes + 1 if found else 1))
