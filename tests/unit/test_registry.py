"""The language: strict when an event is made, tolerant when it is read, lifted when it is old."""

from typing import Any

import msgspec
import pytest

from sidestream.errors import ConfigurationError, InvalidEvent, UnknownSchemaVersion, UnreadableEvent
from sidestream.event import Envelope
from sidestream.registry import Category, EventType, Registry
from sidestream.stream import category_of, slot_of, stream_name, topic_for, topics_of


class Placed(msgspec.Struct, frozen=True):
    cents: int
    currency: str


def add_currency(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "currency": "EUR"}


PLACED = EventType("order.placed", Placed, version=2, upcasters=(add_currency,))
REGISTRY = Registry([Category("order", "orders", "/services/orders", (PLACED,), slots=4)])


def envelope(data: bytes, dataschema: str | None = None, kind: str = "order.placed") -> Envelope:
    return Envelope(id="1", source="s", type=kind, data=msgspec.Raw(data), dataschema=dataschema)


def test_a_new_event_carries_its_word_version_and_topic() -> None:
    event = REGISTRY.new_event(Placed(5, "CHF"), id="1", subject="order-7f3a", time="t")
    assert (event.type, event.dataschema, event.source) == ("order.placed", "urn:sidestream:order.placed:2", "/services/orders")
    assert event.topic == f"orders.{slot_of('order-7f3a', 4)}"


def test_a_value_of_the_wrong_type_is_refused_when_the_event_is_made() -> None:
    with pytest.raises(InvalidEvent, match="Expected `int`"):
        REGISTRY.new_event(Placed("5", "CHF"), id="1", subject="order-1", time="t")  # type: ignore[arg-type]


def test_unknown_fields_are_ignored_when_read() -> None:
    assert REGISTRY.read(envelope(b'{"cents":5,"currency":"CHF","new":1}')) == Placed(5, "CHF")


def test_an_old_version_is_lifted_by_its_upcasters() -> None:
    assert REGISTRY.read(envelope(b'{"cents":5}', "urn:sidestream:order.placed:1")) == Placed(5, "EUR")


def test_a_version_from_the_future_is_told_apart() -> None:
    with pytest.raises(UnknownSchemaVersion, match="version 3 is newer than 2"):
        REGISTRY.read(envelope(b"{}", "urn:sidestream:order.placed:3"))


@pytest.mark.parametrize(
    "wrong", [envelope(b"{"), envelope(b'{"cents":"x"}'), envelope(b"{}", "urn:other:1"), envelope(b"{}", kind="order.eaten")]
)
def test_what_is_not_declared_is_unreadable(wrong: Envelope) -> None:
    with pytest.raises(UnreadableEvent):
        REGISTRY.read(wrong)


def test_a_missing_upcaster_is_an_error_at_start() -> None:
    with pytest.raises(ConfigurationError, match="expects 1 upcasters, found 0"):
        Registry([Category("order", "orders", "s", (EventType("order.placed", Placed, version=2),))])


def test_two_types_under_one_word_are_an_error_at_start() -> None:
    with pytest.raises(ConfigurationError, match="declared twice"):
        Registry([Category("order", "orders", "s", (PLACED, PLACED))])


def test_streams_and_slots_have_names() -> None:
    assert stream_name("order", "7f-3a") == "order-7f-3a"
    assert category_of("order-7f-3a") == "order"
    assert topics_of("orders", 1) == ("orders",)
    assert topics_of("orders", 2) == ("orders.0", "orders.1")
    assert topic_for("orders", "order-1", 1) == "orders"
    with pytest.raises(InvalidEvent):
        stream_name("or-der", "1")
