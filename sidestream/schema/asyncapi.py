"""The language as an AsyncAPI 3.0 document: topics as channels, who sends and who receives as operations, events as messages.

A message's payload is the whole CloudEvent, as it stands in the log; its `data` is the model's schema. Schemas are brought
down to JSON Schema draft-07, which is what the specification asks for. Pure.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sidestream.event import CONTENT_TYPE
from sidestream.registry import SCHEMA_PREFIX
from sidestream.schema.catalogue import Catalogue, CategoryEntry, EventEntry, Reader
from sidestream.schema.models import Schema, root_name

VERSION: Final = "3.0.0"
ANY: Final = "any"
"""The message of a category that declares no types: any CloudEvent."""
_TEXT: Final[Schema] = {"type": "string", "minLength": 1}
ENVELOPE: Final[Schema] = {
    "title": "CloudEvent",
    "description": "A CloudEvent 1.0 in structured mode.",
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {**_TEXT, "description": "made once by the writer; the same over every retry"},
        "source": {**_TEXT, "description": "the service that wrote it"},
        "type": {**_TEXT, "description": "the word of the event type"},
        "subject": {"type": "string", "description": "the stream"},
        "time": {"type": "string", "format": "date-time"},
        "dataschema": {"type": "string", "description": f"{SCHEMA_PREFIX}<type>:<version>"},
        "datacontenttype": {"type": "string"},
        "partitionkey": {"type": "string", "description": "the subject"},
        "producer": {"type": "string", "description": "who counts"},
        "sequence": {"type": "string", "pattern": "^[0-9]{1,20}$", "description": "gapless per producer and topic, from 1"},
        "streamversion": {"type": "integer", "minimum": 1, "description": "place in its stream"},
        "correlationid": {"type": "string"},
        "causationid": {"type": "string"},
        "traceparent": {"type": "string"},
        "data": {"description": "what the event type says"},
        "data_base64": {"type": "string"},
    },
}
"""The attributes of every event; further ones are allowed."""


def document(
    catalogue: Catalogue, *, title: str, version: str, pubsub: str, samples: Mapping[str, bytes] | None = None, app: str = ""
) -> dict[str, Any]:
    """Return the document of a whole system, or of one app of it.

    Args:
        catalogue: the language, with who writes and who reads.
        title: of the document.
        version: of the system, for people.
        pubsub: the name of the pub/sub component of the sidecar.
        samples: golden samples by `<type>.<version>`, the examples.
        app: only what this one sends and receives; empty: everything.
    """
    operations = {name: operation for name, operation in _operations(catalogue) if not app or name.startswith(f"{app}.")}
    used = {operation["channel"]["$ref"].rpartition("/")[2] for operation in operations.values()}
    categories = [each for each in catalogue.categories if not app or used & set(each.topics)]
    channels = {topic: _channel(each, topic, pubsub) for each in categories for topic in each.topics if not app or topic in used}
    return {
        "asyncapi": VERSION,
        "info": {
            "title": title,
            "version": version,
            "description": "Events on the log. An older version than a message's may stand there.",
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {pubsub: _SERVER},
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": {name: message for each in categories for name, message in _messages(each, samples or {})},
            "schemas": {"CloudEvent": ENVELOPE, **{name: schema for each in categories for name, schema in _schemas(each)}},
        },
    }


_SERVER: Final = {
    "host": "localhost",
    "protocol": "dapr",
    "description": "The pub/sub component of the app's own sidecar; which broker stands behind it is a YAML matter.",
}


def _words(category: CategoryEntry) -> list[str]:
    return [event.type for event in category.events] or [f"{category.name}.{ANY}"]


def _channel(category: CategoryEntry, topic: str, pubsub: str) -> dict[str, Any]:
    return {
        "address": topic,
        "title": f"events of {category.name}",
        "description": f"Streams {category.name}-…, written as {category.source}." if category.events else "Anybody's events.",
        "servers": [{"$ref": f"#/servers/{pubsub}"}],
        "messages": {word: {"$ref": f"#/components/messages/{word}"} for word in _words(category)},
    }


def _operations(catalogue: Catalogue) -> Iterator[tuple[str, dict[str, Any]]]:
    for category in catalogue.categories:
        for topic in category.topics:
            if category.writer:
                yield _operation("send", category.writer, topic, _words(category))
            for reader in catalogue.readers_of((topic,)):
                if words := _read_by(reader, category):
                    yield _operation("receive", reader.app, topic, words)


def _read_by(reader: Reader, category: CategoryEntry) -> list[str]:
    return [word for word in _words(category) if not reader.types or word in reader.types]


def _operation(action: str, app: str, topic: str, words: list[str]) -> tuple[str, dict[str, Any]]:
    messages = [{"$ref": f"#/channels/{topic}/messages/{word}"} for word in words]
    summary = f"{app} {'writes to' if action == 'send' else 'reads'} {topic}"
    return f"{app}.{action}.{topic}", {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic}"},
        "summary": summary,
        "messages": messages,
    }


def _messages(category: CategoryEntry, samples: Mapping[str, bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    if not category.events:
        word = f"{category.name}.{ANY}"
        payload = {"$ref": "#/components/schemas/CloudEvent"}
        yield word, {"name": word, "title": "Any CloudEvent", "contentType": CONTENT_TYPE, "payload": payload}
    for event in category.events:
        sample = samples.get(f"{event.type}.{event.version}")
        yield (
            event.type,
            {
                "name": event.type,
                "title": root_name(event.schema),
                "summary": event.summary,
                "contentType": CONTENT_TYPE,
                "payload": _payload(event, category),
                **({"examples": [{"payload": json.loads(sample)}]} if sample else {}),
            },
        )


def _payload(event: EventEntry, category: CategoryEntry) -> Schema:
    exactly = {"source": category.source, "type": event.type, "dataschema": f"{SCHEMA_PREFIX}{event.type}:{event.version}"}
    properties = {name: {"const": value} for name, value in exactly.items()}
    own = {"required": ["data"], "properties": {**properties, "data": {"$ref": f"#/components/schemas/{event.type}"}}}
    return {"allOf": [{"$ref": "#/components/schemas/CloudEvent"}, own]}


# ── JSON Schema draft-07 ─────────────────────────────────────────────────────────────────────────────────────────────


def _schemas(category: CategoryEntry) -> Iterator[tuple[str, Schema]]:
    """Yield every model an event is made of: its own under the event's word, others as `<word>.<model>`."""
    for event in category.events:
        for name, definition in event.schema["$defs"].items():
            yield _key(name, event), _draft_7(definition, event)


def _key(name: str, event: EventEntry) -> str:
    return event.type if name == root_name(event.schema) else f"{event.type}.{name}"


def _draft_7(part: Any, event: EventEntry) -> Any:
    """Return a part of a schema in the older words, its references leading to the document's own place for schemas."""
    if isinstance(part, list):
        return [_draft_7(each, event) for each in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return {"$ref": f"#/components/schemas/{_key(part['$ref'].rpartition('/')[2], event)}"}
    older = {key: _draft_7_under(key, value, event) for key, value in part.items() if key != "discriminator"}
    if "prefixItems" in older:
        older["additionalItems"] = older.pop("items", True)
        older["items"] = older.pop("prefixItems")
    return older


def _draft_7_under(key: str, value: Any, event: EventEntry) -> Any:
    if key in _VALUES:
        return value
    if key == "properties":  # names of fields, which mean nothing here
        return {name: _draft_7(field, event) for name, field in value.items()}
    return _draft_7(value, event)


_VALUES: Final = frozenset({"default", "enum", "const", "examples"})
"""Keys under which a value stands, and no schema."""
