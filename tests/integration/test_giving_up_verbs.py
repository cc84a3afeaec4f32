"""`sidestream dead-letters waiting | give-up`: an order whose second event never comes, on a real broker beside no app."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import events
from events.orders import LineAdded, OrderCancelled, OrderEvent, OrderLine, OrderPlaced
from sidestream.cli.main import root
from sidestream.event import Counted, encode_event
from sidestream.launcher.broker import Broker
from tests.integration.test_projection_verbs import System

ORDER = "01934c5e-0000-7000-8000-000000000001"
STREAM = f"order-{ORDER}"
WHO = ("--who", "ann", "--why", "its store burnt down")


class Orders(System):
    """A log of one order, written by hand."""

    def write(self, version: int, data: OrderEvent, stream: str = STREAM) -> None:
        event = events.registry().new_event(data, id=f"{stream[-1]}-{version}", subject=stream, time="2026-11-20T09:00:00Z")
        self.client.xadd("orders", {"data": encode_event(event, Counted(f"w-{stream[-1]}.1", version, version))})

    def rebuilt(self, code: int = 0) -> Any:
        return self.json("projections", "rebuild", "order_book", code=code)["rebuilt"]

    def letters(self) -> list[tuple[str, str]]:
        return [(letter["event_id"], letter["reason"]) for letter in self.json("dead-letters", "list", "order_book")]

    def refused(self, *words: str) -> str:
        result = CliRunner().invoke(root, self.words("dead-letters", *words))
        assert result.exit_code != 0
        return result.output + str(result.exception)


@pytest.fixture
def orders(tmp_path: Path, broker: Broker) -> Iterator[Orders]:
    """An order that was placed, something that nobody ever hears of, a line, and the end of it."""
    made = Orders(tmp_path / "system", broker)
    made.client.delete("orders")
    made.write(1, OrderPlaced(customer="ann", currency="EUR", lines=()))
    made.write(3, LineAdded(OrderLine(line=1, article="tea", quantity=2, unit_minor=300)))
    made.write(4, OrderCancelled(reason="too late"))
    made.json("projections", "rebuild", "order_book", code=1)
    yield made
    made.client.close()


def test_what_is_waited_for_is_listed_with_how_many_wait(orders: Orders) -> None:
    (line,) = orders.json("dead-letters", "waiting", "order_book")
    since = line.pop("since")
    assert line == {
        "projection": "order_book",
        "topic": "orders",
        "missing": f"{STREAM}@2",
        "stream": STREAM,
        "first": 2,
        "last": 2,
        "events": 2,
    }
    assert since.endswith("Z")
    assert f"{STREAM}@2" in orders.run("dead-letters", "waiting")
    assert orders.json("dead-letters", "waiting", "tally") == []


def test_once_given_up_what_waited_is_applied_and_a_rebuild_finds_no_difference(orders: Orders) -> None:
    said = orders.run("dead-letters", "give-up", "order_book", f"{STREAM}@2", *WHO)
    assert "order_book g1: 2 events left the parked streams, 1 streams are free." in said
    assert orders.json("dead-letters", "waiting") == []
    assert orders.letters() == []
    (decided,) = orders.json("dead-letters", "decisions", "order_book")
    assert [decided[name] for name in ("kind", "about", "origin", "name", "who", "why")] == [
        "give-up",
        "version",
        "orders",
        f"{STREAM}@2",
        "ann",
        WHO[3],
    ]
    rebuilt = orders.rebuilt()
    assert (rebuilt["live"], rebuilt["comparison"]["differing"], rebuilt["outcome"]["parked"]) == (True, 0, 0)


def test_what_comes_after_all_is_a_letter_that_says_who_gave_it_up_and_a_rebuild_finds_it_too(orders: Orders) -> None:
    orders.run("dead-letters", "give-up", "order_book", f"{STREAM}@2", *WHO)
    orders.write(2, LineAdded(OrderLine(line=7, article="rum", quantity=1, unit_minor=900)))
    rebuilt = orders.rebuilt(code=1)
    assert (rebuilt["live"], rebuilt["parked"], rebuilt["comparison"]["findings"]) == (True, 1, [])
    assert orders.letters() == [("1-2", "version-given-up")]
    assert "was given up by ann at " in orders.run("dead-letters", "show", "order_book", "1-2")
    orders.run("dead-letters", "skip", "order_book", "1-2", *WHO)
    assert orders.letters() == []


def test_what_nobody_waits_for_is_not_given_up(orders: Orders) -> None:
    give_up = ("give-up", "order_book")
    assert f"found it waiting for {STREAM}@2" in orders.refused(*give_up, f"{STREAM}@3", *WHO)
    assert "found that it waits for none" in orders.refused(*give_up, "order-x@3", *WHO)
    assert "found that it waits for none" in orders.refused(*give_up, f"{STREAM}@2", "--topic", "votes", *WHO)
    assert "expected versions of a stream such as" in orders.refused(*give_up, STREAM, *WHO)
    assert "expected who and why" in orders.refused(*give_up, f"{STREAM}@2", "--who", "ann", "--why", " ")
    assert "expected a generation that follows the log" in orders.refused("give-up", "tally", f"{STREAM}@2", *WHO)
    assert orders.json("dead-letters", "decisions", "order_book") == []


def test_it_is_taken_back_under_its_name_and_neither_edited_nor_skipped(orders: Orders) -> None:
    orders.run("dead-letters", "give-up", "order_book", f"{STREAM}@2", *WHO)
    assert "found versions that never came" in orders.refused("skip", "order_book", f"{STREAM}@2", *WHO)
    said = orders.run("dead-letters", "undo", "order_book", f"{STREAM}@2", *WHO)
    assert "holds from the next rebuild on" in said
    orders.json("projections", "rebuild", "order_book", code=1)  # the live one did without it: nobody switches by itself
    orders.run("projections", "switch", "order_book", "g2", "--accept")
    assert [line["missing"] for line in orders.json("dead-letters", "waiting")] == [f"{STREAM}@2"]


def test_what_is_still_parked_after_it_is_told(orders: Orders) -> None:
    orders.write(7, OrderCancelled(reason="really"))
    orders.json("projections", "rebuild", "order_book", code=1)
    said = orders.run("dead-letters", "give-up", "order_book", f"{STREAM}@2", *WHO, code=1)
    assert "2 events left the parked streams, 0 streams are free. 1 events of the stream are still parked" in said
    assert [line["missing"] for line in orders.json("dead-letters", "waiting")] == [f"{STREAM}@5-6"]


def test_an_order_without_its_beginning_is_a_letter_once_that_is_given_up(orders: Orders) -> None:
    other = f"{STREAM[:-1]}2"
    orders.write(2, OrderCancelled(reason="never mind"), other)
    orders.json("projections", "rebuild", "order_book", code=1)
    decided = orders.json("dead-letters", "give-up", "order_book", f"{other}@1", *WHO, code=1)
    live = decided["generations"][0]
    assert (live["generation"], live["was_parked"], live["still_parked"]) == ("g2", 1, 1)
    assert ("2-2", "rule-failed") in orders.letters()


def test_what_came_late_while_it_was_rebuilt_is_not_called_parked(orders: Orders) -> None:
    orders.write(2, LineAdded(OrderLine(line=7, article="rum", quantity=1, unit_minor=900)))
    rebuilt = orders.rebuilt()
    assert (rebuilt["parked"], rebuilt["outcome"]["parked"], orders.letters()) == (0, 2, [])
