"""The language of a system: which events exist, under which words and versions, and on which topic they travel.

An event is a frozen msgspec Struct. It is made strictly (every value is checked against its type) and read tolerantly
(unknown fields are ignored; an older version is lifted by its upcasters). The word on the wire, `order.placed`, is
declared here once and is never a Python path. Pure: time and ids are given by the caller.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from sidestream.errors import ConfigurationError, InvalidEvent, UnknownSchemaVersion, UnreadableEvent
from sidestream.event import Envelope, NewEvent
from sidestream.stream import topic_for, topics_of

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""Lifts the data of one version to the next: a dict as decoded from JSON in, the next shape out."""

SCHEMA_PREFIX: Final = "urn:sidestream:"


class EventType(msgspec.Struct, frozen=True):
    """One kind of event.

    Attributes:
        name: the word on the wire, `vote.cast`.
        model: the frozen Struct that its data is.
        version: the schema version that is written, from 1.
        ordered: whether an event must not overtake an earlier one of its subject on the way to the log.
        upcasters: one per older version, the first lifts version 1 to 2.
    """

    name: str
    model: type[msgspec.Struct]
    version: int = 1
    ordered: bool = True
    upcasters: tuple[Upcaster, ...] = ()

    @property
    def dataschema(self) -> str:
        """The schema on the wire, `urn:sidestream:vote.cast:1`."""
        return f"{SCHEMA_PREFIX}{self.name}:{self.version}"


class Category(msgspec.Struct, frozen=True):
    """The events one service owns about one kind of thing, and the topic they travel on.

    Attributes:
        name: the word before the dash of its streams, `vote`.
        topic: where its events are published, `votes`.
        source: the owning service, `/services/votes`.
        types: its event types; empty for a category that carries anybody's events.
        slots: how many topics it is spread over; set once.
    """

    name: str
    topic: str
    source: str
    types: tuple[EventType, ...] = ()
    slots: int = 1

    @property
    def topics(self) -> tuple[str, ...]:
        """Every topic its events may stand on."""
        return topics_of(self.topic, self.slots)


class Registry:
    """All categories of a system. Raises ConfigurationError where two of them contradict each other."""

    def __init__(self, categories: Iterable[Category]) -> None:
        self.categories: tuple[Category, ...] = tuple(categories)
        self._types: dict[str, tuple[EventType, Category]] = {}
        self._models: dict[type[msgspec.Struct], tuple[EventType, Category]] = {}
        for category in self.categories:
            for event_type in category.types:
                self._add(event_type, category)
        self._decoders: Mapping[str, Callable[..., Any]] = {
            name: msgspec.json.Decoder(event_type.model).decode for name, (event_type, _) in self._types.items()
        }
        self._dataschemas: Mapping[str, str] = {name: event_type.dataschema for name, (event_type, _) in self._types.items()}

    def _add(self, event_type: EventType, category: Category) -> None:
        if event_type.name in self._types:
            raise ConfigurationError(f"event type {event_type.name!r} is declared twice")
        if event_type.model in self._models:
            raise ConfigurationError(f"model {event_type.model.__name__} is declared for two event types")
        if len(event_type.upcasters) != event_type.version - 1:
            raise ConfigurationError(
                f"event type {event_type.name!r}: version {event_type.version} expects {event_type.version - 1} upcasters, "
                f"found {len(event_type.upcasters)}. Add the missing step."
            )
        self._types[event_type.name] = (event_type, category)
        self._models[event_type.model] = (event_type, category)

    @property
    def topics(self) -> tuple[str, ...]:
        """Every topic of every category."""
        return tuple(topic for category in self.categories for topic in category.topics)

    def type_of(self, model: type[msgspec.Struct]) -> EventType:
        """Return the event type of a model; raises ConfigurationError when it is not declared."""
        if model not in self._models:
            raise ConfigurationError(f"{model.__name__} is no declared event. Add it to its category in events/.")
        return self._models[model][0]

    def named(self, name: str) -> EventType | None:
        """Return the event type with this word on the wire, or None for a word nobody declared."""
        found = self._types.get(name)
        return found[0] if found else None

    def new_event(
        self,
        data: msgspec.Struct,
        *,
        id: str,  # noqa: A002 - the attribute's name in CloudEvents
        subject: str,
        time: str,
        correlationid: str | None = None,
        causationid: str | None = None,
        traceparent: str | None = None,
    ) -> NewEvent:
        """Make an event that is to be written, checked strictly against its declared type.

        Raises:
            InvalidEvent: a value is not of the declared type.
            ConfigurationError: the type of `data` is not declared.
        """
        event_type = self.type_of(type(data))
        category = self._models[type(data)][1]
        return NewEvent(
            topic=topic_for(category.topic, subject, category.slots),
            id=id,
            source=category.source,
            type=event_type.name,
            data=self._encode_strictly(event_type, data),
            dataschema=event_type.dataschema,
            subject=subject,
            time=time,
            correlationid=correlationid,
            causationid=causationid,
            traceparent=traceparent,
            ordered=event_type.ordered,
        )

    def _encode_strictly(self, event_type: EventType, data: msgspec.Struct) -> bytes:
        try:
            encoded = msgspec.json.encode(data)
            self._decoders[event_type.name](encoded)
        except (msgspec.ValidationError, UnicodeEncodeError, TypeError) as error:
            raise InvalidEvent(f"{event_type.name}: {error}") from None
        return encoded

    def read(self, envelope: Envelope) -> Any:
        """Return the data of an event as its model, lifted to the version this program knows.

        Raises:
            UnknownSchemaVersion: the event is newer than this program.
            UnreadableEvent: the type is not declared, or the data is not what it declares.
        """
        decode = self._decoders.get(envelope.type)
        if decode is None:
            raise UnreadableEvent(f"{envelope.type}: no such event type is declared")
        try:
            if envelope.dataschema is None or envelope.dataschema == self._dataschemas[envelope.type]:
                return decode(envelope.data)
            return self._lift(self._types[envelope.type][0], envelope)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UnreadableEvent(f"{envelope.type}: {error}") from None

    def read_alike(self, envelopes: Sequence[Envelope]) -> list[Any]:
        """Return the data of events that are all of one declared type and schema. Raises what `read` raises."""
        first = envelopes[0]
        if first.dataschema is not None and first.dataschema != self._dataschemas[first.type]:
            return [self.read(envelope) for envelope in envelopes]
        decode = self._decoders[first.type]
        try:
            return [decode(envelope.data) for envelope in envelopes]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UnreadableEvent(f"{first.type}: {error}") from None

    def _lift(self, event_type: EventType, envelope: Envelope) -> Any:
        version = _version_in(envelope.dataschema or "", event_type)
        data = msgspec.json.decode(envelope.data)
        for upcast in event_type.upcasters[version - 1 :]:
            data = upcast(data)
        return msgspec.convert(data, event_type.model)


def _version_in(dataschema: str, event_type: EventType) -> int:
    prefix = f"{SCHEMA_PREFIX}{event_type.name}:"
    text = dataschema.removeprefix(prefix)
    if not dataschema.startswith(prefix) or not text.isdecimal() or int(text) < 1:
        raise UnreadableEvent(f"{event_type.name}: expected dataschema {prefix}<version>, found {dataschema!r}")
    if int(text) > event_type.version:
        raise UnknownSchemaVersion(
            f"{event_type.name}: version {text} is newer than {event_type.version}, the newest this program knows. "
            "Deploy the newer program and retry the dead letter."
        )
    return int(text)
