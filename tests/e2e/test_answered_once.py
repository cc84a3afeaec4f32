"""A command under an Idempotency-Key is done once and answered alike, whoever dies meanwhile; on the memory backbone."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from events.orders import order_stream
from services.orders.bootstrap import create_app
from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.errors import StoreAway
from sidestream.ports import Answer, StoredEvent
from sidestream.web.commands import CLAIM_SECONDS
from tests.e2e.ordering import PAY, PLACE, SHIP, Backstage, code_of, placed
from tests.e2e.write_side import WriteSide, writing


@pytest.fixture
async def orders(tmp_path: Path) -> AsyncIterator[WriteSide]:
    """A running orders service."""
    async with writing(create_app, tmp_path) as side:
        yield side


async def test_the_same_key_and_body_gives_the_same_answer_and_nothing_is_done_twice(orders: WriteSide) -> None:
    headers = {"idempotency-key": "first", "x-correlation-id": "conversation"}
    first = await orders.client.post("/orders", json=PLACE, headers=headers)
    await orders.client.post(f"/orders/{first.json()['order']}/payment", json=PAY)
    again = await orders.client.post(
        "/orders", content=b'{"lines":[{"unit_minor":450, "quantity":3,"article":"tea"}],"currency":"EUR","customer":"ada"}',
        headers={**headers, "x-correlation-id": "another", "content-type": "application/json"},
    )  # fmt: skip

    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.status_code, again.content) == (first.status_code, first.content)
    same = ("etag", "location", "sidestream-consistency", "x-correlation-id", "content-type")
    assert [again.headers[name] for name in same] == [first.headers[name] for name in same]
    assert len(await orders.logged("orders", 2)) == 2


async def test_the_same_key_with_another_body_is_422(orders: WriteSide) -> None:
    headers = {"idempotency-key": "one"}
    await placed(orders, **headers)
    problem = await orders.refused("POST", "/orders", json={**PLACE, "customer": "bob"}, headers=headers, status=422)

    assert code_of(problem) == "idempotency-key-reused"
    assert len(orders.backbone.event_store("orders").follow(0)) == 1


async def test_the_same_key_at_another_door_is_another_key(orders: WriteSide) -> None:
    headers = {"idempotency-key": "one"}
    first, second = await placed(orders), await placed(orders)
    for order in (first, second):
        answer = await orders.client.post(f"/orders/{order}/payment", json=PAY, headers=headers)
        assert (answer.status_code, answer.json()["order"]) == (200, order)


async def test_a_command_that_was_refused_is_decided_anew(orders: WriteSide) -> None:
    order = await placed(orders)
    headers = {"idempotency-key": "ship"}
    await orders.refused("POST", f"/orders/{order}/shipment", json=SHIP, headers=headers, status=409)
    await orders.client.post(f"/orders/{order}/payment", json=PAY)
    answer = await orders.client.post(f"/orders/{order}/shipment", json=SHIP, headers=headers)

    assert (answer.status_code, answer.json()["state"]) == (200, "shipped")


async def test_many_with_one_key_at_once_do_it_once(orders: WriteSide) -> None:
    async def ask() -> httpx.Response:
        return await orders.client.post("/orders", json=PLACE, headers={"idempotency-key": "one"})

    answers = await asyncio.gather(*(ask() for _ in range(40)))

    assert {answer.status_code for answer in answers} <= {201, 409}
    for running in (answer for answer in answers if answer.status_code == 409):
        assert code_of(running.json()) == "command-running"
        assert int(running.headers["retry-after"]) >= 1
    assert len({answer.json()["order"] for answer in answers if answer.status_code == 201}) == 1
    assert len(orders.backbone.event_store("orders").follow(0)) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "two words", "ü", "a\tb"])
async def test_a_key_that_is_none_is_refused(orders: WriteSide, key: str) -> None:
    problem = await orders.refused("POST", "/orders", json=PLACE, headers={"idempotency-key": key.encode()}, status=400)

    assert "Idempotency-Key" in problem["detail"]
    assert orders.backbone.event_store("orders").follow(0) == ()


class DiesAfterTheClaim(MemoryEventStore):
    """A process that is killed between the claim and the append: nothing is appended, and nobody ends the claim."""

    def __init__(self) -> None:
        self.now_ms = time.time_ns() // 1_000_000
        super().__init__(lambda: self.now_ms)
        self.dies = True

    def append(self, appends: Any, answer: Answer | None = None) -> tuple[StoredEvent, ...]:
        if self.dies:
            raise StoreAway("killed")
        return super().append(appends, answer)

    def release(self, key: str) -> None:
        if not self.dies:
            super().release(key)


async def test_a_claim_whose_process_died_ends_by_its_time(tmp_path: Path) -> None:
    store = DiesAfterTheClaim()
    async with writing(create_app, tmp_path, Backstage(store)) as orders:
        headers = {"idempotency-key": "one"}
        await orders.refused("POST", "/orders", json=PLACE, headers=headers, status=503)
        store.dies = False
        problem = await orders.refused("POST", "/orders", json=PLACE, headers=headers, status=409)
        store.now_ms += int(CLAIM_SECONDS * 1000) + 1
        answer = await orders.client.post("/orders", json=PLACE, headers=headers)

    assert code_of(problem) == "command-running"
    assert answer.status_code == 201


class LosesTheAnswer(MemoryEventStore):
    """A process that is killed after the append, before it answers."""

    dies = True

    def append(self, appends: Any, answer: Answer | None = None) -> tuple[StoredEvent, ...]:
        stored = super().append(appends, answer)
        if self.dies:
            raise StoreAway("killed")
        return stored


async def test_an_answer_that_was_lost_on_the_way_is_given_to_the_repeat(tmp_path: Path) -> None:
    store = LosesTheAnswer()
    async with writing(create_app, tmp_path, Backstage(store)) as orders:
        headers = {"idempotency-key": "one"}
        await orders.refused("POST", "/orders", json=PLACE, headers=headers, status=503)
        store.dies = False
        answer = await orders.client.post("/orders", json=PLACE, headers=headers)

    assert (answer.status_code, answer.headers["idempotency-replayed"]) == (201, "true")
    assert [event.stream for event in store.follow(0)] == [order_stream(answer.json()["order"])]
