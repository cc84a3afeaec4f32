"""/readyz of a service with an event store means: it can accept. A store that is read and not written is red, and green again after."""

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from services.assets import bootstrap as assets
from services.bridge import bootstrap as bridge
from services.orders import bootstrap as orders
from services.shipping import bootstrap as shipping
from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.adapters.memory_log import MemoryLog
from sidestream.errors import LogUnavailable, PublishFailed, StoreAway
from sidestream.ports import Answer, LogEntry, Outgoing, StoredEvent
from tests.e2e.ordering import PLACE
from tests.e2e.write_side import Backstage, WriteSide, writing
from tests.waiting import until

BOOTSTRAPS = {"orders": orders, "assets": assets, "bridge": bridge, "shipping": shipping}
BRIDGED = {"type": "till.opened", "source": "/till/3", "payload": {}}


class FullStore(MemoryEventStore):
    """A store on a disk that is full from a certain moment on: it is read as ever."""

    full = False

    def _written(self) -> None:
        if self.full:
            raise StoreAway("store.sqlite: database or disk is full. Make room.")

    def append(self, appends: Any, answer: Answer | None = None) -> tuple[StoredEvent, ...]:
        self._written()
        return super().append(appends, answer)

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        self._written()
        return super().lease(name, holder, seconds)


class AwayLog(MemoryLog):
    """A log that does not answer: the store cannot be held against it, and can be written all the same."""

    def read_back(self, topic: str, before: str | None, limit: int) -> Sequence[LogEntry]:
        raise LogUnavailable("redis at 127.0.0.1:1: refused")


class OnFullDisk(Backstage):
    """The memory backbone with one such store."""

    def __init__(self, publisher: Any = None) -> None:
        super().__init__(publisher)
        self.store = FullStore()

    def event_store(self, name: str) -> Any:
        return self.store


class BrokerAway(OnFullDisk):
    """The same with a log and a publisher that do not answer."""

    def __init__(self) -> None:
        super().__init__(NoBroker())
        self._log = AwayLog()


class NoBroker:
    """A publisher whose broker is away."""

    async def publish(self, topic: str, events: list[Outgoing]) -> dict[int, str]:
        raise PublishFailed("UNAVAILABLE: connection refused")

    async def close(self) -> None:
        """Nothing is open."""


async def ready(side: WriteSide) -> tuple[int, str]:
    answer = await side.client.get("/readyz")
    return answer.status_code, answer.text


async def until_ready(side: WriteSide, status: int) -> str:
    """Wait until /readyz says so, and return all that it says."""
    last: list[tuple[int, str]] = []

    async def says() -> bool:
        last[:] = [await ready(side)]
        return last[0][0] == status

    await until(says, what=lambda: f"/readyz says {status}, it said {last}")
    return last[0][1]


@pytest.fixture(params=BOOTSTRAPS)
async def service(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WriteSide]:
    monkeypatch.setenv("SIDESTREAM_ASSET_ROOTS", str(tmp_path))
    create_app: Callable[..., Any] = BOOTSTRAPS[request.param].create_app
    async with writing(create_app, tmp_path, OnFullDisk(), sweep_seconds=0.05) as side:
        yield side


async def test_a_store_that_is_read_and_not_written_is_not_ready_until_it_is_written_again(service: WriteSide) -> None:
    store: Any = service.backbone.event_store("any")
    await until_ready(service, 200)
    store.full = True
    said = await until_ready(service, 503)
    assert "can be read and not written" in said
    assert "Make room." in said
    assert '"event store"' in said
    store.full = False
    await until_ready(service, 200)


async def test_what_is_not_ready_accepts_nothing_and_what_is_ready_does(tmp_path: Path) -> None:
    backbone = OnFullDisk()
    async with writing(orders.create_app, tmp_path, backbone, sweep_seconds=0.05) as side:
        backbone.store.full = True
        await until_ready(side, 503)
        await side.refused("POST", "/orders", json=PLACE, status=503)
        backbone.store.full = False
        await until_ready(side, 200)
        assert (await side.client.post("/orders", json=PLACE)).status_code == 201


async def test_a_broker_that_is_away_leaves_a_service_ready(tmp_path: Path) -> None:
    async with writing(bridge.create_app, tmp_path, BrokerAway(), sweep_seconds=0.05) as side:
        assert (await side.client.post("/events", json=BRIDGED)).status_code == 202

        async def fails() -> bool:
            return "refused" in (await side.client.get("/relay")).text

        await until(fails, what=lambda: "the relay says that the broker is away")
        assert (await ready(side))[0] == 200
