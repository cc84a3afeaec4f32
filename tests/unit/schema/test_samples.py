"""Golden samples: kept for ever, never edited, read by every program that comes later."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from sidestream.registry import Category, EventType, Registry, Upcaster
from sidestream.schema.catalogue import decode, describe, encode
from sidestream.schema.comparing import Finding
from sidestream.schema.samples import check_samples
from tests.unit.schema.shop import READERS, Paid

PAID_1 = b'{"specversion":"1.0","id":"1","source":"/s","type":"order.paid","dataschema":"urn:sidestream:order.paid:1","data":{"cents":5}}'
PAID = Registry([Category("order", "orders", "/services/shop", (EventType("order.paid", Paid),))])


def judged(samples: Mapping[str, bytes], released: Mapping[str, bytes], registry: Registry = PAID) -> list[tuple[str, str]]:
    before, now = (describe(registry, readers=READERS, samples=each) for each in (released, samples))
    return [(each.code, each.subject) for each in check_samples(before, now, registry, samples)]


def test_a_sample_is_kept_for_ever() -> None:
    good = {"order.paid.1": PAID_1}
    assert judged(good, good) == []
    assert judged(good, {}) == []
    assert judged({}, good) == [("sample-removed", "order.paid.1"), ("sample-missing", "order.paid.1")]
    assert judged({"order.paid.1": PAID_1.replace(b"5", b"6")}, good) == [("sample-edited", "order.paid.1")]


def test_a_sample_must_be_read_by_this_program_and_be_what_it_is_called() -> None:
    assert judged({"order.paid.1": PAID_1.replace(b"5", b'"x"')}, {}) == [("sample-unreadable", "order.paid.1")]
    assert judged({"order.paid.1": PAID_1, "order.eaten.1": PAID_1}, {}) == [("sample-misnamed", "order.eaten.1")]
    assert judged({"order.paid.1": b"{"}, {}) == [("sample-unreadable", "order.paid.1")]


def test_an_upcaster_that_cannot_read_the_sample_of_its_version_is_found() -> None:
    def forgets(data: dict[str, Any]) -> dict[str, Any]:
        return {}

    raised = Registry([Category("order", "orders", "/s", (EventType("order.paid", Paid, version=2, upcasters={1: forgets}),))])
    found = judged({"order.paid.1": PAID_1, "order.paid.2": PAID_1.replace(b":1", b":2")}, {}, raised)
    assert ("sample-unreadable", "order.paid.1") in found


# ── read otherwise ───────────────────────────────────────────────────────────────────────────────────────────────────


class Priced(msgspec.Struct, frozen=True):
    cents: int
    currency: str = "EUR"
    lines: tuple[dict[str, int], ...] = ()


class Regional(Priced, frozen=True):
    region: str = "CH"


def in_francs(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "currency": "CHF", "lines": [{"b": 1, "a": 2}], "note": "lifted"}


def same_again(data: dict[str, Any]) -> dict[str, Any]:
    return {"lines": ({"a": 2, "b": 1},), "currency": "CHF", **data}


def in_euros(data: dict[str, Any]) -> dict[str, Any]:
    return {**in_francs(data), "currency": "EUR"}


def by_default(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "lines": [{"a": 2, "b": 1}]}


def of_region(data: dict[str, Any]) -> dict[str, Any]:
    return {**in_francs(data), "region": "GE"}


SAMPLES = {"order.paid.1": PAID_1, "order.paid.2": PAID_1.replace(b":1", b":2").replace(b'"cents":5', b'"cents":5,"currency":"CHF"')}


def priced(*links: Upcaster, model: type[msgspec.Struct] = Priced) -> Registry:
    paid = EventType("order.paid", model, version=len(links) + 1, upcasters=dict(enumerate(links, start=1)))
    return Registry([Category("order", "orders", "/services/shop", (paid,))])


def compared(now: Registry, released: Registry, samples: Mapping[str, bytes] = SAMPLES) -> list[Finding]:
    before = decode(encode(describe(released, readers=READERS, samples=SAMPLES)), "here")
    return list(check_samples(before, describe(now, readers=READERS, samples=samples), now, samples))


def test_an_upcaster_that_was_edited_after_the_release_is_found_with_who_reads() -> None:
    (found,) = compared(priced(in_euros), priced(in_francs))
    assert (found.severity, found.code, found.subject) == ("breaking", "sample-read-otherwise", "order.paid.1")
    assert (found.change, found.read_by) == ("the golden sample reads otherwise than at the release: currency", ("book", "everything"))
    assert found.written_by == "shop"
    assert found.remedy.startswith("Restore the upcasters of the release")


def test_an_upcaster_that_leaves_to_a_default_what_it_filled_in_is_found() -> None:
    (found,) = compared(priced(by_default), priced(in_francs))
    assert found.change.endswith(": currency")
    (back,) = compared(priced(in_francs), priced(by_default))
    assert back.change.endswith(": currency")


def test_an_upcaster_that_says_the_same_in_other_words_is_no_change() -> None:
    assert compared(priced(same_again), priced(in_francs)) == []
    assert compared(priced(in_francs), priced(in_francs)) == []


def test_a_field_that_is_new_at_the_same_version_may_be_filled_in_by_an_upcaster() -> None:
    assert compared(priced(of_region, model=Regional), priced(in_francs)) == []


def test_a_field_that_was_given_up_is_not_said_twice() -> None:
    assert compared(priced(in_francs), priced(of_region, model=Regional)) == []


def raised(link: Upcaster) -> list[str]:
    samples = {**SAMPLES, "order.paid.3": SAMPLES["order.paid.2"].replace(b":2", b":3")}
    return [each.code for each in compared(priced(link, in_euros), priced(in_francs), samples)]


def test_a_version_that_is_raised_may_be_lifted_as_it_likes_and_the_released_links_stay_as_they_are() -> None:
    assert raised(in_francs) == []
    assert raised(in_euros) == ["sample-read-otherwise"]


def test_a_sample_that_is_gone_or_edited_or_unreadable_is_not_said_to_be_read_otherwise_too() -> None:
    def fails(data: dict[str, Any]) -> dict[str, Any]:
        raise KeyError("price")

    assert [each.code for each in compared(priced(fails), priced(in_francs))] == ["sample-unreadable"]
    edited = {**SAMPLES, "order.paid.1": PAID_1.replace(b"5", b"6")}
    assert [each.code for each in compared(priced(in_euros), priced(in_francs), edited)] == ["sample-edited"]
    gone = {"order.paid.2": SAMPLES["order.paid.2"]}
    assert {each.code for each in compared(priced(in_euros), priced(in_francs), gone)} == {"sample-removed", "sample-missing"}


def test_a_catalogue_of_a_release_that_kept_no_readings_is_read_and_nothing_is_compared_with_it() -> None:
    written = msgspec.json.decode(encode(describe(priced(in_francs), samples=SAMPLES)))
    assert set(written.pop("readings")) == {"order.paid.1"}
    old = decode(msgspec.json.encode(written), "here")
    now = priced(in_euros)
    assert check_samples(old, describe(now, samples=SAMPLES), now, SAMPLES) == []


def test_a_sample_of_the_version_that_is_written_needs_no_reading() -> None:
    assert describe(PAID, samples={"order.paid.1": PAID_1, "order.paid.x": PAID_1}).readings == {}


@pytest.mark.parametrize("name", ["order.paid", ".1", "order.eaten.1"])
def test_a_sample_of_no_known_type_has_no_reading(name: str) -> None:
    assert describe(priced(in_francs), samples={name: PAID_1}).readings == {}
