"""Two hundred orders through real sidecars and a real broker, by ten clients, while shipping and orders are killed.

Each paid order is shipped exactly once, and the order book equals a fold that is worked out here from what the clients were
answered, by code that shares nothing with the product's. A client that got no answer sends the same command under the same key.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from sidestream.launcher.parts import Pair
from sidestream.launcher.system import System
from tests.parts import REPOSITORY, running_system
from tests.waiting import until

SHOP = REPOSITORY / "tests" / "apps" / "shop.yaml"
ORDERS = 200
CLIENTS = 10
CURRENCIES = ("EUR", "USD")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    """Orders, shipping twice, the order book, each with a sidecar, and a broker of their own."""
    async with running_system(tmp_path / "system", SHOP, guarded=False) as running:
        yield running


class Client:
    """Sends every command until it is answered; what was answered is all that it knows."""

    def __init__(self, url: str, seed: int) -> None:
        self._dice = random.Random(seed)
        self._door = httpx.AsyncClient(base_url=url, timeout=10)
        self._commands = 0
        self._seed = seed
        self.orders: dict[str, dict[str, Any]] = {}

    async def command(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Ask until there is an answer; the key makes a repeat the same command."""
        self._commands += 1
        headers = {"idempotency-key": f"client-{self._seed}-{self._commands}", "x-correlation-id": f"client-{self._seed}"}
        while True:
            try:
                answer = await self._door.request(method, path, json=body, headers=headers)
            except httpx.TransportError:
                await asyncio.sleep(0.1)  # a client's own pause before it sends again
                continue
            if answer.status_code < 300:
                found: dict[str, Any] = answer.json()
                return found
            assert answer.status_code == 503 or "retry-after" in answer.headers, answer.text
            await asyncio.sleep(0.1)

    async def close(self) -> None:
        """Hang up."""
        await self._door.aclose()

    async def live(self) -> None:
        """Place an order, change its mind about it, and pay or cancel it, or leave it open."""
        dice = self._dice
        lines = [self._line() for _ in range(dice.randint(1, 3))]
        placed = await self.command("POST", "/orders", {"customer": f"c{self._seed}", "currency": dice.choice(CURRENCIES), "lines": lines})
        at = f"/orders/{placed['order']}"
        last = placed
        for _ in range(dice.randint(0, 2)):
            last = await self.command("POST", f"{at}/lines", self._line())
        if dice.random() < 0.3:
            last = await self.command("DELETE", f"{at}/lines/1")
        fate = dice.random()
        if fate < 0.8 and last["lines"]:
            payment = {"amount_minor": last["total_minor"], "currency": last["currency"], "reference": f"pay-{placed['order']}"}
            last = await self.command("POST", f"{at}/payment", payment)
        elif fate < 0.9:
            last = await self.command("POST", f"{at}/cancellation", {"reason": "no"})
        self.orders[placed["order"]] = last

    def _line(self) -> dict[str, Any]:
        return {"article": "tea", "quantity": self._dice.randint(1, 9), "unit_minor": self._dice.randint(1, 9_999)}


async def play(url: str, count: int, seed: int) -> dict[str, dict[str, Any]]:
    """Let CLIENTS live through so many orders; return each order as its client was answered last."""
    clients = [Client(url, seed + number) for number in range(CLIENTS)]
    left = iter(range(count))

    async def go_on(client: Client) -> None:
        for _ in left:
            await client.live()

    try:
        await asyncio.gather(*(go_on(client) for client in clients))
    finally:
        for client in clients:
            await client.close()
    return {order: found for client in clients for order, found in client.orders.items()}


async def kill(pair: Pair) -> None:
    await pair.app.kill()
    await pair.app.start()


async def every_order(url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async with httpx.AsyncClient(base_url=url, timeout=10) as door:
        path = "/orders?limit=1000"
        while path:
            answer = await door.get(path)
            found += answer.json()["orders"]
            path = answer.links.get("next", {}).get("url", "")
    return found


async def histories(url: str, orders: list[str]) -> dict[str, list[dict[str, Any]]]:
    async with httpx.AsyncClient(base_url=url, timeout=10) as door:
        return {order: (await door.get(f"/orders/{order}/history")).json()["events"] for order in orders}


async def test_each_paid_order_is_shipped_exactly_once_whatever_is_killed(system: System) -> None:
    await system["shipping-too"].app.kill()  # one replica at first
    playing = asyncio.create_task(play(system["orders"].url, ORDERS, seed=1))
    book = system["order-book"].url
    for count, victim in ((40, "shipping"), (80, "orders"), (120, "shipping")):
        await until(lambda count=count: _reached(book, count), seconds=90, what=lambda: "so many orders")
        await kill(system[victim])
    await system["shipping-too"].app.start()
    played = await playing
    played |= await play(system["orders"].url, 20, seed=100)

    expected = {order: "shipped" if found["state"] == "paid" else found["state"] for order, found in played.items()}

    async def is_right() -> bool:
        return {row["order"]: row["state"] for row in await every_order(book)} == expected

    await until(is_right, seconds=60, what=lambda: "every paid order shipped")
    assert len(expected) == ORDERS + 20
    await assert_shipped_once(book, expected)
    await assert_revenue(book, played)


async def _reached(url: str, count: int) -> bool:
    return len(await every_order(url)) >= count


async def assert_shipped_once(book: str, expected: dict[str, str]) -> None:
    """Every history ends as its client left it, with one shipment where it was paid, and the conversation goes on in it."""
    for order, events in (await histories(book, list(expected))).items():
        kinds = Counter(event["type"] for event in events)
        assert [event["version"] for event in events] == list(range(1, len(events) + 1))
        assert kinds["order.placed"] == 1
        assert kinds["order.shipped"] == kinds["order.paid"] == int(expected[order] == "shipped"), (order, kinds)
        assert len({event["correlation_id"] for event in events}) == 1, events
        if expected[order] == "shipped":
            assert events[-1]["causation_id"] == events[-2]["event_id"]
            assert (events[-2]["type"], events[-1]["type"]) == ("order.paid", "order.shipped")


async def assert_revenue(book: str, played: dict[str, dict[str, Any]]) -> None:
    earned: Counter[str] = Counter()
    for found in played.values():
        earned[found["currency"]] += found["paid_minor"]
    async with httpx.AsyncClient(base_url=book, timeout=10) as door:
        revenue = msgspec.json.decode((await door.get("/revenue")).content)["revenue"]
    found_by_currency: Counter[str] = Counter()
    for line in revenue:
        found_by_currency[line["currency"]] += line["amount_minor"]
    assert found_by_currency == earned
    assert sum(line["orders"] for line in revenue) == sum(found["state"] == "paid" for found in played.values())
