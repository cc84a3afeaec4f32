"""The language: strict when an event is made, tolerant when it is read, lifted when it is old."""

import datetime
from typing import Annotated, Any, Literal

import msgspec
import pytest

from sidestream.errors import ConfigurationError, InvalidEvent, UnknownSchemaVersion, UnreadableEvent
from sidestream.event import Envelope
from sidestream.registry import Category, EventType, Registry, Upcaster
from sidestream.stream import slot_of, stream_name, topic_for, topics_of


class Placed(msgspec.Struct, frozen=True):
    cents: int
    currency: str


def add_currency(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "currency": "EUR"}


PLACED = EventType("order.placed", Placed, version=2, upcasters={1: add_currency})
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


@pytest.mark.parametrize(
    ("version", "links", "what"),
    [
        (2, (), "from version 1 to 2 is missing"),
        (3, (1,), "from version 2 to 3 is missing"),
        (4, (1, 3), "from version 2 to 3 is missing"),
        (2, (1, 2), "from version 2 to 3 is there, which leads nowhere"),
        (1, (0,), "from version 0 to 1 is there, which leads nowhere"),
        (0, (), "expected a version from 1, found 0"),
    ],
)
def test_a_gap_in_the_chain_is_an_error_at_start(version: int, links: tuple[int, ...], what: str) -> None:
    event_type = EventType("order.placed", Placed, version=version, upcasters=dict.fromkeys(links, add_currency))
    with pytest.raises(ConfigurationError, match=what):
        Registry([Category("order", "orders", "s", (event_type,))])


def test_a_model_that_would_not_read_tolerantly_is_an_error_at_start() -> None:
    class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        cents: int

    with pytest.raises(ConfigurationError, match="forbid_unknown_fields in Strict"):
        Registry([Category("order", "orders", "s", (EventType("order.placed", Strict),))])


class Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cents: int


class Pair(msgspec.Struct, frozen=True, array_like=True):
    left: int
    right: int = 0


class Node(msgspec.Struct, frozen=True):
    inner: tuple["Node", ...] = ()
    at: datetime.datetime | None = None


ZONED = Annotated[datetime.datetime, msgspec.Meta(tz=True)]


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (
            datetime.datetime,
            r"M\.it: expected a time that must say its zone, found datetime as it is\. Write Annotated\[datetime\.datetime",
        ),
        (datetime.time | None, r"M\.it: expected a time that must say its zone, found time as it is"),
        (Annotated[datetime.datetime, msgspec.Meta(tz=False)], "must say its zone"),
        (Annotated[datetime.datetime, msgspec.Meta(title="when")], "must say its zone"),
        (tuple[Node, ...], r"M\.it\.at: expected a time"),
        (dict[str, tuple[int, datetime.time]], r"M\.it: expected a time"),
        (dict[int, str], r"M\.it: expected text as the keys of a map, found int\. Write dict\[str, …\]"),
        (dict[Literal["a", "b"], str], "keys of a map, found literal"),
        (list[dict[Annotated[int, msgspec.Meta(ge=1)], str]], "keys of a map, found int"),
        (tuple[Sealed, ...], "forbid_unknown_fields in Sealed"),
    ],
    ids=repr,
)
def test_a_field_whose_change_could_not_be_seen_is_an_error_at_start(kind: Any, what: str) -> None:
    model = msgspec.defstruct("M", [("it", kind)], frozen=True)
    with pytest.raises(ConfigurationError, match=rf"event type 'm\.made': .*{what}"):
        Registry([Category("m", "m", "s", (EventType("m.made", model),))])


def test_a_model_whose_fields_go_by_their_place_is_an_error_at_start() -> None:
    with pytest.raises(ConfigurationError, match=r"found array_like in Pair\. Remove it"):
        Registry([Category("m", "m", "s", (EventType("m.made", Pair),))])


@pytest.mark.parametrize(
    "kind",
    [
        ZONED,
        Annotated[datetime.time, msgspec.Meta(tz=True)] | None,
        datetime.date,
        datetime.timedelta,
        dict[str, ZONED],
        dict,
        dict[Annotated[str, msgspec.Meta(min_length=1)], Any],
        tuple[Pair, ...],
        Any,
    ],
    ids=repr,
)
def test_a_field_whose_change_is_seen_may_be_declared(kind: Any) -> None:
    model = msgspec.defstruct("M", [("it", kind)], frozen=True)
    assert Registry([Category("m", "m", "s", (EventType("m.made", model),))]).type_of(model).name == "m.made"


def raising(data: dict[str, Any]) -> dict[str, Any]:
    return {"cents": data["price"], "currency": "EUR"}


def empty(data: dict[str, Any]) -> dict[str, Any]:
    return {}


def no_json(data: dict[str, Any]) -> dict[str, Any]:
    return {"cents": object()}


@pytest.mark.parametrize(("upcaster", "what"), [(raising, "KeyError.*'price'"), (empty, "missing required field"), (no_json, "TypeError")])
def test_an_upcaster_that_fails_makes_the_event_unreadable_by_its_id(upcaster: Upcaster, what: str) -> None:
    language = Registry([Category("order", "orders", "s", (EventType("order.placed", Placed, version=2, upcasters={1: upcaster}),))])
    with pytest.raises(UnreadableEvent, match=f"order.placed: event 1: .*{what}.*Correct the upcaster"):
        language.read(envelope(b'{"cents":5}', "urn:sidestream:order.placed:1"))


def test_an_old_version_is_read_by_the_same_rules_as_a_new_one() -> None:
    class Measured(msgspec.Struct, frozen=True):
        day: datetime.date
        share: float
        exact: int

    measured = EventType("size.measured", Measured, version=2, upcasters={1: lambda data: data})
    language = Registry([Category("size", "sizes", "s", (measured,))])
    data = b'{"day":"2026-11-21","share":0.12345678901234567,"exact":9007199254740993}'

    for version in (1, 2):
        read = language.read(envelope(data, f"urn:sidestream:size.measured:{version}", "size.measured"))
        assert read == Measured(datetime.date(2026, 11, 21), 0.12345678901234567, 2**53 + 1)


def test_two_types_under_one_word_are_an_error_at_start() -> None:
    with pytest.raises(ConfigurationError, match="declared twice"):
        Registry([Category("order", "orders", "s", (PLACED, PLACED))])


def test_streams_and_slots_have_names() -> None:
    assert stream_name("order", "7f-3a") == "order-7f-3a"
    assert topics_of("orders", 1) == ("orders",)
    assert topics_of("orders", 2) == ("orders.0", "orders.1")
    assert topic_for("orders", "order-1", 1) == "orders"
    with pytest.raises(InvalidEvent):
        stream_name("or-der", "1")
