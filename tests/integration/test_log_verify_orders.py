"""The broker is flushed while orders are placed, paid and shipped: after the repair every order is what its client was told.

Both stores are repaired, orders and shipping, and nothing is shipped twice although the whole log comes again.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis

from sidestream.launcher.system import System
from tests.integration.sidestream_program import sidestream
from tests.integration.test_orders import SHOP, _reached, assert_revenue, assert_shipped_once, every_order, play
from tests.parts import running_system
from tests.waiting import until

ORDERS = 60

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    """Orders, shipping, the order book, each with a sidecar."""
    async with running_system(tmp_path / "system", SHOP, guarded=False) as running:
        await running["shipping-too"].app.kill()
        yield running


async def test_orders_and_the_order_book_are_exact_after_a_flush_and_the_repair(system: System) -> None:
    book, where = system["order-book"].url, ("--data", str(system.folder.path), "-f", str(SHOP))
    playing = asyncio.create_task(play(system["orders"].url, ORDERS, seed=1))
    await until(lambda: _reached(book, ORDERS // 3), seconds=90)
    redis.Redis(port=system.broker.port).flushall()
    played = await playing

    await sidestream("log", "verify", *where, code=1)
    await sidestream("log", "verify", "--repair", *where)
    played |= await play(system["orders"].url, 10, seed=100)

    expected = {order: "shipped" if found["state"] == "paid" else found["state"] for order, found in played.items()}

    async def is_right() -> bool:
        return {row["order"]: row["state"] for row in await every_order(book)} == expected

    await until(is_right, seconds=60, what=lambda: "every paid order shipped")
    assert len(expected) == ORDERS + 10
    await assert_shipped_once(book, expected)
    await assert_revenue(book, played)
    rebuilt = json.loads((await sidestream("projections", "rebuild", "order_book", "--json", *where)).out)["rebuilt"]
    assert rebuilt["comparison"]["differing"] == 0
    await sidestream("log", "verify", *where)
