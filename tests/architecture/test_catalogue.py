"""The committed page, catalogue and AsyncAPI document against the models: what is said of the events is what is there.

The rules for the AsyncAPI document are those of its specification, 3.0.0, as far as we use it, in words of our own.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # carries no types
import pytest

from sidestream.cli.language import Language, language_of
from sidestream.schema.asyncapi import document
from sidestream.schema.catalogue import decode
from sidestream.schema.comparing import compare
from sidestream.schema.page import page
from sidestream.schema.samples import check_samples

ROOT = Path(__file__).parents[2]
CATALOGUE = ROOT / "events/catalogue.json"


@pytest.fixture(scope="module")
def language() -> Language:
    return language_of(ROOT / "dapr.yaml", ROOT / "tests/golden/events")


@pytest.fixture(scope="module")
def asyncapi(language: Language) -> dict[str, Any]:
    made = document(language.catalogue, title="sidestream", version="1", pubsub="pubsub", samples=language.samples)
    plain: dict[str, Any] = json.loads(json.dumps(made))
    return plain


def test_the_page_of_events_is_that_of_the_models(language: Language) -> None:
    written = (ROOT / "docs/events.md").read_text(encoding="utf-8")
    assert written == page(language.catalogue, language.samples), "write it anew with `sidestream schema catalogue`"


def test_nothing_that_was_released_is_broken(language: Language) -> None:
    released = decode(CATALOGUE.read_bytes(), str(CATALOGUE))
    found = [*compare(released, language.catalogue), *check_samples(released, language.catalogue, language.registry, language.samples)]
    assert [finding for finding in found if finding.severity == "breaking"] == []


def test_every_released_sample_is_kept_as_it_was(language: Language) -> None:
    released = decode(CATALOGUE.read_bytes(), str(CATALOGUE)).samples
    assert released
    assert {name: language.catalogue.samples.get(name) for name in released} == dict(released)


def test_every_category_is_read_by_an_app_and_written_by_the_service_that_is_there(language: Language) -> None:
    for category in language.catalogue.categories:
        owner = ROOT / category.source.removeprefix("/")
        assert category.writer == (owner.name if (owner / "__main__.py").exists() else ""), category.name
        assert language.catalogue.readers_of(category.topics), category.name


# ── AsyncAPI ─────────────────────────────────────────────────────────────────────────────────────────────────────────

KEY = "^[A-Za-z0-9_.-]+$"
REF: dict[str, Any] = {"type": "object", "required": ["$ref"], "properties": {"$ref": {"type": "string"}}, "additionalProperties": False}


def exactly(required: Mapping[str, Any], **optional: Any) -> dict[str, Any]:
    properties = {**required, **optional}
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


def each(schema: Any) -> dict[str, Any]:
    return {"type": "object", "patternProperties": {KEY: schema}, "additionalProperties": False}


TEXT = {"type": "string"}
MESSAGE = exactly({}, name=TEXT, title=TEXT, summary=TEXT, contentType=TEXT, payload={"type": "object"}, examples={"type": "array"})
CHANNEL = exactly({}, address=TEXT, title=TEXT, description=TEXT, servers={"type": "array", "items": REF}, messages=each(REF))
OPERATION = exactly(
    {"action": {"enum": ["send", "receive"]}, "channel": REF}, summary=TEXT, messages={"type": "array", "items": REF, "minItems": 1}
)
SHAPE = exactly(
    {"asyncapi": {"const": "3.0.0"}, "info": exactly({"title": TEXT, "version": TEXT}, description=TEXT)},
    defaultContentType=TEXT,
    servers=each(exactly({"host": TEXT, "protocol": TEXT}, description=TEXT)),
    channels=each(CHANNEL),
    operations=each(OPERATION),
    components=exactly({}, messages=each(MESSAGE), schemas=each({"type": "object"})),
)


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        yield from (value for key, value in part.items() if key == "$ref" and isinstance(value, str))
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from references(inner)


def follow(whole: Any, reference: str) -> Any:
    for key in reference.removeprefix("#/").split("/"):
        whole = whole[key]
    return whole


def test_the_document_has_the_form_that_the_specification_asks_for(asyncapi: dict[str, Any]) -> None:
    jsonschema.Draft7Validator(SHAPE).validate(asyncapi)


def test_every_reference_leads_somewhere(asyncapi: dict[str, Any]) -> None:
    found = list(references(asyncapi))
    assert found
    for reference in found:
        assert reference.startswith("#/")
        follow(asyncapi, reference)


def test_an_operation_is_about_messages_of_its_channel(asyncapi: dict[str, Any]) -> None:
    assert asyncapi["operations"]
    for operation in asyncapi["operations"].values():
        channel = operation["channel"]["$ref"]
        assert channel.startswith("#/channels/")
        assert all(message["$ref"].startswith(f"{channel}/messages/") for message in operation["messages"])


def test_every_event_type_is_a_message_of_its_topic_and_its_writer_sends_it(language: Language, asyncapi: dict[str, Any]) -> None:
    for name, (_, category) in language.catalogue.events.items():
        for topic in category.topics:
            assert asyncapi["channels"][topic]["messages"][name] == {"$ref": f"#/components/messages/{name}"}
            said = {"$ref": f"#/channels/{topic}/messages/{name}"}
            actions = {each["action"] for each in asyncapi["operations"].values() if said in each["messages"]}
            assert actions == ({"send", "receive"} if category.writer else {"receive"})


def test_every_payload_is_a_schema_that_its_golden_sample_fulfils(asyncapi: dict[str, Any]) -> None:
    for schema in asyncapi["components"]["schemas"].values():
        jsonschema.Draft7Validator.check_schema(schema)
    for name, message in asyncapi["components"]["messages"].items():
        payload = {**message["payload"], "components": asyncapi["components"]}
        jsonschema.Draft7Validator.check_schema(payload)
        held = jsonschema.Draft7Validator(payload)
        for example in message.get("examples", ()):
            held.validate(example["payload"])
            assert not held.is_valid({**example["payload"], "type": "another"})
            assert not held.is_valid({key: value for key, value in example["payload"].items() if key != "data"})
        assert message.get("examples") or name == "external.any"
