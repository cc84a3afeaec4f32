"""What a language looks like from outside: schemas with their meanings, the catalogue's file, the page, AsyncAPI."""

import json

import jsonschema  # type: ignore[import-untyped]  # carries no types
import msgspec
import pytest

from sidestream.errors import ConfigurationError
from sidestream.registry import Category, EventType, Registry
from sidestream.schema.asyncapi import document
from sidestream.schema.catalogue import decode, describe, encode
from sidestream.schema.models import fields_of, root_of, schema_of, told
from sidestream.schema.page import page
from tests.unit.schema.shop import RAISED, Placed, a_language


class Tree(msgspec.Struct, frozen=True):
    value: int
    children: "tuple[Tree, ...]" = ()


def test_a_docstring_tells_of_the_whole_and_of_each_field() -> None:
    summary, meanings = told(Placed.__doc__ or "")
    assert summary == "Somebody placed an order."
    assert meanings["cents"] == "what all of it costs; money is an integer."
    assert told("One\n    line.\n\n    Attributes:\n        a, b: both.\n\n    Raises:\n        c: no field.")[1] == {
        "a": "both.",
        "b": "both.",
    }


def test_a_field_carries_its_meaning_its_default_and_whether_it_must_be_there() -> None:
    fields = fields_of(root_of(schema_of(Placed)))
    assert fields["cents"].schema == {"type": "integer", "description": "what all of it costs; money is an integer."}
    assert (fields["buyer"].required, fields["way"].required, fields["way"].default) == (True, False, "post")


def test_a_catalogue_is_the_same_when_it_comes_back_from_its_file() -> None:
    catalogue = a_language()
    assert decode(encode(catalogue), "here") == catalogue
    assert encode(a_language()) == encode(catalogue)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "expected a catalogue of events"),
        (b"[]", "expected a catalogue"),
        (b'{"categories":[],"format":2}', "expected format 1, found 2"),
    ],
)
def test_a_file_that_is_no_catalogue_is_refused_with_the_remedy(content: bytes, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"here: {said}"):
        decode(content, "here")


def test_the_page_shows_fields_nested_models_readers_and_the_example() -> None:
    shown = page(a_language(Placed, **RAISED), {"order.placed.2": b'{"id":"\xc3\xa9","data":{"cents":9007199254740993}}'})
    assert "| `order` | `orders` | `/services/shop` | shop | book, everything, tally |" in shown
    assert "Version 2; versions 1 to 1 are read too. In order within its stream. Read by book, everything, tally." in shown
    assert '| `way` | `"post"` or `"bike"` | `"post"` |  |' in shown or '| `way` | `"bike"` or `"post"` | `"post"` |  |' in shown
    assert "| `lines` | list of `Line` | required | what was bought \\| and how many. |" in shown
    assert "`Line`: One thing and how many of it." in shown
    assert "| `sku` | text | required | which thing. |" in shown
    assert '"id": "é"' in shown
    assert "9007199254740993" in shown


def test_a_payload_is_held_to_its_schema_in_draft_7() -> None:
    class Everything(msgspec.Struct, frozen=True):
        pair: tuple[int, str]
        discriminator: str
        tree: Tree
        default: int = 1

    language = describe(Registry([Category("order", "orders", "/services/shop", (EventType("order.placed", Everything),))]))
    made = document(language, title="shop", version="1", pubsub="pubsub")
    schema = {"$ref": "#/components/schemas/order.placed", "components": made["components"]}
    held = jsonschema.Draft7Validator(schema)
    good = {"pair": [1, "a"], "discriminator": "x", "tree": {"value": 1, "children": [{"value": 2}]}}
    assert held.is_valid(good)
    for wrong in ({"pair": ["a", 1]}, {"discriminator": 1}, {"tree": {"value": 1, "children": [{"value": "x"}]}}, {"default": "x"}):
        assert not held.is_valid({**good, **wrong}), wrong
    assert "$defs" not in json.dumps(made)
