"""The worker that ships what is due: it asks again, longer apart for each failure, and one order never holds up another."""

import asyncio
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from time import monotonic

import httpx

from services.shipping.due import Shipment
from services.shipping.parcels import Verdict
from services.shipping.shipping import FIRST_PAUSE, Shipper
from sidestream.errors import StoreAway
from tests.waiting import until

GOOD = httpx.Response(200, json={})
REFUSED = httpx.Response(404, json={"type": "urn:sidestream:problem:unknown-order", "detail": "there is none"})


class Desk:
    """What is due, what was asked, and what the orders service answers."""

    def __init__(self, *orders: str) -> None:
        self.due = [Shipment(order, "due", f"paid {order}") for order in orders]
        self.asked: list[str] = []
        self.keys: set[tuple[str, str]] = set()
        self.at: list[float] = []
        self.refused: list[tuple[str, str]] = []
        self.looks: list[float] = []
        self.away = self.full = False
        self.answers: dict[str, Callable[[], httpx.Response]] = {}

    def list_due(self) -> list[Shipment]:
        self.looks.append(monotonic())
        if self.away:
            raise StoreAway("the rows cannot be read")
        return list(self.due)

    def answer(self, request: httpx.Request) -> httpx.Response:
        order = request.url.path.split("/")[-2]
        self.asked.append(order)
        self.at.append(asyncio.get_running_loop().time())
        self.keys.add((order, request.headers["idempotency-key"]))
        return self.answers.get(order, lambda: GOOD)()

    def refuse(self, shipment: Shipment, verdict: Verdict) -> None:
        if self.full:
            raise StoreAway("the disk is full")
        self.refused.append((shipment.order, verdict.code))

    def shipper(self, silence_seconds: float = 600, sweep_seconds: float = 0.02) -> Shipper:
        """Return one that no pause of the machine makes ask again for what was shipped."""
        client = httpx.AsyncClient(transport=httpx.MockTransport(self.answer), base_url="http://orders")
        return Shipper(self.list_due, client, self.refuse, sweep_seconds=sweep_seconds, silence_seconds=silence_seconds)


async def test_each_order_is_asked_for_once_while_the_log_is_on_its_way() -> None:
    desk = Desk("a", "b", "c")
    async with desk.shipper():
        await until(lambda: len(desk.asked) >= 3)
        desk.due.append(Shipment("d", "due", "paid d"))
        await until(lambda: "d" in desk.asked)

    assert Counter(desk.asked) == Counter("abcd")


async def test_where_the_log_stays_silent_an_order_is_asked_for_again_under_the_same_key() -> None:
    desk = Desk("a")
    async with desk.shipper(silence_seconds=0.05):
        await until(lambda: len(desk.asked) >= 3)

    assert len(desk.keys) == 1


async def test_what_fails_is_asked_for_again_under_the_same_key_and_the_others_go_on() -> None:
    desk = Desk("bad", *(f"good{number}" for number in range(30)))

    def away() -> httpx.Response:
        raise httpx.ConnectError("nobody there")

    desk.answers["bad"] = away
    async with desk.shipper():
        await until(lambda: desk.asked.count("bad") >= 3)
        times = [at for at, order in zip(desk.at, desk.asked, strict=True) if order == "bad"]

    assert times[1] - times[0] >= FIRST_PAUSE * 0.9
    assert times[2] - times[1] >= 2 * FIRST_PAUSE * 0.9
    assert len({key for order, key in desk.keys if order == "bad"}) == 1
    assert {order for order, count in Counter(desk.asked).items() if count == 1} == {f"good{number}" for number in range(30)}
    assert desk.refused == []


async def test_what_is_refused_for_good_is_recorded_and_left_alone() -> None:
    desk = Desk("a", "b")
    desk.answers["a"] = lambda: REFUSED
    async with desk.shipper():
        await until(lambda: bool(desk.refused) and "b" in desk.asked)

    assert desk.refused == [("a", "unknown-order")]
    assert Counter(desk.asked) == Counter("ab")


async def test_a_refused_one_that_is_retried_is_asked_for_again_under_the_same_key() -> None:
    desk = Desk("a")
    desk.answers["a"] = lambda: REFUSED
    async with desk.shipper():
        await until(lambda: bool(desk.refused))
        desk.answers["a"] = lambda: GOOD
        desk.due[0] = Shipment("a", "due", "paid a", attempt=1)
        asked = len(desk.asked)
        await until(lambda: len(desk.asked) > asked)

    assert len(desk.keys) == 1
    assert {*desk.refused} == {("a", "unknown-order")}


async def test_an_attempt_is_left_alone_and_the_next_one_is_not() -> None:
    shipper, first = Desk().shipper(), Shipment("a", "due", "paid a")
    for verdict in (Verdict("refused", "unknown-order", "x"), Verdict("later", "away", "x")):
        shipper._leave_alone(first, verdict)
        assert shipper._until(first) > 0
        assert shipper._until(Shipment("a", "due", "paid a", attempt=1)) == 0


async def test_rows_that_cannot_be_read_stop_nothing_for_good() -> None:
    desk = Desk("a")
    desk.away = True
    async with desk.shipper() as shipper:
        await until(lambda: shipper.problem.startswith("store-away"))
        desk.away = False
        await until(lambda: desk.asked == ["a"])
        await until(lambda: not shipper.problem)


async def test_while_the_rows_are_away_it_looks_once_a_sweep_whatever_may_be_asked_for_again() -> None:
    desk = Desk("a")
    async with desk.shipper(silence_seconds=0.01, sweep_seconds=0.2) as shipper:
        await until(lambda: bool(desk.asked))
        desk.away = True
        await until(lambda: bool(shipper.problem))
        before = len(desk.looks)
        await until(lambda: len(desk.looks) >= before + 4)

    pauses = [after - before for before, after in pairwise(desk.looks[before:])]
    assert min(pauses) > 0.15


async def test_what_is_refused_is_left_alone_even_where_that_cannot_be_recorded() -> None:
    desk = Desk("a")
    desk.full = True
    desk.answers["a"] = lambda: REFUSED
    async with desk.shipper() as shipper:
        await until(lambda: shipper.problem.startswith("store-away"))
        looks = len(desk.looks)
        await until(lambda: len(desk.looks) >= looks + 3)

    assert desk.asked == ["a"]


async def test_a_refusal_that_could_not_be_recorded_is_recorded_later() -> None:
    desk = Desk("a")
    desk.full = True
    desk.answers["a"] = lambda: REFUSED
    async with desk.shipper(silence_seconds=0.05) as shipper:
        await until(lambda: shipper.problem.startswith("store-away"))
        desk.full = False
        await until(lambda: bool(desk.refused))

    assert {*desk.refused} == {("a", "unknown-order")}
    assert len(desk.keys) == 1


async def test_an_answer_that_nobody_foresaw_is_asked_for_again() -> None:
    desk = Desk("a")
    answers = iter([httpx.Response(200, content=b"\xff"), httpx.Response(418, content=b"[" * 100_000), GOOD])
    desk.answers["a"] = lambda: next(answers, GOOD)
    desk.answers["b"] = lambda: httpx.Response(502, content=b"<html>")
    desk.due.append(Shipment("b", "due", "paid b"))
    async with desk.shipper():
        await until(lambda: desk.asked.count("b") >= 2)

    assert desk.refused == []
