"""`sidestream schema check` where a change took away what apps import: it says who breaks, where, and what to do."""

import json
import re

import pytest

from sidestream.errors import ConfigurationError
from tests.unit.cli.schema_system import BOOKS, SHOP, System, system

__all__ = ["system"]

PAID = '''
class Paid(msgspec.Struct, frozen=True):
    """An order was paid."""
    cents: int

'''
PAID_TYPE = ' EventType("order.paid", Paid),'
PAID_SAMPLE = {
    "specversion": "1.0",
    "id": "2",
    "source": "/shopping/shop",
    "type": "order.paid",
    "dataschema": "urn:sidestream:order.paid:1",
    "data": {"cents": 5},
}
SENDS = """
from shopping.parcels import Sent
from shopping.events import PARCELS, Registry

def registry():
    return Registry([PARCELS])
"""


@pytest.fixture
def released(system: System) -> System:
    """The system with a second event, which books and post read, as it was released."""
    system.change("ORDERS =", f"{PAID}ORDERS =")
    system.change("Placed),)", f"Placed),{PAID_TYPE})")
    for name in ("books", "post"):
        reads_both = BOOKS.replace("import Placed,", "import Paid, Placed,").replace("(Placed,)", "(Placed, Paid)")
        system.write(f"shopping/{name}/bootstrap.py", reads_both.replace("books", name))
    system.write("tests/golden/events/order.paid.1.json", json.dumps(PAID_SAMPLE))
    system.call("release")
    return system


def test_a_class_that_was_taken_away_is_said_with_its_writer_its_readers_and_the_line_that_misses_it(released: System) -> None:
    released.change(PAID, "")
    released.change(PAID_TYPE, "")
    said = released.ended("check")
    assert said.exit_code == 1
    assert said.stdout == (
        "breaking: order.paid: the event type was removed\n"
        "    written by shop; read by books, post\n"
        "    → Keep the type and its model as long as its events stand in a log; only stop writing it.\n"
        "1 changes since the last release\n"
    )
    for line, name in zip(said.stderr.splitlines(), ("books", "post"), strict=True):
        assert line == (
            f"app {name}: shopping.{name}.bootstrap cannot be imported: shopping/{name}/bootstrap.py:2: ImportError: "
            f"cannot import name 'Paid' from 'shopping.events' ({released.folder}/shopping/events.py). "
            "Correct it there. An event that was released is kept: only stop writing it."
        )


def test_the_sample_that_went_with_its_class_is_said_with_the_readers_of_the_release(released: System) -> None:
    released.change(PAID, "")
    released.change(PAID_TYPE, "")
    (released.folder / "tests/golden/events/order.paid.1.json").unlink()
    found = released.call("check", "--json", code=1)["findings"]
    assert [(each["code"], each["written_by"], each["read_by"]) for each in found] == [
        ("sample-removed", "shop", ["books", "post"]),
        ("type-removed", "shop", ["books", "post"]),
    ]


def test_the_document_holds_what_changed_and_what_is_broken(released: System) -> None:
    released.change(PAID, "")
    released.change(PAID_TYPE, "")
    found = released.call("check", "--json", code=1)
    assert found["breaking"] is True
    assert [(each["code"], each["written_by"], each["read_by"]) for each in found["findings"]] == [
        ("type-removed", "shop", ["books", "post"])
    ]
    assert set(found["broken"]) == {"books", "post"}


def test_a_change_beside_the_one_that_broke_the_apps_names_them_as_readers(released: System) -> None:
    released.change(PAID, "")
    released.change(PAID_TYPE, "")
    released.change("    buyer: str\n    cents: int", "    buyer: str\n    cents: str")
    found = released.call("check", "--json", code=1)["findings"]
    assert ("field-changed", ["books", "post"]) in [(each["code"], each["read_by"]) for each in found]


