"""Refused shipments are retried through real sidecars, by several people at once, while both replicas are killed in turn.

How they came to be refused: somebody outside told the log of payments that orders had not taken, so orders was asked to ship
open orders and refused. Then they were paid for. Each must be retried once and shipped once, by what the log says; the keys
are the people's own, some of them shared.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from sidestream.identifiers import new_id, now
from sidestream.launcher.system import System
from tests.asking import broker_of, wires
from tests.integration.test_orders import SHOP, kill
from tests.parts import running_system
from tests.postgres import running_postgres
from tests.waiting import until

ORDERS = 18
PLACE = {"customer": "ada", "currency": "EUR", "lines": [{"article": "tea", "quantity": 1, "unit_minor": 5}]}
PAY = {"amount_minor": 5, "currency": "EUR", "reference": "till"}
REPLICAS = ("shipping", "shipping-too")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(params=["sqlite", "postgresql"])
def environment(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Where stores and rows are kept: in files that the replicas share, or in a database."""
    if request.param == "sqlite":
        yield {}
        return
    with running_postgres() as server, server.database() as url:
        yield {"SIDESTREAM_STORE_URL": url, "SIDESTREAM_DATABASE_URL": url}


@pytest.fixture
async def system(tmp_path: Path, environment: dict[str, str]) -> AsyncIterator[System]:
    """Orders, shipping twice, each with a sidecar, and a broker of their own, which anybody may write to."""
    async with running_system(tmp_path / "system", SHOP, leave_out=("order-book",), environment=environment, guarded=False) as running:
        yield running


async def command(url: str, path: str, key: str, body: Any = None) -> httpx.Response:
    """Ask under one key until there is an answer that is not to come again later."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as door:
        while True:
            try:
                answer = await door.post(path, json=body, headers={"idempotency-key": key})
            except httpx.TransportError:
                await asyncio.sleep(0.1)  # a client's own pause before it sends again
                continue
            if "retry-after" not in answer.headers:
                return answer
            await asyncio.sleep(0.1)


async def placed(system: System, count: int) -> list[str]:
    url = system["orders"].url
    answers = await asyncio.gather(*(command(url, "/orders", f"place-{at}", PLACE) for at in range(count)))
    return [answer.json()["order"] for answer in answers]


def tell_of_payments(system: System, orders: list[str]) -> None:
    """Write `order.paid` into the log, as a stranger who knows our words."""
    data = {"amount_minor": 5, "currency": "EUR", "reference": "outside", "paid_at": now()}
    with broker_of(system) as client:
        for order in orders:
            event = {"specversion": "1.0", "id": new_id(), "source": "/outside", "type": "order.paid", "subject": f"order-{order}"}
            client.xadd("orders", {"data": msgspec.json.encode({**event, "time": now(), "data": data})})


async def states(url: str, state: str) -> set[str]:
    async with httpx.AsyncClient(base_url=url, timeout=10) as door:
        try:
            answer = await door.get("/shipments", params={"state": state, "limit": 1000})
        except httpx.TransportError:
            return set()
    return {each["order"] for each in answer.json().get("shipments", ())}


async def are(system: System, state: str, expected: list[str]) -> None:
    """Wait until every replica says so of exactly these orders."""
    for name in REPLICAS:
        await _are_at(system[name].url, state, set(expected))


async def _are_at(url: str, state: str, expected: set[str]) -> None:
    found: set[str] = set()

    async def is_right() -> bool:
        nonlocal found
        found = await states(url, state)
        return found == expected

    await until(is_right, 60, lambda: f"{url}: expected {len(expected)} {state}, found {len(found)}; that")


def recorded(system: System, topic: str, kind: str) -> Counter[str]:
    """How many different events of a kind stand in the log for each order."""
    found = [msgspec.json.decode(wire) for wire in wires(system, topic)]
    different = {(event["source"], event["id"]): event["subject"] for event in found if event["type"] == kind}
    return Counter(subject.partition("-")[2] for subject in different.values())


async def retry_all(system: System, orders: list[str]) -> list[httpx.Response]:
    """Six people retry every order, by both replicas; pairs share a key. Who gets the 10th, 40th or 70th answer kills a replica."""
    answered, answers = itertools.count(1), []

    async def person(number: int) -> None:
        url = system[REPLICAS[number % 2]].url
        for order in orders[number * 3 :] + orders[: number * 3]:
            answers.append(await command(url, f"/shipments/{order}/retry", f"person-{number // 2}"))
            if victim := {10: "shipping", 40: "shipping-too", 70: "shipping"}.get(next(answered)):
                await kill(system[victim])

    await asyncio.gather(*(person(number) for number in range(6)))
    return answers


async def test_each_refused_shipment_is_retried_and_shipped_once_whoever_asks_and_whatever_is_killed(system: System) -> None:
    orders = await placed(system, ORDERS)
    tell_of_payments(system, orders)
    await are(system, "refused", orders)
    url = system["orders"].url
    paid = await asyncio.gather(*(command(url, f"/orders/{order}/payment", "pay", PAY) for order in orders))
    assert {answer.status_code for answer in paid} == {200}

    answers = await retry_all(system, orders)

    told = Counter(answer.json().get("type", "").rpartition(":")[2] for answer in answers)
    assert told.keys() <= {"", "shipment-due", "shipment-shipped"}, told
    assert told[""] >= ORDERS
    await are(system, "shipped", orders)
    await until(lambda: recorded(system, "orders", "order.shipped") == Counter(orders), 30, lambda: "each shipped once in the log")
    assert recorded(system, "shipments", "shipment.retried") == Counter(orders)
    assert recorded(system, "shipments", "shipment.refused") == Counter(orders)
    assert sum(told[code] for code in told) == 6 * ORDERS
