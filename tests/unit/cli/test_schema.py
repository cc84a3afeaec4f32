"""`sidestream schema` over a small system in a folder of its own, which is changed between two calls."""

import json

import pytest

from sidestream.cli.language import language_of
from sidestream.errors import ConfigurationError
from tests.unit.cli.schema_system import SAMPLE, SHOP, System, forget, system

__all__ = ["system"]


def test_nothing_is_said_when_nothing_changed(system: System) -> None:
    assert system.call("release").endswith("events/catalogue.json: written, 1 events of 1 categories\n")
    assert system.call("check") == "Nothing changed since the last release.\n"
    assert system.call("check", "--json") == {"breaking": False, "findings": [], "broken": {}}


def test_a_breaking_change_is_exit_code_1_and_says_who_breaks_and_what_to_do(system: System) -> None:
    system.call("release")
    system.change("    cents: int", "    cents: int\n    region: str")
    said = system.call("check", code=1)
    assert "breaking: order.placed: field region was added without a default" in said
    assert "written by shop; read by books, post" in said
    assert "→ Give it a default, or raise the version to 2" in said
    found = system.call("check", "--json", code=1)
    assert found["breaking"] is True
    # the sample of the release shows it too
    assert {finding["code"] for finding in found["findings"]} == {"field-added", "sample-unreadable"}
    assert {tuple(finding["read_by"]) for finding in found["findings"]} == {("books", "post")}


def test_a_compatible_change_is_exit_code_0(system: System) -> None:
    system.call("release")
    system.change("    cents: int", "    cents: int\n    region: str = 'CH'")
    (found,) = system.call("check", "--json")["findings"]
    assert (found["severity"], found["code"], found["written_by"]) == ("compatible", "field-added", "shop")


def test_a_release_is_refused_while_a_change_breaks_somebody(system: System) -> None:
    system.call("release")
    released = (system.folder / "events/catalogue.json").read_bytes()
    system.change("cents: int", "cents: str")
    assert "breaking: order.placed: field cents" in system.call("release", code=1)
    assert (system.folder / "events/catalogue.json").read_bytes() == released


def test_a_raised_version_with_upcaster_and_sample_is_released(system: System) -> None:
    system.call("release")
    system.change("cents: int", "cents: int\n    region: str")
    system.change("Placed)", 'Placed, version=2, upcasters={1: lambda data: {**data, "region": "CH"}})')
    missing = system.call("release", "--json", code=1)["findings"]
    assert [finding["code"] for finding in missing if finding["severity"] == "breaking"] == ["sample-missing"]
    data = {"buyer": "ann", "cents": 5, "region": "CH"}
    system.sample({**SAMPLE, "dataschema": "urn:sidestream:order.placed:2", "data": data}, 2)
    system.call("release")
    assert system.call("check") == "Nothing changed since the last release.\n"
    written = json.loads((system.folder / "events/catalogue.json").read_bytes())
    assert set(written["samples"]) == {"order.placed.1", "order.placed.2"}


def test_an_upcaster_that_was_edited_after_its_release_is_found(system: System) -> None:
    system.change("cents: int", "cents: int\n    region: str")
    system.change("Placed)", 'Placed, version=2, upcasters={1: lambda data: {**data, "region": "CH"}})')
    data = {"buyer": "ann", "cents": 5, "region": "CH"}
    system.sample({**SAMPLE, "dataschema": "urn:sidestream:order.placed:2", "data": data}, 2)
    system.call("release")
    system.change('"CH"', '"DE"')
    (found,) = system.call("check", "--json", code=1)["findings"]
    assert (found["code"], found["subject"], found["read_by"]) == ("sample-read-otherwise", "order.placed.1", ["books", "post"])
    assert found["change"] == "the golden sample reads otherwise than at the release: region"


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ("buyer: str", "buyer: __import__('datetime').datetime", r"Placed\.buyer: expected a time that must say its zone"),
        ("cents: int", "cents: dict[int, str]", r"Placed\.cents: expected text as the keys of a map, found int"),
        ("frozen=True", "frozen=True, array_like=True", "found array_like in Placed"),
    ],
)
def test_a_change_that_no_comparison_could_see_is_refused(system: System, before: str, after: str, what: str) -> None:
    system.call("release")
    system.change(before, after)
    with pytest.raises(ConfigurationError, match=rf"apps shop, books, post: event type 'order\.placed': .*{what}"):
        system.call("check")


def test_an_edited_sample_is_found(system: System) -> None:
    system.call("release")
    system.sample({**SAMPLE, "data": {"buyer": "bob", "cents": 5}})
    (found,) = system.call("check", "--json", code=1)["findings"]
    assert (found["code"], found["remedy"]) == (
        "sample-edited",
        "Restore the file; a new shape is a new version, with a sample of its own.",
    )


def test_the_page_and_the_document_are_written_beside_the_run_file(system: System) -> None:
    assert system.call("catalogue", "--json") == {"written": str(system.folder / "docs/events.md"), "categories": 1, "events": 1}
    assert "### order.placed" in (system.folder / "docs/events.md").read_text()
    printed = json.loads(system.call("asyncapi"))
    assert list(printed["operations"]) == ["shop.send.orders", "books.receive.orders", "post.receive.orders"]
    system.call("asyncapi", "--out", "asyncapi.json")
    assert json.loads((system.folder / "asyncapi.json").read_text()) == printed


def test_a_place_that_cannot_be_written_is_said(system: System) -> None:
    with pytest.raises(ConfigurationError, match=r"dapr\.yaml/events\.md: cannot be written: .*Name another place"):
        system.call("catalogue", "--out", "dapr.yaml/events.md")


def test_without_a_catalogue_there_is_nothing_to_compare_with(system: System) -> None:
    with pytest.raises(ConfigurationError, match=r"catalogue\.json: no such file.*sidestream schema release"):
        system.call("check")


def test_a_damaged_catalogue_is_refused_and_not_overwritten(system: System) -> None:
    system.write("events/catalogue.json", "{")
    for verb in ("check", "release"):
        with pytest.raises(ConfigurationError, match=r"catalogue\.json: expected a catalogue of events.*Restore the file"):
            system.call(verb)
    assert (system.folder / "events/catalogue.json").read_text() == "{"


def test_a_gap_in_the_chain_is_said_before_anything_is_compared(system: System) -> None:
    system.change("Placed)", "Placed, version=2)")
    with pytest.raises(ConfigurationError, match="from version 1 to 2 is missing"):
        system.call("release")


def test_two_apps_that_mean_different_things_by_one_category_are_refused(system: System) -> None:
    system.write("shopping/shop/bootstrap.py", SHOP.replace("registry", "ORDERS, Registry") + OTHER_REGISTRY)
    with pytest.raises(ConfigurationError, match="category order: expected one declaration, found another in books than in shop"):
        system.call("release")


OTHER_REGISTRY = """
import msgspec

def registry():
    return Registry([msgspec.structs.replace(ORDERS, topic="purchases")])
"""


def test_a_system_without_a_language_or_with_a_wrong_module_is_refused(system: System) -> None:
    for name in ("shop", "books", "post"):
        system.write(f"shopping/{name}/bootstrap.py", "")
    with pytest.raises(ConfigurationError, match=r"expected an app with `registry\(\)` in its bootstrap, found none"):
        language_of(system.folder / "dapr.yaml", system.folder)
    (system.folder / "shopping/post/bootstrap.py").unlink()
    forget()
    with pytest.raises(ConfigurationError, match=r"app post: expected a module shopping\.post\.bootstrap.*Correct the command"):
        language_of(system.folder / "dapr.yaml", system.folder)
