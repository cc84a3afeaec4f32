"""`python -m services.shipping refused | retry` against a running service: what it prints, what it does, and its exit codes."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import uvicorn

import events
from events.orders import OrderPaid, order_stream
from events.shipments import ShipmentRefused, shipment_stream
from services.shipping.bootstrap import create_app
from sidestream.adapters.memory_log import MemoryLog
from sidestream.backbone import MemoryBackbone
from sidestream.event import Counted, decode_event, encode_event
from sidestream.identifiers import new_id, now
from sidestream.ports import Append
from sidestream.settings import Settings

REPOSITORY = Path(__file__).parents[2]


class Service:
    """Shipping on a free port. There is no orders service, so that what is due stays due."""

    def __init__(self, url: str, backbone: MemoryBackbone) -> None:
        self.url = url
        self._backbone = backbone

    def refused(self, count: int) -> list[str]:
        """Make so many orders whose shipments were refused, and wait until the service knows them."""
        orders = sorted(new_id() for _ in range(count))
        log = self._backbone.log()
        assert isinstance(log, MemoryLog)
        for order in orders:
            refusal = events.registry().new_event(
                ShipmentRefused(order, "unknown-order", "there is none"), id=new_id(), subject=shipment_stream(order), time=now()
            )
            self._backbone.event_store("shipping").append([Append(refusal.subject, (refusal,))])
            paid = events.registry().new_event(OrderPaid(5, "EUR", "x", now()), id=new_id(), subject=order_stream(order), time=now())
            log.record(paid.topic, [encode_event(paid, Counted(f"{new_id()}.1", 1, 1))])
        end = time.monotonic() + 30
        while True:
            is_last = time.monotonic() > end
            if set(orders) <= {*self.listed("refused")}:
                return orders
            assert not is_last, "the service does not know them"
            time.sleep(0.02)

    def listed(self, state: str) -> list[str]:
        with httpx.Client(base_url=self.url, timeout=30) as door:
            answer = door.get("/shipments", params={"state": state, "limit": 1000})
            pages = [answer, *([door.get(answer.links["next"]["url"])] if "next" in answer.links else [])]
        return [each["order"] for page in pages for each in page.json()["shipments"]]

    def retried(self) -> list[str]:
        """The orders that a retry is recorded of, one for each."""
        stored = [decode_event(each.wire) for each in self._backbone.event_store("shipping").read_topic("shipments")]
        return sorted(str(event.subject).partition("-")[2] for event in stored if event.type == "shipment.retried")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    backbone = MemoryBackbone()
    app = create_app(Settings(data=tmp_path, sweep_seconds=0.1), backbone)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    end = time.monotonic() + 10
    while not server.started:
        assert time.monotonic() < end
        time.sleep(0.01)
    yield Service(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", backbone)
    server.should_exit = True
    thread.join()


def shipping(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.shipping", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_what_is_refused_is_listed_with_its_reason_page_by_page(service: Service) -> None:
    empty = shipping("refused", "--url", service.url)
    orders = service.refused(1_003)
    shown, as_json = shipping("refused", "--url", service.url), shipping("refused", "--url", service.url, "--json")

    assert (empty.returncode, empty.stdout) == (0, "No shipment is refused.\n")
    assert (shown.returncode, as_json.returncode) == (0, 0), shown.stderr + as_json.stderr
    assert sum("unknown-order: there is none" in line for line in shown.stdout.splitlines()) == 1_003
    assert sorted(each["order"] for each in json.loads(as_json.stdout)["shipments"]) == orders


def test_one_is_retried_and_the_others_stay(service: Service) -> None:
    first, second = service.refused(2)
    retried = shipping("retry", first, "--url", service.url)
    again = shipping("retry", first, second, "--url", service.url, "--json")

    assert (retried.returncode, retried.stdout, retried.stderr) == (0, "1 of 1 shipments are due again.\n", "")
    assert again.returncode in {0, 1}
    assert {each["order"]: each["attempt"] for each in json.loads(again.stdout)["retried"]}[second] == 1
    assert service.retried() == sorted([first, second])


def test_all_are_retried_once_by_two_who_ask_at_once(service: Service) -> None:
    orders = service.refused(40)
    with ThreadPoolExecutor() as both:
        ended = [*both.map(lambda _: shipping("retry", "--all", "--url", service.url), range(2))]

    assert service.retried() == orders
    assert {each.returncode for each in ended} == {0}, [each.stderr for each in ended]


def test_what_cannot_be_done_is_said_with_an_exit_code(service: Service) -> None:
    (order,) = service.refused(1)
    unknown, strange = shipping("retry", new_id(), "--url", service.url), shipping("retry", "../x?y", "--url", service.url)
    nothing, both = shipping("retry", "--url", service.url), shipping("retry", order, "--all", "--url", service.url)
    away, no_url = shipping("refused", "--url", "http://127.0.0.1:1"), shipping("refused", "--url", "nowhere")

    assert (unknown.returncode, strange.returncode) == (2, 2)
    assert "expected an order that was paid" in unknown.stderr
    assert (nothing.returncode, both.returncode) == (2, 2)
    assert "--all" in nothing.stderr
    assert (away.returncode, no_url.returncode) == (1, 1)
    assert "expected the shipping service" in away.stderr
    assert "expected the shipping service" in no_url.stderr
    assert all("Traceback" not in each.stderr for each in (unknown, strange, nothing, both, away, no_url))
    assert service.retried() == []
