"""Makes the event of a vote. Pure: the id and the time are given."""

from events.votes import VoteCast, vote_stream
from sidestream.causation import NO_CAUSE, Cause
from sidestream.event import NewEvent
from sidestream.registry import Registry


def cast(registry: Registry, vote: VoteCast, *, event_id: str, time: str, cause: Cause = NO_CAUSE) -> NewEvent:
    """Return the event that says that this vote was cast.

    Raises:
        InvalidEvent: a text is not valid Unicode.
    """
    return registry.new_event(
        vote,
        id=event_id,
        subject=vote_stream(vote.poll, vote.voter),
        time=time,
        correlationid=cause.correlation_id,
        causationid=cause.causation_id,
        traceparent=cause.traceparent,
    )
