"""A newer replica has written to a service's store in a version that this one does not know: a rolling deploy, or a rollback."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from events import registry
from events.assets import AssetDeleted
from events.orders import OrderCancelled, order_stream
from services.assets.bootstrap import create_app as assets_app
from services.orders.bootstrap import create_app as orders_app
from sidestream.backbone import MemoryBackbone
from sidestream.event import NewEvent
from sidestream.identifiers import new_id, now
from sidestream.ports import Append
from tests.e2e.ordering import PAY, code_of, placed
from tests.e2e.write_side import WriteSide, writing
from tests.waiting import until

ASSET = "01a1fd44-83ed-7778-9b5e-1d6c72af09a8"


def newer(event: msgspec.Struct, subject: str) -> NewEvent:
    """The same event as the next release would write it: of version 2, with data that nobody here knows."""
    made = registry().new_event(event, id=new_id(), subject=subject, time=now())
    return msgspec.structs.replace(made, dataschema=f"urn:sidestream:{made.type}:2", data=b'{"unheard": "of"}')


async def until_ready_says(side: WriteSide, text: str) -> None:
    async def says() -> bool:
        return text in (await side.client.get("/readyz")).text

    await until(says, what=lambda: f"/readyz says {text}")


@pytest.fixture
async def orders(tmp_path: Path) -> AsyncIterator[WriteSide]:
    async with writing(orders_app, tmp_path) as side:
        yield side


async def test_an_order_that_a_newer_program_wrote_to_is_503_and_nothing_is_decided_on_it(orders: WriteSide) -> None:
    order, other = await placed(orders), await placed(orders)
    store = orders.backbone.event_store("orders")
    written = newer(OrderCancelled(reason="x"), order_stream(order))
    store.append([Append(order_stream(order), (written,))])
    before = len(store.follow(0, 100))

    shown = await orders.refused("GET", f"/orders/{order}", status=503)
    paid = await orders.refused("POST", f"/orders/{order}/payment", json=PAY, status=503, headers={"idempotency-key": "k"})

    for problem in (shown, paid):
        assert code_of(problem) == "unknown-schema-version"
        assert problem["detail"].startswith(f"event {written.id} of {order_stream(order)}: ")
        assert "deploy the newer program everywhere" in problem["detail"]
    assert len(store.follow(0, 100)) == before
    assert (await orders.client.post(f"/orders/{other}/payment", json=PAY)).status_code == 200
    await until_ready_says(orders, '"status":"ready"')


async def test_a_command_that_met_a_newer_event_has_done_nothing_so_that_its_key_is_free(orders: WriteSide) -> None:
    order = await placed(orders)
    store = orders.backbone.event_store("orders")
    store.append([Append(order_stream(order), (newer(OrderCancelled(reason="x"), order_stream(order)),))])
    said = {"headers": {"idempotency-key": "k"}, "json": PAY}

    for _ in range(2):  # a claim that is still held would be 409 with Retry-After
        problem = await orders.refused("POST", f"/orders/{order}/payment", status=503, **said)
        assert code_of(problem) == "unknown-schema-version"


async def test_assets_starts_publishes_and_says_what_it_cannot_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDESTREAM_ASSET_ROOTS", str(tmp_path))
    backbone = MemoryBackbone()
    written = newer(AssetDeleted(path="/x", size=1, sha256="0" * 64, scan="s"), f"asset-{ASSET}")
    store = backbone.event_store("assets")
    store.append([Append(f"asset-{ASSET}", (written,))])

    async with writing(assets_app, tmp_path / "data", backbone) as assets:
        assert [event.id for event in await assets.logged("assets", 1)] == [written.id]
        await until_ready_says(assets, f'"inventory":"event {written.id} of asset-{ASSET}: ')
        for method, path, body in (("GET", "/scans", None), ("GET", "/scans/x", None), ("POST", "/scans", {"path": str(tmp_path)})):
            problem = await assets.refused(method, path, json=body, status=503)
            assert code_of(problem) == "unknown-schema-version"
            assert "deploy the newer program everywhere" in problem["detail"]
    assert len(store.follow(0, 100)) == 1
