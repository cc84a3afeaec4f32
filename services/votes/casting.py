"""Makes the event of a vote. Pure: the id and the time are given."""

from events.votes import VoteCast, vote_stream
from sidestream.event import NewEvent
from sidestream.registry import Registry


def cast(registry: Registry, vote: VoteCast, *, event_id: str, time: str, traceparent: str | None = None) -> NewEvent:
    """Return the event that says that this vote was cast.

    Raises:
        InvalidEvent: a text is not valid Unicode.
    """
    return registry.new_event(vote, id=event_id, subject=vote_stream(vote.poll, vote.voter), time=time, traceparent=traceparent)
