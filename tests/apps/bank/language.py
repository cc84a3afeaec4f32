"""The one event of the bank, in two versions; and the votes, which the balances count as they are."""

import os
from typing import Any, Final

import msgspec

from events import votes
from sidestream.registry import Category, EventType, Registry

SPOKEN: Final = "BANK_LANGUAGE"
"""The variable that says which version of the language a program speaks: 1, or 2, which a program of 1 does not know."""


class Deposited(msgspec.Struct, frozen=True):
    """Money came in.

    Attributes:
        request: the client's own id of the deposit.
        cents: how much.
    """

    request: str
    cents: int


def _unchanged(data: dict[str, Any]) -> dict[str, Any]:
    return data


_FIRST: Final = EventType("account.deposited", Deposited)
_SECOND: Final = EventType("account.deposited", Deposited, version=2, upcasters={1: _unchanged})
CATEGORY: Final = Category("account", "accounts", "/tests/bank", (_FIRST,))


def registry(version: str = "") -> Registry:
    """Return the language in this version; left out: in the one that the process is told to speak."""
    spoken = _SECOND if (version or os.environ.get(SPOKEN, "1")) == "2" else _FIRST
    return Registry([msgspec.structs.replace(CATEGORY, types=(spoken,)), votes.CATEGORY])
