"""The catalogue: every category and event of a language with its schema, who writes them and who reads them.

The one of the last release stands in events/catalogue.json; it is what deployed programs know, and what a change of the
models is compared with. Readers and writers are named by app. Pure.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from sidestream.errors import ConfigurationError
from sidestream.projection import Projection
from sidestream.registry import Category, Registry
from sidestream.schema.models import Schema, root_of, schema_of
from sidestream.schema.readings import Reading, readings
from sidestream.stream import topics_of

FORMAT: Final = 1


class EventEntry(msgspec.Struct, frozen=True):
    """One event type: its word, the version that is written, and the schema of that version."""

    type: str
    version: int
    ordered: bool
    schema: Schema

    @property
    def summary(self) -> str:
        """What it says, from the model's docstring."""
        return str(root_of(self.schema).get("description", ""))


class CategoryEntry(msgspec.Struct, frozen=True):
    """One category; `writer` is the app that owns it, empty where the run file has none."""

    name: str
    topic: str
    slots: int
    source: str
    writer: str
    events: tuple[EventEntry, ...]

    @property
    def topics(self) -> tuple[str, ...]:
        """Every topic its events may stand on."""
        return topics_of(self.topic, self.slots)


class Reader(msgspec.Struct, frozen=True):
    """One app that reads: the topics it follows, and the types it handles; none: every event of its topics, as raw data.

    Attributes:
        ordered: whether it needs a stream's events in order.
    """

    app: str
    topics: tuple[str, ...]
    types: tuple[str, ...] = ()
    ordered: bool = True


class Catalogue(msgspec.Struct, frozen=True):
    """A whole language.

    Attributes:
        samples: the SHA-256 of the golden samples by `<type>.<version>`.
        readings: what those of older versions read as, by the same name; see `sidestream.schema.readings`.
    """

    categories: tuple[CategoryEntry, ...]
    readers: tuple[Reader, ...] = ()
    samples: Mapping[str, str] = {}
    readings: Mapping[str, Reading] = {}
    format: int = FORMAT

    @property
    def events(self) -> Mapping[str, tuple[EventEntry, CategoryEntry]]:
        """Return every event type by its word, with its category."""
        return {event.type: (event, category) for category in self.categories for event in category.events}

    def readers_of(self, topics: Sequence[str], event_type: str = "") -> tuple[Reader, ...]:
        """Return who follows one of these topics, and handles the event type where one is named."""
        return tuple(
            reader
            for reader in self.readers
            if set(topics) & set(reader.topics) and (not event_type or not reader.types or event_type in reader.types)
        )


def owner(source: str) -> str:
    """Return the app that a source is named after: `votes` for `/services/votes`."""
    return source.rstrip("/").rpartition("/")[2]


def reader_of(app: str, projection: Projection, registry: Registry) -> Reader:
    """Return what an app reads by its projection."""
    types = tuple(registry.type_of(model).name for model in projection.handles)
    return Reader(app, tuple(projection.topics), types, projection.ordered)


def describe(
    registry: Registry,
    *,
    writer: Callable[[str], str] = owner,
    readers: Sequence[Reader] = (),
    samples: Mapping[str, bytes] | None = None,
) -> Catalogue:
    """Return the catalogue of a language.

    Args:
        registry: the language.
        writer: which app owns a source; an empty text for none.
        readers: who reads.
        samples: the golden samples by `<type>.<version>`.
    """
    ordered = sorted(registry.categories, key=lambda category: category.topic)
    categories = tuple(_entry(category, writer(category.source)) for category in ordered)
    by_app = tuple(sorted(readers, key=lambda reader: reader.app))
    versions = {each.name: each.version for category in registry.categories for each in category.types}
    return Catalogue(categories, by_app, digests(samples or {}), readings(registry, samples or {}, versions))


def _entry(category: Category, writer: str) -> CategoryEntry:
    events = tuple(EventEntry(each.name, each.version, each.ordered, schema_of(each.model)) for each in category.types)
    return CategoryEntry(category.name, category.topic, category.slots, category.source, writer, events)


def digests(samples: Mapping[str, bytes]) -> Mapping[str, str]:
    """Return the SHA-256 of each sample, sorted by name."""
    return {name: hashlib.sha256(samples[name]).hexdigest() for name in sorted(samples)}


def encode(catalogue: Catalogue) -> bytes:
    """Return the catalogue as it stands in its file: readable, and the same for the same language."""
    return msgspec.json.format(msgspec.json.encode(catalogue), indent=2) + b"\n"


def decode(content: bytes, where: str) -> Catalogue:
    """Return the catalogue of a file.

    Raises:
        ConfigurationError: it is none, or a newer program's.
    """
    try:
        found = msgspec.json.decode(content, type=Catalogue)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{where}: expected a catalogue of events: {error}. Restore the file of the last release.") from None
    if found.format != FORMAT:
        raise ConfigurationError(f"{where}: expected format {FORMAT}, found {found.format}. Use the program that wrote it.")
    return found
