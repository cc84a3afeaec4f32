"""docs/events.md: the catalogue as a page for people, one chapter per category, each event with an example.

Written from the models alone, the same page for the same language.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sidestream.schema.catalogue import Catalogue, CategoryEntry, EventEntry, Reader
from sidestream.schema.models import Field, Schema, fields_of, resolved, root_name, root_of

_HEAD: Final = """\
# Events

Everything the system can record. Written by `sidestream schema catalogue` from the models in `events/`; not edited by hand.
How an event may change, and who breaks when it does: [schema evolution](schema-evolution.md).

| category | topic | source | written by | read by |
|---|---|---|---|---|"""
_SIMPLE: Final[Mapping[str, str]] = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
}
_FORMATS: Final[Mapping[str, str]] = {
    "date-time": "time",
    "date": "date",
    "time": "time of day",
    "uuid": "UUID",
    "decimal": "decimal number",
}


def page(catalogue: Catalogue, samples: Mapping[str, bytes]) -> str:
    """Return the page.

    Args:
        catalogue: the language.
        samples: the golden samples by `<type>.<version>`; those of the newest versions are the examples.
    """
    lines = [_HEAD, *map(_row, catalogue.categories, map(catalogue.readers_of, (each.topics for each in catalogue.categories)))]
    for category in catalogue.categories:
        lines += _chapter(catalogue, category, samples)
    return "\n".join(lines) + "\n"


def _row(category: CategoryEntry, readers: tuple[Reader, ...]) -> str:
    source = f"`{category.source}`" if category.events else "the sender's own"
    return (
        f"| `{category.name}` | {_topics(category)} | {source} | {category.writer or 'nobody here'} | {_apps(readers) or 'nobody here'} |"
    )


def _topics(category: CategoryEntry) -> str:
    first, *more = category.topics
    return f"`{first}` to `{more[-1]}`" if more else f"`{first}`"


def _apps(readers: tuple[Reader, ...]) -> str:
    return ", ".join(reader.app for reader in readers)


def _chapter(catalogue: Catalogue, category: CategoryEntry, samples: Mapping[str, bytes]) -> Iterator[str]:
    yield from ("", f"## {category.name}", "")
    if not category.events:
        yield f"Topic {_topics(category)}. Anybody's events travel here, under words, sources and streams of their own."
        return
    yield f"Topic {_topics(category)}, streams `{category.name}-…`, source `{category.source}`."
    for event in category.events:
        yield from _section(event, catalogue.readers_of(category.topics, event.type), samples.get(f"{event.type}.{event.version}"))


def _section(event: EventEntry, readers: tuple[Reader, ...], sample: bytes | None) -> Iterator[str]:
    order = "In order within its stream" if event.ordered else "May overtake others of its stream"
    versions = "Version 1" if event.version == 1 else f"Version {event.version}; versions 1 to {event.version - 1} are read too"
    yield from ("", f"### {event.type}", "", event.summary or "Its model says nothing of it.", "")
    yield f"{versions}. {order}. Read by {_apps(readers) or 'nobody here'}."
    yield from _table(root_of(event.schema), event.schema)
    for name, definition in event.schema.get("$defs", {}).items():
        if name != root_name(event.schema) and "properties" in definition:
            yield from ("", f"`{name}`: {definition.get('description', '')}".rstrip(": "))
            yield from _table(definition, event.schema)
    if sample is not None:
        yield from ("", "```json", json.dumps(json.loads(sample), indent=2, ensure_ascii=False), "```")


def _table(model: Schema, whole: Schema) -> Iterator[str]:
    fields = fields_of(model)
    if not fields:
        yield from ("", "No fields.")
        return
    yield from ("", "| field | type | when left out | |", "|---|---|---|---|")
    for field in fields.values():
        meaning = _cell(field.schema.get("description", ""))
        yield f"| `{field.name}` | {_cell(_type(field.schema, whole))} | {_left_out(field)} | {meaning} |"


def _left_out(field: Field) -> str:
    return "required" if field.required else f"`{_cell(json.dumps(field.default, ensure_ascii=False))}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _type(schema: Schema, whole: Schema) -> str:
    """Return a type as people say it: `list of text`, `integer or null`."""
    if "$ref" in schema:
        target = resolved(schema, whole)
        return f"`{target['title']}`" if "properties" in target else _type(target, whole)
    if "anyOf" in schema:
        return " or ".join(_type(each, whole) for each in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(value, ensure_ascii=False)}`" for value in schema["enum"])
    found: Any = schema.get("type")
    if found == "array":
        return _list(schema, whole)
    if found == "object":
        return f"map of {_part(schema.get('additionalProperties'), whole)}"
    named = _FORMATS.get(schema.get("format", ""), _SIMPLE.get(found, "anything"))
    return "bytes in base64" if schema.get("contentEncoding") == "base64" else named + _limits(schema)


def _list(schema: Schema, whole: Schema) -> str:
    if "prefixItems" in schema:
        return f"list of exactly: {', '.join(_type(each, whole) for each in schema['prefixItems'])}"
    return f"list of {_part(schema.get('items'), whole)}"


def _part(schema: object, whole: Schema) -> str:
    return _type(schema, whole) if isinstance(schema, dict) else "anything"


def _limits(schema: Schema) -> str:
    least, most = schema.get("minimum", schema.get("minLength")), schema.get("maximum", schema.get("maxLength"))
    unit = " characters" if schema.get("type") == "string" else ""
    said = [f"at least {least}{unit}"] if least is not None else []
    said += [f"at most {most}{unit}"] if most is not None else []
    return f", {', '.join(said)}" if said else ""
