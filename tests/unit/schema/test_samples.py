"""Golden samples: kept for ever, never edited, read by every program that comes later."""

from collections.abc import Mapping
from typing import Any

from sidestream.registry import Category, EventType, Registry
from sidestream.schema.catalogue import describe
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
