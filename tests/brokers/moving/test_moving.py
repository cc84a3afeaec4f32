"""`sidestream broker move`, typed beside a running system: real sidecars, a real broker on either side, clients under way.

Clients meet success or 503 (or nobody, while the apps start again). Every accepted vote is counted exactly once on the other
broker, and every paid order is shipped once, with tokens on.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.brokers.moving.tree import Tree, assert_counted, running, typed, voting
from tests.brokers.servers import Server
from tests.contract.valkey import Server as Valkey
from tests.integration.sidestream_program import sidestream
from tests.integration.test_orders import assert_revenue, assert_shipped_once, every_order, play
from tests.waiting import until

BEFORE, AFTERWARDS = 500, 500
"""Votes accepted before the move begins, and at least so many on the other broker."""

pytestmark = pytest.mark.timeout(300)


async def test_votes_go_on_while_the_log_moves_and_each_is_counted_once(tree: Tree, broker: str, server: Server) -> None:
    async with running(tree):
        async with voting(tree) as voters:
            await voters.more(BEFORE)
            begun = time.monotonic()
            done = json.loads((await sidestream(*tree.move(broker, server.address, "--json"))).out)
            await voters.more(AFTERWARDS)
            went_on = time.monotonic() - begun
        await assert_counted(tree, voters)
        listed = json.loads((await sidestream("dead-letters", "list", "tally", "--json", *tree.where)).out)
    assert set(voters.statuses) == {202, 503}
    assert "urn:sidestream:problem:standstill" in voters.reasons
    assert done["standstill_seconds"] < 10
    assert went_on < 90
    assert not listed
    assert f"type: pubsub.{broker}" in tree.in_force.read_text()


# ── a service with an event store, and one that follows it ───────────────────────────────────────────────────────────


class Shoppers:
    """Orders placed in rounds until it is over; each as its client was answered last."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.over = False
        self.rounds = 0
        self.played: dict[str, dict[str, Any]] = {}

    async def play(self) -> None:
        while not self.over:
            self.played |= await play(self._url, 10, seed=100 * self.rounds)
            self.rounds += 1

    async def more(self, rounds: int) -> None:
        wanted = self.rounds + rounds
        await until(lambda: self.rounds >= wanted, 120, lambda: f"{rounds} more rounds of orders")


async def test_orders_are_placed_and_shipped_while_their_log_moves_with_tokens_on(tmp_path: Path, broker: str, server: Server) -> None:
    tree = Tree(tmp_path / "tree", "shop.yaml", ("orders", "shipping", "order-book"))
    shoppers = Shoppers(tree.url("orders"))
    async with running(tree, SIDESTREAM_TOKENS="on"):
        assert sorted(tree.place.tokens.glob("*/*"))
        playing = asyncio.create_task(shoppers.play())
        await shoppers.more(3)
        done = json.loads((await sidestream(*tree.move(broker, server.address, "--json"))).out)
        await shoppers.more(3)
        shoppers.over = True
        await playing
        book, played = tree.url("order-book"), shoppers.played
        expected = {order: "shipped" if found["state"] == "paid" else found["state"] for order, found in played.items()}

        async def is_right() -> bool:
            try:
                return {row["order"]: row["state"] for row in await every_order(book)} == expected
            except (httpx.TransportError, KeyError):
                return False

        await until(is_right, 90, lambda: "every paid order shipped")
        await assert_shipped_once(book, expected)
        await assert_revenue(book, played)
        verified = await sidestream("log", "verify", *tree.where)
        async with httpx.AsyncClient(timeout=30) as client:
            refused = (await client.get(f"{book}/dapr/subscribe")).status_code
    moved = {topic["topic"]: topic["summed"]["events"] for topic in done["topics"]}
    assert moved["orders"] > 0
    assert verified.code == 0
    assert refused == 401, "tokens are on after the move, too"


# ── back again, and elsewhere ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_log_goes_back_to_where_it_came_from_with_what_was_added_elsewhere(tree: Tree, broker: str, server: Server) -> None:
    async with running(tree):
        async with voting(tree) as voters:
            await voters.more(BEFORE)
            await sidestream(*tree.move(broker, server.address))
            await voters.more(AFTERWARDS)
        await assert_counted(tree, voters)
    address = tree.place.read_secrets()["redisHost"]
    async with typed(tree, "broker", "start", "--data", str(tree.place.path)):
        await until(lambda: tree.output.read_text().count(f"Broker on {address}") == 1, 60, tree.output.read_text)
        done = json.loads((await sidestream(*tree.move("redis", address, "--json", source=broker))).out)
    votes = next(topic for topic in done["topics"] if topic["topic"] == "votes")
    assert votes["there_before"] >= BEFORE
    assert votes["summed"]["events"] >= votes["there_before"] + AFTERWARDS
    async with running(tree):
        async with voting(tree, voters):
            await voters.more(50)
        await assert_counted(tree, voters)
    assert "type: pubsub.redis" in tree.in_force.read_text()


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[str]:
    """The address of a Redis of somebody else."""
    (tmp_path / "valkey").mkdir()
    running = Valkey(tmp_path / "valkey")
    yield f"127.0.0.1:{running.port}"
    running.kill()


async def test_a_log_goes_on_in_a_redis_of_somebody_else(tree: Tree, broker: str, server: Server, valkey: str) -> None:
    """It must be that one, and no new and empty broker of our own."""
    await sidestream("broker", "use", broker, "--address", server.address, *tree.where)
    async with running(tree):
        async with voting(tree) as voters:
            await voters.more(50)
            await sidestream(*tree.move("redis", valkey, source=broker))
            await voters.more(50)
        await assert_counted(tree, voters)
    assert not tree.place.broker.exists()


async def test_the_address_of_the_broker_before_is_left_aside_by_a_system_that_was_started_with_it(
    tree: Tree, broker: str, server: Server, valkey: str
) -> None:
    async with running(tree, SIDESTREAM_BROKER=valkey):
        async with voting(tree) as voters:
            await voters.more(50)
            await sidestream(*tree.move(broker, server.address))
            await voters.more(50)
        await assert_counted(tree, voters)
    assert "SIDESTREAM_BROKER is left aside" in tree.output.read_text()
