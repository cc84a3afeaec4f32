"""Clients of the votes and the bank under faults, and what they were promised, worked out without the product's code.

A client that gets no answer, or 503, sends the very same request again until it is accepted; one in twenty sends it once more
although it was accepted, as if the answer had been lost. A vote counts once per poll and voter; a deposit is known by its
request id.
"""

import asyncio
import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from tests.waiting import until

ACCOUNTS = 20
OPTIONS = ("cats", "dogs", "fish")
PATIENCE = 120.0
_ANSWER_LOST: Final = 0.05
Door = Callable[[], str]
"""Where to post next: it may be another replica each time."""
Event = dict[str, Any]
"""An entry of the log, read by hand."""


@dataclass
class Load:
    """So many votes and deposits, drawn from a seed, posted by so many clients. `name` keeps rounds apart."""

    seed: int
    name: str = "r"
    count: int = 600
    clients: int = 16
    accepted: int = 0
    votes: list[dict[str, str]] = field(default_factory=list)
    deposits: list[dict[str, str | int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        dice = random.Random(self.seed)
        for at in range(self.count // 2):
            self.votes.append({"poll": f"poll-{dice.randrange(3)}", "option": dice.choice(OPTIONS), "voter": f"{self.name}-{at}"})
            account = str(dice.randrange(ACCOUNTS))
            self.deposits.append({"account": account, "request": f"{self.name}-{at}", "cents": dice.randrange(1, 10_000)})

    async def post(self, votes_door: Door, bank_door: Door) -> None:
        """Post everything until all of it is accepted."""
        requests: list[tuple[str, object, Door]] = [("/votes", vote, votes_door) for vote in self.votes]
        requests += [("/deposits", deposit, bank_door) for deposit in self.deposits]
        dice = random.Random(self.seed)
        dice.shuffle(requests)
        waiting = iter(requests)

        async def client() -> None:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as door:
                for request in waiting:
                    for _ in range(2 if dice.random() < _ANSWER_LOST else 1):
                        await _post_one(door, *request)
                    self.accepted += 1

        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(client() for _ in range(self.clients)))

    async def deposit(self, deposits: Iterable[dict[str, str | int]], bank_door: Door) -> None:
        """Post more deposits, one after the other, each until it is accepted."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as door:
            for deposit in deposits:
                await _post_one(door, "/deposits", deposit, bank_door)
                self.deposits.append(deposit)

    async def reached(self, share: float) -> None:
        """Wait until this share of everything has been accepted."""
        await until(lambda: self.accepted >= share * self.count, PATIENCE, lambda: f"{share:.0%} of the requests accepted")


async def _post_one(door: aiohttp.ClientSession, path: str, body: object, url: Door) -> None:
    while True:
        try:
            async with door.post(f"{url()}{path}", json=body) as answer:
                if answer.status == 202:
                    return
                assert answer.status == 503, f"{path}: {answer.status} {await answer.text()}"
        except (aiohttp.ClientError, TimeoutError):
            pass
        await asyncio.sleep(0.05)  # a client's own pause before it sends again


# ── the independent fold ─────────────────────────────────────────────────────────────────────────────────────────────


def tally_of(loads: Iterable[Load]) -> dict[str, dict[str, int]]:
    """Votes per poll and option: every voter voted once."""
    counted: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for load in loads:
        for vote in load.votes:
            counted[vote["poll"]][vote["option"]] += 1
    return {poll: dict(options) for poll, options in counted.items()}


def deposits_in(accounts: Iterable[Event]) -> dict[str, list[tuple[str, int]]]:
    """Per account its deposits, the first occurrence of each, in the order of the log."""
    found: defaultdict[str, dict[int, tuple[str, int]]] = defaultdict(dict)
    for event in accounts:
        seen = found[event["subject"]]
        deposit = (event["data"]["request"], event["data"]["cents"])
        assert seen.setdefault(event["streamversion"], deposit) == deposit, "one version, two events"
    for account, seen in found.items():
        assert list(seen) == list(range(1, len(seen) + 1)), f"{account}: first occurrences out of order: {list(seen)[:20]}"
    return {account: list(seen.values()) for account, seen in found.items()}


def casts_in(votes: Iterable[Event]) -> dict[str, int]:
    """Per poll the number of different vote events, those a client sent twice included."""
    polls = {(event["source"], event["id"]): event["data"]["poll"] for event in votes}
    return dict(Counter(polls.values()))


def repeats_in(events: Iterable[Event]) -> int:
    """How many entries repeat an event that stands before them."""
    found = [(event["source"], event["id"]) for event in events]
    return len(found) - len(set(found))


def balances_of(deposits: dict[str, list[tuple[str, int]]], unpayable: Iterable[int] = ()) -> dict[str, list[object]]:
    """Fold the deposits of each account: sum, number, and a digest over them in order; up to the first that cannot be paid in."""
    payable = {account: _payable(made, set(unpayable)) for account, made in deposits.items()}
    return {account: _folded(made) for account, made in payable.items() if made}


def _payable(deposits: list[tuple[str, int]], unpayable: set[int]) -> list[tuple[str, int]]:
    bad = [at for at, (_, cents) in enumerate(deposits) if cents in unpayable]
    return deposits[: bad[0]] if bad else deposits


def _folded(deposits: list[tuple[str, int]]) -> list[object]:
    digest = ""
    for request, cents in deposits:
        digest = hashlib.sha256(f"{digest} {request} {cents}".encode()).hexdigest()
    return [sum(cents for _, cents in deposits), len(deposits), digest]
