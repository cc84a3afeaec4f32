"""Clients of the votes and the bank under faults, and what they were promised, worked out without the product's code.

A client that gets no answer, or 503, sends the very same request again until it is accepted. A vote counts once per poll
and voter; a deposit is known by its request id.
"""

import asyncio
import hashlib
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import redis

from tests.waiting import until

ACCOUNTS = 20
OPTIONS = ("cats", "dogs", "fish")
PATIENCE = 120.0


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

    async def post(self, votes_url: Callable[[], str], bank_url: Callable[[], str]) -> None:
        """Post everything until all of it is accepted."""
        requests: list[tuple[str, object, Callable[[], str]]] = [("/votes", vote, votes_url) for vote in self.votes]
        requests += [("/deposits", deposit, bank_url) for deposit in self.deposits]
        random.Random(self.seed).shuffle(requests)
        waiting = iter(requests)

        async def client() -> None:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as door:
                for path, body, url in waiting:
                    await self._post_one(door, path, body, url)
                    self.accepted += 1

        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(client() for _ in range(self.clients)))

    async def _post_one(self, door: aiohttp.ClientSession, path: str, body: object, url: Callable[[], str]) -> None:
        while True:
            try:
                async with door.post(f"{url()}{path}", json=body) as answer:
                    if answer.status == 202:
                        return
                    assert answer.status == 503, f"{path}: {answer.status} {await answer.text()}"
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.05)

    async def reached(self, share: float) -> None:
        """Wait until this share of everything has been accepted."""
        await until(lambda: self.accepted >= share * self.count, PATIENCE, lambda: f"{share:.0%} of the requests accepted")


def tally_of(loads: list[Load]) -> dict[str, dict[str, int]]:
    """Votes per poll and option: every voter voted once."""
    counted: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for load in loads:
        for vote in load.votes:
            counted[vote["poll"]][vote["option"]] += 1
    return {poll: dict(options) for poll, options in counted.items()}


def deposits_in(port: int) -> dict[str, list[tuple[str, int]]]:
    """Read the log by hand: per account its deposits, the first occurrence of each, in the order of the log."""
    found: defaultdict[str, dict[int, tuple[str, int]]] = defaultdict(dict)
    broker = redis.Redis(port=port)
    entries: Any = broker.xrange("accounts")
    for _, entry in entries:
        event = json.loads(entry[b"data"])
        seen = found[event["subject"]]
        deposit = (event["data"]["request"], event["data"]["cents"])
        assert seen.setdefault(event["streamversion"], deposit) == deposit, "one version, two events"
    broker.close()
    for account, seen in found.items():
        assert list(seen) == list(range(1, len(seen) + 1)), f"{account}: first occurrences out of order: {list(seen)[:20]}"
    return {account: list(seen.values()) for account, seen in found.items()}


def casts_in(port: int) -> dict[str, int]:
    """Read the log by hand: per poll the number of different vote events, those a client sent twice included."""
    broker = redis.Redis(port=port)
    entries: Any = broker.xrange("votes")
    votes = {(event["source"], event["id"]): event["data"]["poll"] for _, entry in entries for event in [json.loads(entry[b"data"])]}
    broker.close()
    return dict(Counter(votes.values()))


def balances_of(deposits: dict[str, list[tuple[str, int]]]) -> dict[str, list[object]]:
    """Fold the deposits of each account: sum, number, and a digest over them in order."""
    return {account: _folded(made) for account, made in deposits.items()}


def _folded(deposits: list[tuple[str, int]]) -> list[object]:
    digest = ""
    for request, cents in deposits:
        digest = hashlib.sha256(f"{digest} {request} {cents}".encode()).hexdigest()
    return [sum(cents for _, cents in deposits), len(deposits), digest]
