"""Whether every value that one schema allows is allowed by another: can a reader of this model read what that one wrote?

Sure of a yes, cautious with a no: what is not understood and not equal is not accepted. Knows what msgspec writes and reads:
unknown fields are ignored, an integer is a number too.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from sidestream.schema.models import Schema, resolved

_NOTES: Final = frozenset({"title", "description", "examples", "default", "deprecated", "discriminator", "$comment"})
"""What says something about values and forbids none."""
_AT_LEAST: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_AT_MOST: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_EQUAL: Final = ("pattern", "format", "multipleOf", "uniqueItems", "propertyNames")
"""Of the reader's: without it everything is allowed, with it only the same."""
_UNDERSTOOD: Final = {
    *_NOTES,
    *_AT_LEAST,
    *_AT_MOST,
    *_EQUAL,
    *("type", "enum", "anyOf", "items", "prefixItems", "properties", "required", "additionalProperties", "contentEncoding", "$defs"),
}
_JSON_TYPES: Final[Mapping[type, str]] = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def accepts(reader: Schema, writer: Schema, reads: Schema, writes: Schema) -> bool:
    """Return whether a reader takes all that a writer writes.

    Args:
        reader: the schema of what is read.
        writer: the schema of what is written.
        reads: the whole schema that the reader's is a part of, where its `$ref` lead.
        writes: the same for the writer's.
    """
    return _Comparison(reads, writes).accepts(reader, writer)


class _Comparison:
    def __init__(self, reads: Schema, writes: Schema) -> None:
        self._reads = reads
        self._writes = writes
        self._begun: set[tuple[str, str]] = set()

    def accepts(self, reader: Schema, writer: Schema) -> bool:
        """See the function. A model inside itself is taken to be accepted while it is being looked at."""
        pair = (reader.get("$ref", ""), writer.get("$ref", ""))
        if all(pair) and pair in self._begun:
            return True
        self._begun.add(pair)
        reader, writer = _bare(resolved(reader, self._reads)), _bare(resolved(writer, self._writes))
        if "anyOf" in writer:
            return all(self.accepts(reader, each) for each in writer["anyOf"])
        if "anyOf" in reader:
            return any(self.accepts(each, writer) for each in reader["anyOf"])
        return not reader or self._accepts_plain(reader, writer)

    def _accepts_plain(self, reader: Schema, writer: Schema) -> bool:
        if reader.keys() - _UNDERSTOOD or writer.keys() - _UNDERSTOOD:
            return reader == writer and '"$ref"' not in json.dumps(reader)
        if "enum" in writer:
            return all(_takes(reader, value) for value in writer["enum"])
        return "enum" not in reader and self._accepts_type(reader, writer)

    def _accepts_type(self, reader: Schema, writer: Schema) -> bool:
        if (reader.get("type"), writer.get("type")) != ("number", "integer") and reader.get("type") != writer.get("type"):
            return False
        if not _as_wide(reader, writer) or reader.get("contentEncoding") != writer.get("contentEncoding"):
            return False
        if reader.get("type") == "array":
            return self._accepts_array(reader, writer)
        return reader.get("type") != "object" or self._accepts_object(reader, writer)

    def _accepts_array(self, reader: Schema, writer: Schema) -> bool:
        first, theirs = reader.get("prefixItems", ()), writer.get("prefixItems", ())
        same_when_left_out = all(map(_default_alike, first, theirs))
        if len(first) != len(theirs) or not same_when_left_out or not all(map(self.accepts, first, theirs)):
            return False
        return self.accepts(_part(reader, "items"), _part(writer, "items"))

    def _accepts_object(self, reader: Schema, writer: Schema) -> bool:
        if "properties" in reader or "properties" in writer:
            return self._accepts_model(reader, writer)
        return self.accepts(_part(reader, "additionalProperties"), _part(writer, "additionalProperties"))

    def _accepts_model(self, reader: Schema, writer: Schema) -> bool:
        read: Mapping[str, Schema] = reader.get("properties", {})
        written: Mapping[str, Schema] = writer.get("properties", {})
        always = set(writer.get("required", ()))
        if reader.get("additionalProperties", True) is not True or not always.issuperset(reader.get("required", ())):
            return False
        both = read.keys() & written.keys()
        same_when_left_out = all(read[name].get("default") == written[name].get("default") for name in both - always)
        return same_when_left_out and all(self.accepts(read[name], written[name]) for name in both)


def _default_alike(reader: Schema, writer: Schema) -> bool:
    return ("default" in reader, reader.get("default")) == ("default" in writer, writer.get("default"))


def _bare(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key not in _NOTES}


def _part(schema: Schema, key: str) -> Schema:
    """Return what the parts of a list or a map must be; `true` and nothing said allow everything."""
    found = schema.get(key, True)
    if found is True:
        return {}
    return found if isinstance(found, dict) else {"enum": []}


def _takes(reader: Schema, value: Any) -> bool:
    """Return whether a reader takes one value: it is on its list, or any of its type is."""
    if "enum" in reader:
        return any(type(value) is type(each) and value == each for each in reader["enum"])
    return reader == {"type": _JSON_TYPES[type(value)]} or (reader == {"type": "number"} and type(value) is int)


def _as_wide(reader: Schema, writer: Schema) -> bool:
    """Return whether no limit of the reader is narrower than the writer's."""
    at_least = all(key in writer and writer[key] >= reader[key] for key in _AT_LEAST if key in reader)
    at_most = all(key in writer and writer[key] <= reader[key] for key in _AT_MOST if key in reader)
    return at_least and at_most and all(reader[key] == writer.get(key) for key in _EQUAL if key in reader)
