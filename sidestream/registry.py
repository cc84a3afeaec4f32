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
from sidestream.schema.tolerance import fault_in
from sidestream.stream import topic_for, topics_of

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""Lifts the data of one version to the next: a dict as decoded from JSON in, the next shape out. A pure function."""

SCHEMA_PREFIX: Final = "urn:sidestream:"
_VERSION_DIGITS: Final = 9
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Not JSON of the declared shape, not UTF-8, nested a thousand levels deep."""


class EventType(msgspec.Struct, frozen=True):
    """One kind of event.

    Attributes:
        name: the word on the wire, `vote.cast`.
        model: the frozen Struct that its data is.
        version: the schema version that is written, from 1.
        ordered: whether an event must not overtake an earlier one of its subject on the way to the log.
        upcasters: the links of the chain, by the version they lift: `{1: add_currency, 2: split_name}` leads to version 3.
    """

    name: str
    model: type[msgspec.Struct]
    version: int = 1
    ordered: bool = True
    upcasters: Mapping[int, Upcaster] = {}

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
        _check_reading(event_type)
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
        if envelope.dataschema is not None and envelope.dataschema != self._dataschemas[envelope.type]:
            return self._lift(self._types[envelope.type][0], decode, envelope)
        try:
            return decode(envelope.data)
        except _UNREADABLE as error:
            raise UnreadableEvent(f"{_named(envelope)}: {error}") from None

    def read_alike(self, envelopes: Sequence[Envelope]) -> list[Any]:
        """Return the data of events that are all of one declared type and schema. Raises what `read` raises."""
        first = envelopes[0]
        if first.dataschema is not None and first.dataschema != self._dataschemas[first.type]:
            return [self.read(envelope) for envelope in envelopes]
        decode = self._decoders[first.type]
        try:
            return [decode(envelope.data) for envelope in envelopes]
        except _UNREADABLE as error:
            raise UnreadableEvent(f"{first.type}: {error}") from None

    def _lift(self, event_type: EventType, decode: Callable[..., Any], envelope: Envelope) -> Any:
        """Send data up the chain. What comes out is read as JSON again: there is one way to read, not two sets of rules."""
        return _climb(event_type, envelope, event_type.version, decode)

    def lifted(self, envelope: Envelope, version: int) -> Any:
        """Return the data of an event as its upcasters leave it at a version, not read as a model yet.

        Raises:
            UnreadableEvent: as `read` does.
        """
        if envelope.type not in self._types:
            raise UnreadableEvent(f"{envelope.type}: no such event type is declared")
        return _climb(self._types[envelope.type][0], envelope, version, msgspec.json.decode)


def _climb(event_type: EventType, envelope: Envelope, to: int, decode: Callable[..., Any]) -> Any:
    at = _version_in(envelope, event_type)
    try:
        data = msgspec.json.decode(envelope.data)
        while at < to:
            data = event_type.upcasters[at](data)
            at += 1
        return decode(msgspec.json.encode(data))
    except Exception as error:  # an upcaster may raise anything: this event is parked, the others flow
        raise UnreadableEvent(
            f"{_named(envelope)}: {type(error).__name__} when it was read from {envelope.dataschema}, at version {at} of "
            f"{event_type.version}: {error}. Correct the upcaster, deploy, and retry the dead letter."
        ) from error


def _check_reading(event_type: EventType) -> None:
    """Refuse a type of which a version could not be read, or whose model would not read tolerantly or be compared rightly."""
    if event_type.version < 1:
        raise ConfigurationError(f"event type {event_type.name!r}: expected a version from 1, found {event_type.version}")
    links = set(range(1, event_type.version)) ^ set(event_type.upcasters)
    if links:
        at = min(links)
        what = "is there, which leads nowhere. Remove it" if at in event_type.upcasters else "is missing. Add it, a pure function"
        raise ConfigurationError(
            f"event type {event_type.name!r}: expected upcasters that lead from version 1 to {event_type.version}; "
            f"the one from version {at} to {at + 1} {what}."
        )
    if fault := fault_in(event_type.model):
        raise ConfigurationError(f"event type {event_type.name!r}: {fault}")


def _named(envelope: Envelope) -> str:
    return f"{envelope.type}: event {envelope.id}"


def _version_in(envelope: Envelope, event_type: EventType) -> int:
    dataschema = envelope.dataschema or ""
    prefix = f"{SCHEMA_PREFIX}{event_type.name}:"
    text = dataschema.removeprefix(prefix)
    if not dataschema.startswith(prefix) or not _is_version(text):
        raise UnreadableEvent(f"{_named(envelope)}: expected dataschema {prefix}<version>, found {dataschema!r}")
    if int(text) > event_type.version:
        raise UnknownSchemaVersion(
            f"{_named(envelope)}: version {text} is newer than {event_type.version}, the newest this program knows. "
            "Deploy the newer program and retry the dead letter."
        )
    return int(text)


def _is_version(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _VERSION_DIGITS and int(text) > 0
