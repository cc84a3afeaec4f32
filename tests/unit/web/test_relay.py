"""The door, the metrics and the note of a relay, on an app that has nothing else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI

from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.adapters.memory_log import MemoryLog
from sidestream.ports import Append
from sidestream.publishing import relay_status
from sidestream.publishing.relay import Relay
from sidestream.publishing.relay_status import RelayStatus, TopicStatus
from sidestream.settings import Settings
from sidestream.web.app import new_app
from sidestream.web.relay import tell_relay
from tests.faulty_publisher import FaultyPublisher
from tests.unit.test_relay import event
from tests.waiting import until

STUCK = RelayStatus({"orders": TopicStatus(3, relay_status.STUCK_SECONDS + 1, "s: PERMISSION_DENIED: no")}, "", leads=True)


class Said:
    """Stands for a relay, with a status of the test's own."""

    def __init__(self, status: RelayStatus) -> None:
        self.status = status


@asynccontextmanager
async def asking(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://orders") as client:
        yield client


def an_app(status: RelayStatus | None = None) -> FastAPI:
    app = new_app("orders", Settings())
    tell_relay(app, "orders")
    if status is not None:
        app.state.relay = Said(status)
    return app


async def test_before_the_start_the_door_says_so_and_the_others_say_nothing() -> None:
    async with asking(an_app()) as client:
        found = await client.get("/relay")
        assert (found.status_code, found.json()["type"]) == (503, "urn:sidestream:problem:store-away")
        assert (await client.get("/readyz")).json() == {"status": "ready", "checks": []}
        assert "sidestream_relay" not in (await client.get("/metrics")).text


async def test_a_stuck_relay_is_a_note_and_the_app_stays_ready() -> None:
    async with asking(an_app(STUCK)) as client:
        ready, found = await client.get("/readyz"), (await client.get("/relay")).json()
    assert ready.status_code == 200
    assert ready.json()["notes"] == {"relay": STUCK.stuck()}
    assert (found["stuck"], found["error_kind"], found["leads"], found["store"]) == (STUCK.stuck(), "permission-denied", True, "orders")
    assert found["topics"]["orders"]["backlog"] == 3


async def test_a_check_that_fails_is_a_reason_and_the_note_stands_beside_it() -> None:
    from sidestream.errors import StoreAway

    def full() -> None:
        raise StoreAway("disk full")

    app = new_app("orders", Settings(), checks={"event store": full})
    tell_relay(app, "orders")
    app.state.relay = Said(STUCK)
    async with asking(app) as client:
        ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["checks"], ready.json()["notes"]) == (
        503,
        {"event store": "disk full"},
        {"relay": STUCK.stuck()},
    )


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        (
            STUCK,
            [
                'sidestream_relay_leads{store="orders"} 1.0',
                'sidestream_relay_backlog{store="orders",topic="orders"} 3.0',
                'sidestream_relay_oldest_seconds{store="orders",topic="orders"} 31.0',
                'sidestream_relay_failing{kind="permission-denied",store="orders",topic="orders"} 1.0',
            ],
        ),
        (
            RelayStatus({"orders": TopicStatus(0, 0.0, "", published=7, repeats=2)}, "StoreAway: full", leads=False),
            [
                'sidestream_relay_leads{store="orders"} 0.0',
                'sidestream_relay_published_total{store="orders",topic="orders"} 7.0',
                'sidestream_relay_repeats_total{store="orders",topic="orders"} 2.0',
                'sidestream_relay_failing{kind="store-away",store="orders",topic=""} 1.0',
            ],
        ),
    ],
    ids=["stuck", "follows"],
)
async def test_the_metrics_say_all_of_it(status: RelayStatus, lines: list[str]) -> None:
    async with asking(an_app(status)) as client:
        text = (await client.get("/metrics")).text
    assert [line for line in lines if line not in text.splitlines()] == []


async def test_a_relay_that_is_well_fails_in_nothing() -> None:
    store, log = MemoryEventStore(), MemoryLog()
    app = an_app()
    store.append([Append("order-1", (event("order-1"),))])
    async with Relay(store, FaultyPublisher(log), sweep_seconds=0.02) as app.state.relay, asking(app) as client:
        await until(lambda: app.state.relay.status.topics.get("orders") == TopicStatus(0, 0.0, "", 1, 0))
        text, found = (await client.get("/metrics")).text, (await client.get("/relay")).json()
        ready = (await client.get("/readyz")).json()
    assert "sidestream_relay_failing{" not in text
    assert (found["stuck"], found["last_error"], found["error_kind"]) == ("", "", "")
    assert "notes" not in ready
