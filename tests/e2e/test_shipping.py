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
from starlette.types import Receive, Scope, Send

import events
from events.orders import OrderPaid, order_stream
from services.orders import bootstrap as orders
from services.shipping import bootstrap as shipping
from services.shipping.due import Shipment
from services.shipping.parcels import Verdict
from services.shipping.refusing import Refusals
from sidestream.adapters.memory_log import MemoryLog
from sidestream.backbone import MemoryBackbone
from sidestream.event import Counted, Envelope, decode_event, encode_event
from sidestream.identifiers import new_id, now
from sidestream.settings import Settings
from sidestream.web.problems import problem
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


# ── a refused one is tried again ─────────────────────────────────────────────────────────────────────────────────────


class NobodyKnows:
    """An orders service with an empty store: it refuses every command for good."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        await problem(404, "there is no such order", code="unknown-order")(scope, receive, send)


@asynccontextmanager
async def refused(shop: Shop, count: int = 1) -> AsyncIterator[list[str]]:
    """Paid orders, each refused once. Orders is away while the block runs, then what was retried is shipped."""
    await shop.start_orders()
    orders_app = shop.backbone._apps["orders"]
    shop.backbone._apps["orders"] = NobodyKnows()
    expected = await shop.paid(count)
    async with shop.shipping():
        await until(lambda: all_are(shop, "refused", expected))
        del shop.backbone._apps["orders"]
        yield expected
        shop.backbone._apps["orders"] = orders_app
        await shop.all_shipped([*retried_orders(shop)])


async def all_are(shop: Shop, state: str, expected: list[str]) -> bool:
    return {await state_of(shop, order) for order in expected} == {state}


def story_of(shop: Shop, order: str) -> list[Envelope]:
    """What the store says of a shipment, whether it is published yet or not."""
    return [decode_event(stored.wire) for stored in shop.backbone.event_store("shipping").read_stream(f"shipment-{order}")]


def retried_orders(shop: Shop) -> Counter[str]:
    events = [decode_event(stored.wire) for stored in shop.backbone.event_store("shipping").read_topic("shipments")]
    return Counter(str(event.subject).partition("-")[2] for event in events if event.type == "shipment.retried")


async def retry(shop: Shop, order: str, key: str = "", door: str = "shipping", **headers: str) -> httpx.Response:
    sent = {**headers, **({"idempotency-key": key} if key else {})}
    return await shop.doors[door].post(f"/shipments/{order}/retry", headers=sent)


async def test_a_refused_shipment_is_retried_and_then_shipped_once(shop: Shop) -> None:
    async with refused(shop, 3) as (order, other, _):
        answer = await retry(shop, order, "r-1", **{"x-correlation-id": "desk-7"})
        await until(lambda: all_are(shop, "due", [order]))
        shop.backbone._apps["orders"] = NobodyKnows()
        await until(lambda: all_are(shop, "refused", [order]))
        del shop.backbone._apps["orders"]
        again = await retry(shop, order, "r-2")
        assert await state_of(shop, other) == "refused"
    assert (answer.status_code, again.status_code) == (200, 200), answer.text + again.text
    assert (answer.json()["state"], answer.json()["attempt"], again.json()["attempt"]) == ("due", 1, 2)
    assert (answer.headers["etag"], answer.headers["x-correlation-id"]) == ('"2"', "desk-7")
    assert [place["topic"] for place in answer.json()["consistency"]] == ["shipments"]
    story = story_of(shop, order)
    assert [event.type for event in story] == ["shipment.refused", "shipment.retried", "shipment.refused", "shipment.retried"]
    assert story[1].correlationid == "desk-7"


async def test_a_query_that_waits_for_the_retry_sees_it(shop: Shop) -> None:
    async with refused(shop) as (order,):
        answer = await retry(shop, order)
        headers = {"sidestream-consistency": answer.headers["sidestream-consistency"], "sidestream-wait": "10s"}
        found = await shop.doors["shipping"].get(f"/shipments/{order}", headers=headers)
    assert found.json()["attempt"] == 1


async def test_the_same_retry_asked_many_times_is_answered_once_and_the_same(shop: Shop) -> None:
    async with refused(shop) as (order,):
        answers = await asyncio.gather(*(retry(shop, order, "r-1") for _ in range(20)))
        last = await retry(shop, order, "r-1")
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 409)
    assert last.headers["idempotency-replayed"] == "true"
    assert {answer.text for answer in answers if answer.status_code == 200} == {last.text}
    assert retried_orders(shop) == Counter([order])


async def test_of_many_who_retry_at_once_by_two_replicas_one_does_and_the_others_are_told(shop: Shop) -> None:
    async with refused(shop) as (order,):
        shop.doors["first"] = shop.doors["shipping"]
        async with shop.shipping():
            shop.doors["second"] = shop.doors["shipping"]
            answers = await asyncio.gather(*(retry(shop, order, f"r-{at}", ("first", "second")[at % 2]) for at in range(12)))
    told = Counter((answer.status_code, answer.json().get("type", "")) for answer in answers)
    assert told == {(200, ""): 1, (409, "urn:sidestream:problem:shipment-due"): 11}
    assert retried_orders(shop) == Counter([order])


async def test_only_a_refused_shipment_can_be_retried(shop: Shop) -> None:
    await shop.start_orders()
    async with shop.shipping():
        (shipped,) = await shop.paid()
        await shop.all_shipped([shipped])
        cancelled = str((await shop.doors["orders"].post("/orders", json=PLACE)).json()["order"])
        await shop.doors["orders"].post(f"/orders/{cancelled}/cancellation", json={"reason": "late"})

        async def both_known() -> bool:
            return (await state_of(shop, shipped), await state_of(shop, cancelled)) == ("shipped", "cancelled")

        await until(both_known)
        answers = {name: await retry(shop, name) for name in (shipped, cancelled, new_id(), "order-x", "%00")}
    found = [(answer.status_code, answer.json()["type"].rpartition(":")[2]) for answer in answers.values()]
    assert found == [(409, "shipment-shipped"), (409, "shipment-cancelled"), *[(404, "unknown-shipment")] * 3]
    assert {answer.headers["content-type"] for answer in answers.values()} == {"application/problem+json"}
    assert shop.log("shipments") == []


async def test_a_retry_says_which_version_it_has_seen_if_it_likes(shop: Shop) -> None:
    async with refused(shop) as (order,):
        late = await retry(shop, order, **{"if-match": '"7"'})
        assert (late.status_code, late.headers["etag"]) == (412, '"1"')
        assert retried_orders(shop) == Counter()
        assert (await retry(shop, order, **{"if-match": '"1"'})).status_code == 200


async def test_a_late_refusal_of_an_attempt_that_was_retried_meanwhile_records_nothing(shop: Shop) -> None:
    """A replica that was slow comes with what orders answered to the first attempt, after the second has begun."""
    async with refused(shop) as (order,):
        found = (await shop.doors["shipping"].get(f"/shipments/{order}")).json()
        await retry(shop, order)
        refusals = Refusals(shop.backbone.event_store("shipping"), events.registry(), lambda: None)
        refusals.record(Shipment(order, "due", found["paid_event"]), Verdict("refused", "unknown-order", "late"))
        assert [event.type for event in story_of(shop, order)] == ["shipment.refused", "shipment.retried"]


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
