"""Votes: one fact per vote cast. The stream of a vote is the vote itself, so that no stream is hot by design.

Whoever votes twice in a poll casts two events of one stream; the tally counts the one with the smallest event id.
"""

from hashlib import blake2b
from typing import Final

import msgspec

from sidestream.registry import Category, EventType
from sidestream.stream import stream_name


class VoteCast(msgspec.Struct, frozen=True):
    """Somebody chose an option.

    Attributes:
        poll: what was voted on, 1 to 100 characters.
        option: what was chosen, 1 to 100 characters.
        voter: who chose, 1 to 100 characters; one vote per poll and voter counts.
    """

    poll: str
    option: str
    voter: str


CATEGORY: Final = Category(
    name="vote",
    topic="votes",
    source="/services/votes",
    types=(EventType("vote.cast", VoteCast, ordered=False),),
)


def vote_stream(poll: str, voter: str) -> str:
    """Return the stream of a vote, `vote-<32 hex digits>`.

    The digest is taken of both as a JSON list, so that ("ab", "c") and ("a", "bc") are two streams.
    """
    named = msgspec.json.encode((poll, voter))
    return stream_name(CATEGORY.name, blake2b(named, digest_size=16).hexdigest())
