"""Models as JSON Schema (2020-12, as msgspec writes it), every field with its sentence from the docstring's `Attributes`."""

import inspect
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

Schema = dict[str, Any]

_ATTRIBUTE: Final = re.compile(r"    (\w+(?:, \w+)*): (.*)")
_DEFS: Final = "#/$defs/"
_WORDS: Final = frozenset({"title", "description", "discriminator", "$defs"})


class Field(msgspec.Struct, frozen=True):
    """One field of a model: what it may be, whether it must be there, and what it is when it is not."""

    name: str
    schema: Schema
    required: bool
    default: Any = None


def schema_of(model: type[msgspec.Struct]) -> Schema:
    """Return the JSON Schema of a model, whole in itself: other models it uses stand under `$defs`."""
    found: Schema = msgspec.json.decode(msgspec.json.encode(msgspec.json.schema(model)))
    for definition in found.get("$defs", {}).values():
        _explain(definition)
    return found


def _explain(definition: Schema) -> None:
    """Move what the docstring says of a field to the field."""
    summary, meanings = told(definition.pop("description", ""))
    if summary:
        definition["description"] = summary
    for name, field in definition.get("properties", {}).items():
        if name in meanings:
            field["description"] = meanings[name]


def told(docstring: str) -> tuple[str, Mapping[str, str]]:
    """Return what a docstring says of the whole, as one paragraph, and of each attribute."""
    text, _, attributes = inspect.cleandoc(docstring).partition("\nAttributes:\n")
    meanings: dict[str, str] = {}
    names: tuple[str, ...] = ()
    for line in attributes.splitlines():
        if begun := _ATTRIBUTE.fullmatch(line):
            names = tuple(begun[1].split(", "))
            meanings.update(dict.fromkeys(names, begun[2]))
        elif line.startswith("     "):
            meanings.update({name: f"{meanings[name]} {line.strip()}" for name in names})
        elif line:  # the next section
            break
    return " ".join(text.split()), meanings


def root_of(schema: Schema) -> Schema:
    """Return the model itself, without the way it is pointed to."""
    return resolved(schema, schema)


def root_name(schema: Schema) -> str:
    """Return the name under which the model itself stands in `$defs`."""
    return str(schema.get("$ref", "")).removeprefix(_DEFS)


def resolved(part: Schema, whole: Schema) -> Schema:
    """Return what a part of a schema points to, or the part where it points nowhere."""
    found: Schema = whole["$defs"][part["$ref"].removeprefix(_DEFS)] if "$ref" in part else part
    return found


def spelled(part: Any, whole: Schema, inside: tuple[str, ...] = ()) -> Any:
    """Return a part of a schema with every reference spelled out and without names and words, to see whether two mean the same."""
    if isinstance(part, list):
        return [spelled(each, whole, inside) for each in part]
    if not isinstance(part, dict):
        return part
    if (target := part.get("$ref")) in inside:
        return inside.index(target)  # a model inside itself
    if target:
        return spelled(resolved(part, whole), whole, (*inside, target))
    return {key: _spelled_under(key, value, whole, inside) for key, value in part.items() if key not in _WORDS}


def _spelled_under(key: str, value: Any, whole: Schema, inside: tuple[str, ...]) -> Any:
    if key == "properties":  # names of fields, not of the schema
        return {name: spelled(field, whole, inside) for name, field in value.items()}
    return sorted(value) if key == "required" else spelled(value, whole, inside)


def fields_of(model: Schema) -> Mapping[str, Field]:
    """Return the fields of a model by name, in the order in which they are declared."""
    required = set(model.get("required", ()))
    properties: Mapping[str, Schema] = model.get("properties", {})
    return {name: Field(name, found, name in required, found.get("default")) for name, found in properties.items()}
