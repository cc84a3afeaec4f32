"""What can be said of a change when apps cannot be imported any more: often the very change took away what they need.

What the other apps declare is compared as ever. A released category that none of them declares, and a released model that is
missed by name, are said too, with who wrote and who read them at the release. Pure.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from sidestream.schema.catalogue import Catalogue
from sidestream.schema.comparing import Finding, compare
from sidestream.schema.models import root_name

_MISSED: Final = re.compile(r"'(?:\w+\.)*(\w+)'")
"""What Python says is not there: `name 'OrderPaid' is not defined`, `No module named 'events.orders'`."""


def with_released_readers(now: Catalogue, released: Catalogue, broken: Mapping[str, str]) -> Catalogue:
    """Return the catalogue with what the broken apps read at the release: who breaks by a change is also among them."""
    lost = tuple(reader for reader in released.readers if reader.app in broken and reader.app not in {each.app for each in now.readers})
    return msgspec.structs.replace(now, readers=now.readers + lost)


def compare_remaining(released: Catalogue, now: Catalogue, broken: Mapping[str, str]) -> Sequence[Finding]:
    """Return what changed, as far as it can be seen.

    Args:
        released: the catalogue of the last release.
        now: what the apps that can be imported declare.
        broken: what is wrong with each of the others.
    """
    declared = {category.name for category in now.categories}
    missed = {word for fault in broken.values() for word in _MISSED.findall(fault)}
    seen = msgspec.structs.replace(released, categories=tuple(each for each in released.categories if each.name in declared))
    return [*_types(released, declared, missed), *_categories(released, declared, missed), *compare(seen, now)]


def _types(released: Catalogue, declared: set[str], missed: set[str]) -> Iterator[Finding]:
    """Yield the released events whose model is missed by name; those of a declared category are compared."""
    for event, category in released.events.values():
        if category.name not in declared and (model := root_name(event.schema)) in missed:
            readers = tuple(reader.app for reader in released.readers_of(category.topics, event.type))
            remedy = "Keep the type and its model as long as its events stand in a log; only stop writing it."
            yield Finding("breaking", "type-removed", event.type, f"its model {model} is missing", category.writer, readers, remedy)


def _categories(released: Catalogue, declared: set[str], missed: set[str]) -> Iterator[Finding]:
    """Yield the released categories that nobody declares; where no app is left to say so, those that are missed by name."""
    for category in released.categories:
        if category.name not in declared and (declared or {category.name, category.topic} & missed):
            readers = tuple(reader.app for reader in released.readers_of(category.topics))
            change = "no app that can be imported declares the category"
            remedy = "Keep it as long as its events stand in a log; only stop writing them. If a broken app declares it, mend that first."
            yield Finding("breaking", "category-removed", category.name, change, category.writer, readers, remedy)
