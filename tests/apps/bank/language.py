"""The one event of the bank; and the votes, which the balances count as they are."""

import msgspec

from events import votes
from sidestream.registry import Category, EventType, Registry


class Deposited(msgspec.Struct, frozen=True):
    """Money came in.

    Attributes:
        request: the client's own id of the deposit.
        cents: how much.
    """

    request: str
    cents: int


CATEGORY = Category("account", "accounts", "/tests/bank", (EventType("account.deposited", Deposited),))


def registry() -> Registry:
    return Registry([CATEGORY, votes.CATEGORY])
