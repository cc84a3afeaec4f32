"""Shipping beside the orders service, on the memory backbone: every paid order is shipped, once, whatever happens."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI

import events
from events.orders import OrderPaid, order_stream
from services.orders import bootstrap as orders
from services.shipping import bootstrap as shipping
from sidestream.adapters.memory_log import MemoryLog
from sidestream.backbone import MemoryBackbone
from sidestream.event import Counted, Envelope, decode_event, encode_event
from sidestream.identifiers import new_id, now
from sidestream.settings import Settings
from tests.waiting import until

TEA = {"article": "tea", "quantity": 3, "unit_minor": 450}
PLACE = {"customer": "ada", "currency": "EUR", "lines": [TEA]}
PAY = {"amount_minor": 1350, "currency": "EUR", "reference": "pay-1"}


class Shop:
    """The orders service, any number of shipping replicas, and what the log says."""

    def __init__(self, folder: Path, stack: AsyncExitStack, backbone: MemoryBackbone) -> None:
        self.backbone = backbone
        self._folder = folder
        self._stack = stack
        self.doors: dict[str, httpx.AsyncClient] = {}

    async def open(self, name: str, app: FastAPI) -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.doors[name] = await self._stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url=f"http://{name}"))

    async def start_orders(self) -> None:
        app = orders.create_app(Settings(data=self._folder, sweep_seconds=60.0), self.backbone)
        await self._stack.enter_async_context(app.router.lifespan_context(app))
        await self.open("orders", app)

    @asynccontextmanager
    async def shipping(self) -> AsyncIterator[FastAPI]:
        app = shipping.create_app(Settings(data=self._folder, sweep_seconds=0.5), self.backbone)
        async with app.router.lifespan_context(app):
            await self.open("shipping", app)
            yield app

    async def paid(self, count: int = 1, headers: dict[str, str] | None = None) -> list[str]:
        async def pay() -> str:
            order = str((await self.doors["orders"].post("/orders", json=PLACE, headers=headers)).json()["order"])
            answer = await self.doors["orders"].post(f"/orders/{order}/payment", json=PAY, headers=headers)
            assert answer.status_code == 200, answer.text
            return order

        return list(await asyncio.gather(*(pay() for _ in range(count))))

    def log(self, topic: str = "orders") -> list[Envelope]:
        log = self.backbone.log()
        assert isinstance(log, MemoryLog)
        return [decode_event(entry.data) for entry in log.read(topic, None, 100_000)]

    def shipped(self) -> Counter[str]:
        return Counter(str(event.subject) for event in self.log() if event.type == "order.shipped")

    async def all_shipped(self, expected: list[str]) -> None:
        wanted = Counter(map(order_stream, expected))
        await until(lambda: self.shipped() == wanted, what=lambda: f"{len(wanted)} shipped once, found {self.shipped()}")

    def record(self, event: Any, subject: str) -> None:
        """Put a stranger's event of our language into the log."""
        new = events.registry().new_event(event, id=new_id(), subject=subject, time=now())
        log = self.backbone.log()
        assert isinstance(log, MemoryLog)
        log.record(new.topic, [encode_event(new, Counted(f"{new_id()}.1", 1, 1))])


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as stack:
        yield Shop(tmp_path, stack, MemoryBackbone())


async def state_of(shop: Shop, order: str) -> str:
    answer = await shop.doors["shipping"].get(f"/shipments/{order}")
    return str(answer.json().get("state", answer.status_code))


async def test_a_paid_order_is_shipped_and_its_conversation_goes_on(shop: Shop) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    await shop.start_orders()
    async with shop.shipping():
        (order,) = await shop.paid(headers={"x-correlation-id": "talk-7", "traceparent": trace})
        await shop.all_shipped([order])
        paid, shipped = shop.log()[1:]

    assert (shipped.correlationid, shipped.causationid, shipped.traceparent) == ("talk-7", paid.id, trace)
    assert msgspec.json.decode(shipped.data)["tracking"] == f"PP-{paid.id}"


