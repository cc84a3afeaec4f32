"""Per account the sum, the number of deposits, and a digest over them in order; per poll the number of votes cast.

Neither rule forgives: any loss, repeat or disorder shows. A deposit of POISON cents raises, until the program is mended.
"""

import hashlib
import os
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from fastapi import APIRouter, FastAPI

from events import votes
from events.votes import VoteCast
from sidestream.backbone import Backbone
from sidestream.event import Envelope
from sidestream.ports import Query
from sidestream.projection import Key, Projection, Rows, Table
from sidestream.registry import Registry
from sidestream.settings import Settings
from sidestream.web.projections import Live, projection_app
from tests.apps.bank import language
from tests.apps.bank.language import Deposited

POISON: Final = 66_600_666
"""No amount that a client draws."""
MENDED: Final = "BALANCES_MENDED"
"""The variable that says that the mended program is deployed."""


class Balance(msgspec.Struct, frozen=True):
    account: str
    cents: int
    deposits: int
    digest: str


BALANCES = Table(Balance, key=("account",))


class Cast(msgspec.Struct, frozen=True):
    poll: str
    votes: int


CASTS = Table(Cast, key=("poll",))


class Balances(Projection):
    name = "balances"
    topics = (*language.CATEGORY.topics, *votes.CATEGORY.topics)
    handles = (Deposited, VoteCast)
    tables = (BALANCES, CASTS)

    def __init__(self, *, mended: bool = False) -> None:
        self._mended = mended

    def keys(self, event: Deposited | VoteCast, envelope: Envelope) -> Iterable[tuple[Table[Any], Key]]:
        return ((CASTS, (event.poll,)),) if isinstance(event, VoteCast) else ((BALANCES, (envelope.stream,)),)

    def evolve(self, rows: Rows, event: Deposited | VoteCast, envelope: Envelope) -> None:
        if isinstance(event, VoteCast):
            cast = rows.get(CASTS, (event.poll,)) or Cast(event.poll, 0)
            rows.put(CASTS, Cast(event.poll, cast.votes + 1))
            return
        if event.cents == POISON and not self._mended:
            raise ValueError(f"{event.request}: nobody pays in {POISON} cents")
        found = rows.get(BALANCES, (envelope.stream,)) or Balance(envelope.stream, 0, 0, "")
        digest = hashlib.sha256(f"{found.digest} {event.request} {event.cents}".encode()).hexdigest()
        rows.put(BALANCES, Balance(envelope.stream, found.cents + event.cents, found.deposits + 1, digest))


router = APIRouter()


@router.get("/balances")
def balances(live: Live) -> dict[str, tuple[int, int, str]]:
    with live() as reader:
        rows = reader.select(BALANCES, Query(order_by=("account",), limit=100_000))
    return {row.account: (row.cents, row.deposits, row.digest) for row in rows}


@router.get("/casts")
def casts(live: Live) -> dict[str, int]:
    with live() as reader:
        rows = reader.select(CASTS, Query(order_by=("poll",), limit=100_000))
    return {row.poll: row.votes for row in rows}


def projection() -> Projection:
    return Balances(mended=bool(os.environ.get(MENDED)))


def registry() -> Registry:
    return language.registry()


def create_app(settings: Settings, backbone: Backbone) -> FastAPI:
    return projection_app(projection(), registry(), settings, backbone, router)