def test_a_declaration_that_was_taken_away_is_said_with_the_readers_of_the_release(released: System) -> None:
    released.change(PAID_TYPE, "")
    said = released.ended("check")
    assert said.exit_code == 1
    assert "breaking: order.paid: the event type was removed\n    written by shop; read by books, post\n" in said.stdout
    assert said.stderr == "apps books, post: Paid is no declared event. Add it to its category in events/.\n"


def test_a_class_that_every_app_misses_is_known_by_its_name_in_the_release(released: System) -> None:
    released.change(PAID, "")
    said = released.ended("check")
    assert said.exit_code == 1
    assert "breaking: order.paid: its model Paid is missing\n    written by shop; read by books, post\n" in said.stdout
    assert re.fullmatch(
        r"apps shop, books, post: shopping\.shop\.bootstrap and 2 more cannot be imported: "
        r"shopping/events\.py:\d+: NameError: name 'Paid' is not defined\. Correct it there\. .*\n",
        said.stderr,
    )


def test_a_module_of_events_that_was_taken_away_is_no_fault_of_the_command(system: System) -> None:
    system.write("shopping/parcels.py", "class Sent: ...\n")
    system.change("ORDERS =", 'PARCELS = Category("parcel", "parcels", "/shopping/post", ())\nORDERS =')
    system.write("shopping/post/bootstrap.py", SENDS)
    system.call("release")
    (system.folder / "shopping/parcels.py").unlink()
    said = system.ended("check")
    assert said.exit_code == 1
    assert "breaking: parcel: no app that can be imported declares the category\n    written by post; nobody here reads it\n" in said.stdout
    assert said.stderr == (
        "app post: shopping.post.bootstrap cannot be imported: shopping/post/bootstrap.py:2: ModuleNotFoundError: "
        "No module named 'shopping.parcels'. Correct it there. An event that was released is kept: only stop writing it.\n"
    )


def test_a_module_that_every_app_misses_is_known_by_the_category_or_topic_of_the_release(system: System) -> None:
    system.write("shopping/orders.py", "")
    system.call("release")
    for name in ("shop", "books", "post"):
        system.write(f"shopping/{name}/bootstrap.py", "from shopping import orders\n")
    (system.folder / "shopping/orders.py").unlink()
    (found,) = system.call("check", "--json", code=1)["findings"]
    assert (found["code"], found["subject"], found["written_by"], found["read_by"]) == (
        "category-removed",
        "order",
        "shop",
        ["books", "post"],
    )


def test_what_is_no_python_is_said_by_its_line_and_is_no_change_that_breaks(released: System) -> None:
    released.write("shopping/post/bootstrap.py", "def projection(:\n")
    with pytest.raises(ConfigurationError, match=r"app post: .*: shopping/post/bootstrap\.py:1: SyntaxError: .*Correct it there"):
        released.call("check")
    said = released.ended("check", "--json")
    assert (json.loads(said.stdout)["breaking"], list(json.loads(said.stdout)["broken"])) == (False, ["post"])
    assert "Nothing changed" not in released.ended("check").output  # not all of it was seen


def test_what_an_app_raises_when_it_is_asked_is_said_by_its_line(released: System) -> None:
    released.write("shopping/shop/bootstrap.py", SHOP + "\ndef projection():\n    return {}['none']\n")
    fault = r"app shop: projection\(\) of shopping\.shop\.bootstrap fails: shopping/shop/bootstrap\.py:4: KeyError: 'none'\. Correct"
    with pytest.raises(ConfigurationError, match=fault):
        released.call("release")


def test_nothing_is_released_while_an_app_cannot_be_imported(released: System) -> None:
    before = (released.folder / "events/catalogue.json").read_bytes()
    released.write("shopping/post/bootstrap.py", "raise RuntimeError('no')\n")
    with pytest.raises(ConfigurationError, match=re.escape("shopping/post/bootstrap.py:1: RuntimeError: no. Correct it there.")):
        released.call("release")
    assert (released.folder / "events/catalogue.json").read_bytes() == before
