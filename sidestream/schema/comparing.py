"""What changed since the last release, who breaks, and what to do.

Two questions are asked of every change. Can the new programs read every event that stands in a log already? If not, it is
*breaking*. Can the programs that are deployed now read what the new ones write? If not, it is *compatible* in one order of
deployment only, which is said: readers first. What must not change at all (topic, source, slots) is breaking.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec

from sidestream.schema.accepting import accepts
from sidestream.schema.catalogue import Catalogue, CategoryEntry, EventEntry, Reader
from sidestream.schema.models import Field, Schema, fields_of, root_of, spelled

Severity = Literal["breaking", "compatible", "note"]
_ORDER: Final[Mapping[Severity, int]] = {"breaking": 0, "compatible": 1, "note": 2}
_READERS_FIRST: Final = "Deploy the readers first, then the writer; what an old reader parks meanwhile, retry when it is replaced."


class Finding(msgspec.Struct, frozen=True):
    """One change.

    Attributes:
        severity: breaking: must not be released so; compatible: may be, as `remedy` says; note: nothing to do.
        code: stable word for the kind of change.
        subject: the event type or category.
        change: what changed.
        written_by: the app that writes it; empty where the run file has none.
        read_by: the apps that read it, those that the change can break.
        remedy: what to do.
    """

    severity: Severity
    code: str
    subject: str
    change: str
    written_by: str
    read_by: tuple[str, ...]
    remedy: str


def compare(released: Catalogue, now: Catalogue) -> Sequence[Finding]:
    """Return every change of the language, the breaking ones first."""
    found = [*_categories(released, now), *_types(released, now)]
    return sorted(found, key=lambda finding: (_ORDER[finding.severity], finding.subject))


# ── categories ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _categories(released: Catalogue, now: Catalogue) -> Iterator[Finding]:
    before = {category.name: category for category in released.categories}
    after = {category.name: category for category in now.categories}
    for name in before.keys() - after.keys():
        readers = _apps(released.readers_of(before[name].topics))
        change = "the category was removed"
        remedy = "Keep it as long as its events stand in a log; only stop writing them."
        yield Finding("breaking", "category-removed", name, change, before[name].writer, readers, remedy)
    for name in after.keys() - before.keys():
        change, readers = f"the category is new, topic {after[name].topic}", _apps(now.readers_of(after[name].topics))
        remedy = "Make its topic where the broker asks for that, and let the sidecars' scopes know it."
        yield Finding("compatible", "category-added", name, change, after[name].writer, readers, remedy)
    for name in before.keys() & after.keys():
        yield from _category(before[name], after[name], released)


def _category(before: CategoryEntry, after: CategoryEntry, released: Catalogue) -> Iterator[Finding]:
    readers = _apps(released.readers_of(before.topics))

    def must_not(code: str, what: str, was: object, is_now: object, remedy: str) -> Finding:
        return Finding("breaking", code, before.name, f"{what} was {was}, is {is_now}", before.writer, readers, remedy)

    if before.topic != after.topic:
        remedy = "Keep the topic: what was recorded stands there, and a rebuild would miss it."
        yield must_not("topic-changed", "the topic", before.topic, after.topic, remedy)
    if before.slots != after.slots:
        remedy = "Keep the number of slots, it is set once: subjects would go on in another topic, without order or count."
        yield must_not("slots-changed", "the number of slots", before.slots, after.slots, remedy)
    if before.source != after.source:
        remedy = "Keep the source, it is a name and no address: with another one a repeated event would be a new event."
        yield must_not("source-changed", "the source", before.source, after.source, remedy)


# ── event types ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _types(released: Catalogue, now: Catalogue) -> Iterator[Finding]:
    before, after = released.events, now.events
    for name in before.keys() - after.keys():
        category = before[name][1]
        change, readers = "the event type was removed", _apps(released.readers_of(category.topics, name))
        remedy = "Keep the type and its model as long as its events stand in a log; only stop writing it."
        yield Finding("breaking", "type-removed", name, change, category.writer, readers, remedy)
    for name in after.keys() - before.keys():
        category = after[name][1]
        change, readers = "the event type is new", _apps(now.readers_of(category.topics, name))
        remedy = "Deploy the readers that handle it before the writer; the others pass it over."
        yield Finding("compatible", "type-added", name, change, category.writer, readers, remedy)
    for name in before.keys() & after.keys():
        yield from _Change(released, now, name).findings()


class _Change:
    """One event type as it was released and as it is now."""

    def __init__(self, released: Catalogue, now: Catalogue, name: str) -> None:
        self._before, self._category_before = released.events[name]
        self._after, self._category = now.events[name]
        self._old_readers = released.readers_of(self._category_before.topics, name)
        self._new_readers = now.readers_of(self._category.topics, name)
        self._next = self._before.version + 1

    def findings(self) -> Iterator[Finding]:
        """Return what changed; a version that was raised is one change, for its upcasters answer for the fields."""
        if self._category.name != self._category_before.name:
            change = f"the event type was moved from category {self._category_before.name} to {self._category.name}"
            yield self._old("breaking", "category-changed", change, "Leave it where it was; declare a new type in the other category.")
        yield from self._order()
        if self._after.version < self._before.version:
            change = f"the version went back from {self._before.version} to {self._after.version}"
            remedy = f"Set it to {self._before.version} again: events of it stand in the log, and would be parked."
            yield self._new("breaking", "version-lowered", change, remedy)
        elif self._after.version > self._before.version:
            change = f"the version was raised from {self._before.version} to {self._after.version}{self._summary()}"
            yield self._old("compatible", "version-raised", change, _READERS_FIRST)
        elif root_of(self._before.schema).get("type") != root_of(self._after.schema).get("type"):
            remedy = f"Undo it, or raise the version to {self._next} and add an upcaster that makes the one of the other."
            yield self._new("breaking", "form-changed", "its fields went by their place and go by their names, or the other way", remedy)
        else:
            yield from self._fields()

    def _order(self) -> Iterator[Finding]:
        if self._before.ordered and not self._after.ordered:
            in_need = tuple(reader for reader in self._new_readers if reader.ordered)
            change = "its events may overtake each other now"
            remedy = "Keep the order, or make the rules of these readers commute and declare them ordered = False first."
            if in_need:
                yield self._finding("breaking", "order-given-up", change, in_need, remedy)
            else:
                yield self._new("note", "order-given-up", change, "Nothing: no reader asks for the order.")
        if self._after.ordered and not self._before.ordered:
            change = "its events keep their order now"
            yield self._new("note", "order-kept", change, "Nothing for readers. What was recorded before stays as it lies.")

    def _fields(self) -> Iterator[Finding]:
        before, after = _fields(self._before), _fields(self._after)
        removed = [field for name, field in before.items() if name not in after]
        for name, field in after.items():
            if name in before:
                yield from self._field(before[name], field)
            else:
                yield self._added(field)
        for field in removed:
            yield self._removed(field, [name for name in after if name not in before])

    def _added(self, field: Field) -> Finding:
        if field.required:
            remedy = f"Give it a default, or raise the version to {self._next} and add an upcaster that fills it in."
            return self._new("breaking", "field-added", f"field {field.name} was added without a default", remedy)
        change = f"field {field.name} was added, {_text(field.default)} where an event has none"
        return self._old("compatible", "field-added", change, "Deploy in any order: old readers pass it over.")

    def _removed(self, field: Field, added: Sequence[str]) -> Finding:
        renamed = f" If {' or '.join(added)} is its new name, raise the version to {self._next} with an upcaster instead." if added else ""
        if field.required:
            change = f"field {field.name} was removed, which released readers need"
            return self._old("compatible", "field-removed", change, _READERS_FIRST + renamed)
        change = f"field {field.name} was removed; released readers see {_text(field.default)} instead"
        return self._old("compatible", "field-removed", change, _READERS_FIRST + renamed)

    def _field(self, before: Field, after: Field) -> Iterator[Finding]:
        yield from self._presence(before, after)
        old_are_read = accepts(after.schema, before.schema, self._after.schema, self._before.schema)
        new_are_read = accepts(before.schema, after.schema, self._before.schema, self._after.schema)
        if not old_are_read:
            change = f"field {before.name} does not take every value any more that it took"
            remedy = f"Let it take them, or raise the version to {self._next} and add an upcaster that translates."
            yield self._new("breaking", "field-narrowed" if new_are_read else "field-changed", change, remedy)
        elif not new_are_read:
            change = f"field {before.name} takes values that released readers refuse"
            yield self._old("compatible", "field-widened", change, _READERS_FIRST)
        elif spelled(before.schema, self._before.schema) != spelled(after.schema, self._after.schema):
            change = f"field {before.name} changed inside, where nobody needs it"
            yield self._old("compatible", "field-inside", change, "Deploy in any order: what is new or gone has a default.")

    def _presence(self, before: Field, after: Field) -> Iterator[Finding]:
        if after.required and not before.required:
            remedy = f"Give it {_text(before.default)} as default again, or raise the version to {self._next} and add an upcaster."
            yield self._new("breaking", "field-required", f"field {before.name} has no default any more", remedy)
        elif before.required and not after.required:
            change = f"field {before.name} has a default now, {_text(after.default)}"
            yield self._old("compatible", "field-optional", change, f"Go on writing it until every reader is deployed. {_READERS_FIRST}")
        elif not before.required and before.default != after.default:
            change = f"the default of field {before.name} was {_text(before.default)}, is {_text(after.default)}"
            remedy = f"Keep it, or raise the version to {self._next} with an upcaster that fills in the old one: facts must not change."
            yield self._new("breaking", "default-changed", change, remedy)

    def _summary(self) -> str:
        before, after = _fields(self._before), _fields(self._after)
        parts = [f"added {name}" for name in after if name not in before] + [f"removed {name}" for name in before if name not in after]
        parts += [f"changed {name}" for name in after if name in before and _bare(before[name]) != _bare(after[name])]
        return f": {', '.join(parts)}" if parts else ""

    def _old(self, severity: Severity, code: str, change: str, remedy: str) -> Finding:
        """A change that meets the readers that are deployed."""
        return self._finding(severity, code, change, self._old_readers, remedy)

    def _new(self, severity: Severity, code: str, change: str, remedy: str) -> Finding:
        """A change that meets those of the working tree, when they read what was recorded."""
        return self._finding(severity, code, change, self._new_readers, remedy)

    def _finding(self, severity: Severity, code: str, change: str, readers: Sequence[Reader], remedy: str) -> Finding:
        return Finding(severity, code, self._after.type, change, self._category.writer, _apps(readers), remedy)


def _fields(event: EventEntry) -> Mapping[str, Field]:
    return fields_of(root_of(event.schema))


def _bare(field: Field) -> tuple[Schema, bool, object]:
    return {key: value for key, value in field.schema.items() if key != "description"}, field.required, field.default


def _apps(readers: Sequence[Reader]) -> tuple[str, ...]:
    return tuple(reader.app for reader in readers)


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