async def test_what_was_paid_while_shipping_was_away_is_shipped_when_it_comes(shop: Shop) -> None:
    await shop.start_orders()
    expected = await shop.paid(30)
    async with shop.shipping():
        await shop.all_shipped(expected)
    expected += await shop.paid(10)
    async with shop.shipping():
        await shop.all_shipped(expected)


async def test_three_replicas_ship_each_order_once(shop: Shop) -> None:
    await shop.start_orders()
    async with shop.shipping(), shop.shipping(), shop.shipping():
        expected = await shop.paid(60)
        await shop.all_shipped(expected)
        assert shop.log("shipments") == []


async def test_until_the_orders_service_is_there_it_is_asked_again(shop: Shop) -> None:
    await shop.start_orders()
    expected = await shop.paid(3)
    app = shop.backbone._apps.pop("orders")
    async with shop.shipping():

        async def all_due() -> bool:
            return [await state_of(shop, order) for order in expected] == ["due"] * 3

        await until(all_due)
        assert shop.shipped() == Counter()
        shop.backbone._apps["orders"] = app
        await shop.all_shipped(expected)
    assert shop.log("shipments") == []


async def test_an_order_that_was_cancelled_meanwhile_is_left_alone(shop: Shop) -> None:
    await shop.start_orders()
    (order,) = await shop.paid()
    await shop.doors["orders"].post(f"/orders/{order}/cancellation", json={"reason": "late"})
    async with shop.shipping():
        (other,) = await shop.paid()
        await shop.all_shipped([other])

        async def cancelled() -> bool:
            return await state_of(shop, order) == "cancelled"

        await until(cancelled)
    assert shop.log("shipments") == []


async def test_a_payment_of_an_order_that_nobody_knows_is_refused_with_its_reason_and_the_others_go_on(shop: Shop) -> None:
    await shop.start_orders()
    unknown = new_id()
    shop.record(OrderPaid(5, "EUR", "x", now()), order_stream(unknown))
    async with shop.shipping(), shop.shipping():
        expected = await shop.paid(3)
        await shop.all_shipped(expected)

        async def refused() -> bool:
            return await state_of(shop, unknown) == "refused"

        await until(refused)
        answer = await shop.doors["shipping"].get("/shipments", params={"state": "refused"})
    assert [(each["order"], each["refused"].split(":")[0]) for each in answer.json()["shipments"]] == [(unknown, "unknown-order")]
    assert [(event.type, event.subject) for event in shop.log("shipments")] == [("shipment.refused", f"shipment-{unknown}")]


async def test_a_payment_that_names_no_order_is_parked_and_the_others_go_on(shop: Shop) -> None:
    await shop.start_orders()
    shop.record(OrderPaid(5, "EUR", "x", now()), "order-nobody")
    async with shop.shipping():
        await shop.all_shipped(await shop.paid(2))
        (generation,) = (await shop.doors["shipping"].get("/generations")).json()["generations"]

    assert generation["since_start"]["parked"] == 1


async def test_the_queries_list_what_is_due_and_what_went_out(shop: Shop) -> None:
    await shop.start_orders()
    expected = await shop.paid(5)
    async with shop.shipping():
        await shop.all_shipped(expected)

        async def listed() -> bool:
            answer = await shop.doors["shipping"].get("/shipments", params={"state": "shipped", "limit": 3})
            second = await shop.doors["shipping"].get(answer.links["next"]["url"]) if "next" in answer.links else answer
            found = [each["order"] for page in (answer, second) for each in page.json()["shipments"]]
            return sorted(found) == sorted(expected)

        await until(listed)
        assert (await shop.doors["shipping"].get("/shipments")).json() == {"shipments": []}
        missing = await shop.doors["shipping"].get(f"/shipments/{new_id()}")
    assert missing.status_code == 404
