"""Queries of the tally. Names of polls and voters may hold slashes, as long as none holds `/ballots/`."""

from typing import Final

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from projections.tally.projection import BALLOTS, POLLS, TOTALS
from sidestream.ports import Condition
from sidestream.web.openapi import problems
from sidestream.web.paging import PageQuery, link_next, select_page
from sidestream.web.problems import ProblemError
from sidestream.web.projections import Live

router: Final = APIRouter(tags=["tally"])


class PollLine(BaseModel):
    """A poll and how many have voted."""

    poll: str
    votes: int = Field(ge=1, description="voters who have voted")


class PollPage(BaseModel):
    """Polls by name."""

    polls: list[PollLine]


class OptionLine(BaseModel):
    """An option and its votes."""

    option: str
    votes: int = Field(ge=1)


class PollResult(PollLine):
    """A poll with its options, the one with most votes first."""

    options: list[OptionLine]


class BallotAnswer(BaseModel):
    """The vote that counts of one voter."""

    poll: str
    voter: str
    option: str
    event_id: str = Field(description="the event that said so")
    source: str = Field(description="who wrote that event")


@router.get("/polls")
def list_polls(request: Request, response: Response, page: PageQuery, live: Live) -> PollPage:
    """List polls by name."""
    with live() as reader:
        rows, cursor = select_page(reader, POLLS, page, order_by=("poll",))
    link_next(request, response, cursor)
    return PollPage(polls=[PollLine(poll=row.poll, votes=row.votes) for row in rows])


@router.get("/polls/{poll:path}/ballots/{voter:path}", responses=problems(404))
def show_ballot(poll: str, voter: str, live: Live) -> BallotAnswer:
    """Show which vote of a voter counts."""
    with live() as reader:
        found = reader.read(BALLOTS, [(poll, voter)]).get((poll, voter))
    if found is None:
        raise ProblemError(404, f"Expected a ballot of {voter!r} in the poll {poll!r}, found none.", code="unknown-ballot")
    return BallotAnswer(poll=found.poll, voter=found.voter, option=found.option, event_id=found.event_id, source=found.source)


@router.get("/polls/{poll:path}", responses=problems(404))
def show_poll(request: Request, response: Response, poll: str, page: PageQuery, live: Live) -> PollResult:
    """Show the options of a poll, most votes first."""
    with live() as reader:
        found = reader.read(POLLS, [(poll,)]).get((poll,))
        rows, cursor = select_page(
            reader, TOTALS, page, where=(Condition("poll", "=", poll),), order_by=("votes", "option"), descending=True
        )
    if found is None:
        detail = f"Expected a poll that somebody voted in, found none named {poll!r}. GET /polls lists them."
        raise ProblemError(404, detail, code="unknown-poll")
    link_next(request, response, cursor)
    return PollResult(poll=found.poll, votes=found.votes, options=[OptionLine(option=row.option, votes=row.votes) for row in rows])
