"""What the golden samples of older versions read as: a digest of every field, as the upcasters leave it.

An upcaster is code, and the catalogue has no schema of it. Edited after a release, it would let the same history be read
otherwise than every read model was built with; so the catalogue keeps these. Pure.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from sidestream.errors import SidestreamError
from sidestream.event import decode_event
from sidestream.registry import Registry

Reading = Mapping[str, str]
"""A digest by field."""
_DIGITS: Final = 16


def readings(registry: Registry, samples: Mapping[str, bytes], versions: Mapping[str, int]) -> Mapping[str, Reading]:
    """Return what each sample of an older version is lifted to; those that cannot be are left out.

    Args:
        registry: the language, with its upcasters.
        samples: the golden samples by `<type>.<version>`.
        versions: the version that the samples of a type are lifted to.
    """
    return {name: dict(_fields(lifted)) for name, wire in sorted(samples.items()) if (lifted := _lifted(registry, name, wire, versions))}


def _lifted(registry: Registry, name: str, wire: bytes, versions: Mapping[str, int]) -> dict[str, Any] | None:
    event_type, _, version = name.rpartition(".")
    newest = versions.get(event_type, 0)
    if not version.isdecimal() or int(version) >= newest:
        return None
    try:
        lifted = registry.lifted(decode_event(wire), newest)
    except SidestreamError:  # said of the sample itself
        return None
    return lifted if isinstance(lifted, dict) else None


def _fields(lifted: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for field, value in sorted(lifted.items()):
        yield field, hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:_DIGITS]
