"""A small language that was released, and ways to change it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from sidestream.registry import Category, EventType, Registry
from sidestream.schema.catalogue import Catalogue, Reader, describe


class Line(msgspec.Struct, frozen=True):
    """One thing and how many of it.

    Attributes:
        sku: which thing.
    """

    sku: str
    count: int = 1


class Placed(msgspec.Struct, frozen=True):
    """Somebody placed an order.

    Attributes:
        buyer: who.
        cents: what all of it costs; money is
            an integer.
        lines: what was bought | and how many.
    """

    buyer: str
    cents: int
    lines: tuple[Line, ...]
    way: Literal["post", "bike"] = "post"
    note: str | None = None


class Paid(msgspec.Struct, frozen=True):
    cents: int


TALLY = Reader("tally", ("orders",), ("order.placed",), ordered=False)
BOOK = Reader("book", ("orders",), ("order.placed", "order.paid"))
EVERYTHING = Reader("everything", ("orders", "parcels"), (), ordered=False)
READERS = (TALLY, BOOK, EVERYTHING)


def same(data: dict[str, Any]) -> dict[str, Any]:
    return data


def a_model(name: str, **changes: Any) -> type[msgspec.Struct]:
    """Return the model of `order.placed` with some fields changed, added, or left out (None)."""
    fields: dict[str, Any] = {"buyer": str, "cents": int, "lines": tuple[Line, ...]}
    fields |= {"way": (Literal["post", "bike"], "post"), "note": (str | None, None)}
    fields |= changes
    declared = [(key, *value) if isinstance(value, tuple) else (key, value) for key, value in fields.items() if value is not None]
    declared.sort(key=lambda field: len(field) == 3)
    return msgspec.defstruct(name, declared, frozen=True)


def a_language(
    placed: type[msgspec.Struct] = Placed, *, more: Sequence[EventType] = (EventType("order.paid", Paid),), **changes: Any
) -> Catalogue:
    """Return the language of the shop with another model, other types, or other words for the type or the category."""
    of_type = {key: changes.pop(key) for key in ("version", "ordered", "upcasters") if key in changes}
    first = msgspec.structs.replace(EventType("order.placed", placed), **of_type)
    orders = Category("order", "orders", "/services/shop", (first, *more))
    return describe(Registry([msgspec.structs.replace(orders, **changes)]), readers=READERS)


RAISED: Mapping[str, Any] = {"version": 2, "upcasters": {1: same}}
LANGUAGE = Registry(
    [
        Category("order", "orders", "/services/shop", (EventType("order.placed", Placed), EventType("order.paid", Paid))),
        Category("parcel", "parcels", "/services/shipping", slots=2),
    ]
)
