"""What a change of an event breaks: every rule with one mutation of a language that was released."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest

from sidestream.registry import Category, EventType, Registry
from sidestream.schema.catalogue import Catalogue, describe
from sidestream.schema.comparing import Finding, compare
from sidestream.schema.models import schema_of
from tests.unit.schema.shop import RAISED, READERS, TALLY, Line, Paid, a_language, a_model


def changed(now: Catalogue, released: Catalogue | None = None) -> list[tuple[str, str, str]]:
    return [(each.severity, each.code, each.subject) for each in compare(released or a_language(), now)]


def the_finding(now: Catalogue, released: Catalogue | None = None) -> Finding:
    (found,) = compare(released or a_language(), now)
    return found


# ── one field ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Flat(msgspec.Struct, frozen=True):
    sku: str


class Weighed(msgspec.Struct, frozen=True):
    sku: str
    count: int = 1
    grams: int = 0


class Owed(msgspec.Struct, frozen=True):
    sku: str
    grams: int
    count: int = 1


class Renamed(msgspec.Struct, frozen=True):
    """Another name and other words, the same fields."""

    sku: str
    count: int = 1


class Dozen(msgspec.Struct, frozen=True):
    sku: str
    count: int = 12


SHORT = Annotated[str, msgspec.Meta(max_length=10)]
LONG = Annotated[str, msgspec.Meta(max_length=20)]


@pytest.mark.parametrize(
    ("change", "severity", "code"),
    [
        ({"region": str}, "breaking", "field-added"),
        ({"region": (str, "CH")}, "compatible", "field-added"),
        ({"region": (str | None, None)}, "compatible", "field-added"),
        ({"buyer": None}, "compatible", "field-removed"),
        ({"note": None}, "compatible", "field-removed"),
        ({"cents": str}, "breaking", "field-changed"),
        ({"cents": float}, "compatible", "field-widened"),
        ({"cents": bool}, "breaking", "field-changed"),
        ({"cents": Annotated[int, msgspec.Meta(ge=0)]}, "breaking", "field-narrowed"),
        ({"cents": int | None}, "compatible", "field-widened"),
        ({"cents": Any}, "compatible", "field-widened"),
        ({"buyer": UUID}, "breaking", "field-narrowed"),
        ({"buyer": bytes}, "breaking", "field-changed"),
        ({"buyer": SHORT}, "breaking", "field-narrowed"),
        ({"buyer": Literal["ann", "bob"]}, "breaking", "field-narrowed"),
        ({"way": (Literal["post", "bike", "car"], "post")}, "compatible", "field-widened"),
        ({"way": (Literal["post"], "post")}, "breaking", "field-narrowed"),
        ({"way": (Literal["post", "car"], "post")}, "breaking", "field-changed"),
        ({"way": (str, "post")}, "compatible", "field-widened"),
        ({"way": Literal["post", "bike"]}, "breaking", "field-required"),
        ({"way": (Literal["post", "bike"], "bike")}, "breaking", "default-changed"),
        ({"buyer": (str, "")}, "compatible", "field-optional"),
        ({"note": (str, "")}, "breaking", "default-changed"),
        ({"lines": tuple[str, ...]}, "breaking", "field-changed"),
        ({"lines": tuple[Flat, ...]}, "compatible", "field-inside"),
        ({"lines": tuple[Weighed, ...]}, "compatible", "field-inside"),
        ({"lines": tuple[Owed, ...]}, "breaking", "field-narrowed"),
        ({"lines": tuple[Dozen, ...]}, "breaking", "field-changed"),
        ({"lines": dict[str, Line]}, "breaking", "field-changed"),
        ({"lines": Line}, "breaking", "field-changed"),
    ],
    ids=str,
)
def test_a_change_of_a_field_is_judged(change: Mapping[str, Any], severity: str, code: str) -> None:
    assert (severity, code, "order.placed") in changed(a_language(a_model("Placed", **change)))


@pytest.mark.parametrize("change", [{}, {"lines": list[Line]}, {"lines": tuple[Renamed, ...]}], ids=str)
def test_what_changes_nothing_on_the_wire_is_no_change(change: Mapping[str, Any]) -> None:
    assert changed(a_language(a_model("Another", **change))) == []


def test_a_field_without_default_breaks_those_who_will_read_what_is_recorded() -> None:
    found = the_finding(a_language(a_model("Placed", region=str)))
    assert (found.written_by, found.read_by) == ("shop", ("book", "everything", "tally"))
    assert found.change == "field region was added without a default"
    assert found.remedy == "Give it a default, or raise the version to 2 and add an upcaster that fills it in."


def test_a_change_that_meets_deployed_readers_names_those_of_the_release() -> None:
    released = msgspec.structs.replace(a_language(), readers=(TALLY,))
    found = the_finding(a_language(a_model("Placed", buyer=None)), released)
    assert found.read_by == ("tally",)
    assert found.remedy.startswith("Deploy the readers first, then the writer;")


def test_a_removed_and_an_added_field_may_be_one_with_a_new_name() -> None:
    found = compare(a_language(), a_language(a_model("Placed", note=None, remark=(str, ""))))
    assert [each.code for each in found] == ["field-added", "field-removed"]
    assert "If remark is its new name, raise the version to 2 with an upcaster instead." in found[1].remedy


# ── the event type and its category ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("now", "severity", "code", "subject"),
    [
        (lambda: a_language(a_model("Placed", region=str), **RAISED), "compatible", "version-raised", "order.placed"),
        (lambda: a_language(more=()), "breaking", "type-removed", "order.paid"),
        (lambda: a_language(more=(EventType("order.paid", Paid), EventType("order.sent", Flat))), "compatible", "type-added", "order.sent"),
        (lambda: a_language(ordered=False), "breaking", "order-given-up", "order.placed"),
        (lambda: a_language(topic="purchases"), "breaking", "topic-changed", "order"),
        (lambda: a_language(source="/services/till"), "breaking", "source-changed", "order"),
        (lambda: a_language(slots=4), "breaking", "slots-changed", "order"),
    ],
)
def test_a_change_of_a_type_or_category_is_judged(now: Callable[[], Catalogue], severity: str, code: str, subject: str) -> None:
    assert changed(now()) == [(severity, code, subject)]


def test_a_version_that_went_back_is_breaking() -> None:
    assert changed(a_language(), a_language(**RAISED)) == [("breaking", "version-lowered", "order.placed")]


def test_a_raised_version_says_what_it_changes() -> None:
    found = the_finding(a_language(a_model("Placed", region=str, buyer=None, cents=str), **RAISED))
    assert found.change == "the version was raised from 1 to 2: added region, removed buyer, changed cents"


def test_only_who_asks_for_the_order_breaks_when_it_is_given_up() -> None:
    assert the_finding(a_language(ordered=False)).read_by == ("book",)
    nobody = msgspec.structs.replace(a_language(ordered=False), readers=(TALLY,))
    assert (the_finding(nobody).severity, the_finding(nobody).code) == ("note", "order-given-up")
    assert changed(a_language(), a_language(ordered=False)) == [("note", "order-kept", "order.placed")]


def test_a_new_category_is_compatible_and_a_removed_one_is_breaking() -> None:
    parcels = Category("parcel", "parcels", "/services/shipping")
    both = describe(Registry([Category("order", "orders", "/services/shop"), parcels]), readers=READERS)
    one = describe(Registry([Category("order", "orders", "/services/shop")]), readers=READERS)
    assert the_finding(both, one).read_by == the_finding(one, both).read_by == ("everything",)
    assert changed(both, one) == [("compatible", "category-added", "parcel")]
    assert changed(one, both) == [("breaking", "category-removed", "parcel")]


def test_a_type_that_moves_to_another_category_is_breaking() -> None:
    paid = EventType("order.paid", Paid)
    orders, parcels = Category("order", "orders", "/services/shop"), Category("parcel", "parcels", "/services/shop")
    before = describe(Registry([msgspec.structs.replace(orders, types=(paid,)), parcels]), readers=READERS)
    after = describe(Registry([orders, msgspec.structs.replace(parcels, types=(paid,))]), readers=READERS)
    assert changed(after, before) == [("breaking", "category-changed", "order.paid")]


def test_what_breaks_stands_first() -> None:
    now = a_language(a_model("Placed", aaa=(str, "")), more=(), slots=2)
    assert [each.severity for each in compare(a_language(), now)] == ["breaking", "breaking", "compatible"]


def test_fields_that_went_by_their_place_at_the_release_are_another_form() -> None:
    def by_place(sort: type[msgspec.Struct]) -> Catalogue:
        before = a_language()
        (orders,) = before.categories
        placed = msgspec.structs.replace(orders.events[0], schema=schema_of(sort))
        return msgspec.structs.replace(before, categories=(msgspec.structs.replace(orders, events=(placed, *orders.events[1:])),))

    placed = msgspec.defstruct("Placed", [("buyer", str)], frozen=True, array_like=True)
    (found,) = changed(a_language(), by_place(placed))
    assert found == ("breaking", "form-changed", "order.placed")
