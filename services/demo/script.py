"""The votes of the demonstration: made up, but the same in every run. Pure."""

import random
from collections import Counter
from typing import Final

import msgspec

SEED: Final = 1999
VOTERS: Final = 270
TWICE: Final = 30
_POLLS: Final[dict[str, tuple[str, ...]]] = {
    "best broker": ("Kafka", "NATS", "RabbitMQ", "Redis"),
    "cats or dogs": ("cats", "dogs"),
    "tabs or spaces": ("spaces", "tabs"),
}


class Vote(msgspec.Struct, frozen=True):
    """One vote, as the door wants it."""

    poll: str
    option: str
    voter: str


class Script(msgspec.Struct, frozen=True):
    """What will happen.

    Attributes:
        first: one vote of each voter.
        second: later votes of some of them, for another option; they must not count.
    """

    first: tuple[Vote, ...]
    second: tuple[Vote, ...]

    def expected(self) -> dict[str, Counter[str]]:
        """Return the votes per poll and option that must come out, worked out without any event."""
        found: dict[str, Counter[str]] = {poll: Counter() for poll in _POLLS}
        for vote in self.first:
            found[vote.poll][vote.option] += 1
        return found


def write_script() -> Script:
    """Return the script: 300 votes in three polls, some voters vote twice."""
    chance = random.Random(SEED)  # noqa: S311 - a play, not a secret
    first = tuple(_vote(chance, f"voter-{number:03}") for number in range(VOTERS))
    second = tuple(_change_of_mind(chance, vote) for vote in chance.sample(first, TWICE))
    return Script(first, second)


def _vote(chance: random.Random, voter: str) -> Vote:
    poll = chance.choice(tuple(_POLLS))
    options = _POLLS[poll]
    return Vote(poll, chance.choices(options, range(1, len(options) + 1))[0], voter)


def _change_of_mind(chance: random.Random, vote: Vote) -> Vote:
    return Vote(vote.poll, chance.choice([option for option in _POLLS[vote.poll] if option != vote.option]), vote.voter)


EVENTS_OF_A_STRANGER: Final = tuple(
    {
        "specversion": "1.0",
        "id": f"opening-{number}",
        "source": "/demo/till",
        "type": "till.opened",
        "subject": f"till-{number}",
        "data": {"by": name, "float": 100 * number},
    }
    for number, name in enumerate(("ada", "grace", "linus"), start=1)
)
"""CloudEvents that no service of ours declares; a second run sends the same, and they count once.

They tell no time, so that the bridge gives them its own and they stand among the newest.
"""
