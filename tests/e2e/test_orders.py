"""The orders service through its doors, on the memory backbone: an order's life, each command answered once, conflicts."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from events.orders import order_stream
from services.orders.bootstrap import create_app
from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.backbone import MemoryBackbone
from sidestream.identifiers import new_id
from sidestream.ports import Answer, Append, StoredEvent
from sidestream.settings import Settings
from tests.e2e.garbage import GARBAGE
from tests.e2e.ordering import CANCEL, PAY, PLACE, POT, SHIP, TEA, TRACE, Backstage, code_of, placed
from tests.e2e.write_side import WriteSide, writing


@pytest.fixture
async def orders(tmp_path: Path) -> AsyncIterator[WriteSide]:
    """A running orders service."""
    async with writing(create_app, tmp_path) as side:
        yield side


# ── the life of an order ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_order_goes_from_its_first_line_to_the_parcel(orders: WriteSide) -> None:
    order = await placed(orders)
    at = f"/orders/{order}"
    assert (await orders.client.post(f"{at}/lines", json=POT)).status_code == 201
    assert (await orders.client.delete(f"{at}/lines/1")).status_code == 200
    assert (await orders.client.post(f"{at}/payment", json={**PAY, "amount_minor": 2500})).json()["state"] == "paid"
    shipped = await orders.client.post(f"{at}/shipment", json=SHIP)

    assert shipped.json() | {"consistency": []} == {
        "order": order,
        "state": "shipped",
        "customer": "ada",
        "currency": "EUR",
        "lines": [{"line": 2, "amount_minor": 2500, **POT}],
        "total_minor": 2500,
        "paid_minor": 2500,
        "carrier": "post",
        "tracking": "P-1",
        "reason": None,
        "version": 5,
        "consistency": [],
    }
    shown = await orders.client.get(at)
    assert shown.json() == {name: value for name, value in shipped.json().items() if name != "consistency"}
    assert shown.headers["etag"] == shipped.headers["etag"] == '"5"'
    found = [(event.type, event.streamversion, event.subject) for event in await orders.logged("orders", 5)]
    kinds = ["order.placed", "order.line-added", "order.line-removed", "order.paid", "order.shipped"]
    assert found == [(kind, version, order_stream(order)) for version, kind in enumerate(kinds, start=1)]


async def test_an_answer_says_which_events_it_made(orders: WriteSide) -> None:
    answer = await orders.client.post("/orders", json=PLACE)
    (event,) = await orders.logged("orders", 1)

    assert answer.headers["location"] == f"/orders/{answer.json()['order']}"
    assert answer.json()["consistency"] == [{"topic": "orders", "producer": event.producer, "sequence": 1}]
    assert answer.headers["sidestream-consistency"] == f"orders:{event.producer}:1"


@pytest.mark.parametrize(
    ("steps", "method", "path", "body", "code"),
    [
        ([], "POST", "shipment", SHIP, "order-open"),
        ([], "POST", "payment", {**PAY, "amount_minor": 1}, "wrong-amount"),
        ([("payment", PAY)], "POST", "lines", POT, "order-paid"),
        ([("payment", PAY)], "DELETE", "lines/1", None, "order-paid"),
        ([("payment", PAY), ("shipment", SHIP)], "POST", "cancellation", CANCEL, "order-shipped"),
        ([("cancellation", CANCEL)], "POST", "payment", PAY, "order-cancelled"),
    ],
)
async def test_a_wrong_step_is_409_and_nothing_is_recorded(
    orders: WriteSide, steps: list[tuple[str, Any]], method: str, path: str, body: Any, code: str
) -> None:
    order = await placed(orders)
    for step, content in steps:
        assert (await orders.client.post(f"/orders/{order}/{step}", json=content)).status_code == 200
    problem = await orders.refused(method, f"/orders/{order}/{path}", json=body, status=409)

    assert code_of(problem) == code
    assert len(orders.backbone.event_store("orders").follow(0)) == 1 + len(steps)


async def test_what_is_not_there_is_404(orders: WriteSide) -> None:
    order = await placed(orders)
    for missing in (new_id(), "x", "%00", order.upper() + "X"):
        assert code_of(await orders.refused("GET", f"/orders/{missing}", status=404)) == "unknown-order"
        assert code_of(await orders.refused("POST", f"/orders/{missing}/payment", json=PAY, status=404)) == "unknown-order"
    assert code_of(await orders.refused("DELETE", f"/orders/{order}/lines/2", status=404)) == "unknown-line"


@pytest.mark.parametrize(("body", "content_type", "status"), GARBAGE)
async def test_garbage_is_refused_and_nothing_is_recorded(orders: WriteSide, body: bytes, content_type: str, status: int) -> None:
    for path in ("/orders", f"/orders/{new_id()}/payment"):
        await orders.refused("POST", path, content=body, headers={"content-type": content_type, "idempotency-key": "k"}, status=status)

    assert orders.backbone.event_store("orders").follow(0) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"customer": ""},
        {"customer": "\n"},
        {"customer": 7},
        {"currency": "eur"},
        {"currency": "EURO"},
        {"lines": [TEA] * 101},
        {"lines": [{**TEA, "quantity": 0}]},
        {"lines": [{**TEA, "quantity": 1.0}]},
        {"lines": [{**TEA, "quantity": True}]},
        {"lines": [{**TEA, "unit_minor": -1}]},
        {"lines": [{**TEA, "unit_minor": 4.5}]},
        {"lines": [{**TEA, "unit_minor": 2**63}]},
        {"lines": [{**TEA, "more": 1}]},
        {"order": "mine"},
    ],
)
async def test_an_order_that_is_none_is_refused(orders: WriteSide, change: dict[str, Any]) -> None:
    problem = await orders.refused("POST", "/orders", json={**PLACE, **change}, status=400)

    assert next(iter(change)) in problem["detail"]
    assert orders.backbone.event_store("orders").follow(0) == ()


# ── headers in words ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("header", "found", "expected", "remedy"),
    [
        ("If-Match", "1", "expected the ETag of an answer with its quotes", "Send the ETag just as it came, its quotes too."),
        ("Idempotency-Key", "a b", "expected 1 to 255 visible ASCII characters", "Take a UUID, or leave the header out."),
        ("X-Correlation-ID", "a b", "expected 1 to 255 visible ASCII characters", "Take a UUID, or leave the header out."),
        ("X-Causation-ID", "", "expected 1 to 255 visible ASCII characters", "Take a UUID, or leave the header out."),
    ],
)
async def test_a_header_that_is_none_is_told_in_words(orders: WriteSide, header: str, found: str, expected: str, remedy: str) -> None:
    problem = await orders.refused("POST", "/orders", json=PLACE, headers={header: found}, status=400)
    assert f"header {header}: {expected}" in problem["detail"]
    assert f"found {found!r}. {remedy}" in problem["detail"]


async def test_a_currency_that_is_none_is_told_in_words(orders: WriteSide) -> None:
    problem = await orders.refused("POST", "/orders", json={**PLACE, "currency": "eur"}, status=400)
    assert "body.currency: expected three capital letters as in ISO 4217, found 'eur'. Send a code like EUR." in problem["detail"]


@pytest.mark.parametrize("header", ["Idempotency-Key", "If-Match", "X-Correlation-ID", "X-Causation-ID"])
async def test_a_header_that_is_sent_twice_is_refused(orders: WriteSide, header: str) -> None:
    value = "*" if header == "If-Match" else "same"
    problem = await orders.refused("POST", "/orders", json=PLACE, headers=[(header, value), (header, value)], status=400)
    assert f"header {header}: expected it once, found it 2 times. Send one" in problem["detail"]
    assert not orders.backbone.event_store("orders").follow(0)


# ── If-Match ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_command_with_the_version_that_is_there_is_carried_out(orders: WriteSide) -> None:
    order = await placed(orders)
    for tag in ('"1"', "*", '"7", "3"', 'W/"4", "4"'):
        answer = await orders.client.post(f"/orders/{order}/lines", json=POT, headers={"if-match": tag})
        assert answer.status_code == 201, answer.text
    assert answer.headers["etag"] == '"5"'


@pytest.mark.parametrize("tag", ['"2"', '"0"', 'W/"1"', '""', '"x"', '"2", "3"', f'"{"9" * 30}"'])
async def test_a_command_with_another_version_is_412_and_says_which_is_there(orders: WriteSide, tag: str) -> None:
    order = await placed(orders)
    answer = await orders.client.post(f"/orders/{order}/lines", json=POT, headers={"if-match": tag})

    assert (answer.status_code, code_of(answer.json())) == (412, "wrong-expected-version")
    assert answer.headers["etag"] == '"1"'
    assert len(orders.backbone.event_store("orders").follow(0)) == 1


@pytest.mark.parametrize("tag", ["", "1", '"1', '"a b"', '"1" "2"', "x" * 2000])
async def test_a_condition_that_is_none_is_refused(orders: WriteSide, tag: str) -> None:
    order = await placed(orders)
    await orders.refused("POST", f"/orders/{order}/lines", json=POT, headers={"if-match": tag}, status=400)


async def test_an_order_that_is_not_there_is_404_whatever_version_is_expected(orders: WriteSide) -> None:
    await orders.refused("POST", f"/orders/{new_id()}/lines", json=POT, headers={"if-match": '"1"'}, status=404)


@pytest.mark.parametrize("tag", ['"1"', 'W/"0"', '"2", "3"'])
async def test_a_new_order_is_at_no_version_that_anybody_has_seen(orders: WriteSide, tag: str) -> None:
    found = await orders.refused("POST", "/orders", json=PLACE, headers={"if-match": tag, "idempotency-key": "new"}, status=412)
    assert code_of(found) == "wrong-expected-version"
    assert "found nothing yet. Leave If-Match out to begin." in found["detail"]
    assert not orders.backbone.event_store("orders").follow(0)
    assert (await orders.client.post("/orders", json=PLACE, headers={"idempotency-key": "new"})).status_code == 201


async def test_a_repeat_is_given_its_answer_although_the_version_has_moved_on(orders: WriteSide) -> None:
    order = await placed(orders)
    headers = {"if-match": '"1"', "idempotency-key": "line"}
    first = await orders.client.post(f"/orders/{order}/lines", json=POT, headers=headers)
    again = await orders.client.post(f"/orders/{order}/lines", json=POT, headers=headers)

    assert (again.status_code, again.content) == (201, first.content)


async def test_of_two_with_the_same_version_one_is_first(orders: WriteSide) -> None:
    order = await placed(orders)

    async def add() -> int:
        answer = await orders.client.post(f"/orders/{order}/lines", json=POT, headers={"if-match": '"1"'})
        return answer.status_code

    assert sorted(await asyncio.gather(*(add() for _ in range(8)))) == [201] + [412] * 7


class StoreWithRivals(MemoryEventStore):
    """Somebody else is always faster."""

    def append(self, appends: Any, answer: Answer | None = None) -> tuple[StoredEvent, ...]:
        for each in appends:
            if each.expected:
                rival = tuple(_renamed(event) for event in each.events)
                super().append([Append(each.stream, rival)])
        return super().append(appends, answer)


def _renamed(event: Any) -> Any:
    from msgspec.structs import replace

    return replace(event, id=new_id())


async def test_who_is_never_first_is_asked_to_come_again(tmp_path: Path) -> None:
    async with writing(create_app, tmp_path, Backstage(StoreWithRivals())) as orders:
        order = await placed(orders)
        answer = await orders.client.post(f"/orders/{order}/lines", json=POT)

    assert (answer.status_code, code_of(answer.json())) == (409, "wrong-expected-version")
    assert int(answer.headers["retry-after"]) >= 1


# ── correlation ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_conversation_goes_from_the_request_to_the_event(orders: WriteSide) -> None:
    headers = {"x-correlation-id": "talk-7", "x-causation-id": "event-3", "traceparent": TRACE}
    answer = await orders.client.post("/orders", json=PLACE, headers=headers)
    (event,) = await orders.logged("orders", 1)

    assert (event.correlationid, event.causationid, event.traceparent) == ("talk-7", "event-3", TRACE)
    assert answer.headers["x-correlation-id"] == "talk-7"


async def test_without_a_correlation_id_the_trace_is_one_and_without_a_trace_a_new_one_is_made(orders: WriteSide) -> None:
    for headers in ({"traceparent": TRACE}, {}, {"traceparent": "nonsense"}):
        await orders.client.post("/orders", json=PLACE, headers=headers)
    traced, fresh, untraced = await orders.logged("orders", 3)

    assert traced.correlationid == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert len({event.correlationid for event in (traced, fresh, untraced)}) == 3
    assert fresh.correlationid
    assert (untraced.traceparent, untraced.causationid) == (None, None)


@pytest.mark.parametrize("header", ["x-correlation-id", "x-causation-id"])
async def test_an_id_that_is_none_is_refused(orders: WriteSide, header: str) -> None:
    for value in ("", "x" * 256, "two words"):
        await orders.refused("POST", "/orders", json=PLACE, headers={header: value}, status=400)


async def test_the_doors_are_described(tmp_path: Path) -> None:
    app = create_app(Settings(data=tmp_path), MemoryBackbone())
    commands = {path for path, methods in app.openapi()["paths"].items() if "post" in methods}

    assert {"/orders", "/orders/{order}/payment"} <= commands
    responses = app.openapi()["paths"]["/orders"]["post"]["responses"]
    assert {"201", "400", "409", "412", "413", "422", "503"} <= set(responses)
