"""The door of the votes service: POST /votes."""

import re
from typing import Annotated, Final, Protocol

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from events.votes import VoteCast
from services.votes.casting import cast
from sidestream.applying.consistency import Place
from sidestream.errors import PublishFailed
from sidestream.event import NewEvent
from sidestream.identifiers import new_id, now
from sidestream.registry import Registry
from sidestream.web.commands import CORRELATION, Caused
from sidestream.web.consistency import tell_consistency, tells_consistency
from sidestream.web.places import Place as PlaceAnswer
from sidestream.web.problems import ProblemError

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Publishing(Protocol):
    """What the door needs of a publisher."""

    async def publish(self, event: NewEvent) -> Place:
        """Publish one event and return where it stands."""
        ...


class VotesDesk(msgspec.Struct, frozen=True):
    """What the door works with."""

    registry: Registry
    publisher: Publishing


def _without_control_characters(text: str) -> str:
    if _CONTROL.search(text) or not text.strip():
        raise ValueError("expected text that can be seen, without control characters")
    return text


Word = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_without_control_characters)]


_AGAIN: Final = (
    "Send the same vote again: of all votes of one voter in one poll one counts, so that it is counted once however often it "
    "stands there. No Idempotency-Key is needed."
)
_EXAMPLE: Final[dict[str, JsonValue]] = {"example": {"poll": "pets", "option": "cats", "voter": "ada"}}


class Vote(BaseModel):
    """Somebody chooses an option of a poll."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=_EXAMPLE)

    poll: Word
    option: Word
    voter: Word


class Accepted(BaseModel):
    """The vote is in the log."""

    id: str = Field(description="the id of the event; of several votes of one voter in one poll the smallest counts")
    subject: str = Field(description="the stream: one per poll and voter")
    consistency: list[PlaceAnswer]


router = APIRouter()


def _desk(request: Request) -> VotesDesk:
    desk: VotesDesk = request.app.state.desk
    return desk


@router.post("/votes", status_code=202, responses=tells_consistency(202))
async def cast_vote(
    vote: Vote,
    desk: Annotated[VotesDesk, Depends(_desk)],
    response: Response,
    cause: Caused,
) -> Accepted:
    """Cast a vote. Answered when it stands in the log; one vote per poll and voter counts, whoever sends more.

    So a repeat needs no Idempotency-Key, and the header does nothing here: a fact is published at once, and nothing is
    stored beside it that could remember an answer.
    """
    event = cast(desk.registry, VoteCast(vote.poll, vote.option, vote.voter), event_id=new_id(), time=now(), cause=cause)
    try:
        place = await desk.publisher.publish(event)
    except PublishFailed as failed:
        raise ProblemError(503, f"{failed} {_AGAIN}", code=failed.code) from None
    tell_consistency(response, [place])
    response.headers[CORRELATION] = cause.correlation_id or ""
    return Accepted(id=event.id, subject=event.subject or "", consistency=[PlaceAnswer.model_validate(place)])
