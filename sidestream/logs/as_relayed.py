"""A stored wire as the sidecar puts it into the log: the same event, with keys in order and five characters escaped.

A read model may keep JSON text as it stands in the log. Written anew straight from the store, an event must read there as it did when
the sidecar wrote it, or a rebuild would differ from what was built before. Numbers keep every digit.
"""

from typing import Final

import msgspec

_ESCAPED: Final = tuple((character.encode(), f"\\u{ord(character):04x}".encode()) for character in "<>&\u2028\u2029")
"""What stands in strings only, and what Go's JSON writes for it."""

_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def as_relayed(wire: bytes) -> bytes:
    """Return an event of a store in the form that it has in the log; one that is too deep for that as the store has it."""
    try:
        found = _in_order(wire)
    except RecursionError:  # better the same event in another text than none
        return wire
    for character, escaped in _ESCAPED:
        found = found.replace(character, escaped)
    return found


def _in_order(value: bytes) -> bytes:
    if value.startswith(b"{"):
        fields = _object(value)
        return _encode({name: msgspec.Raw(_in_order(bytes(fields[name]))) for name in sorted(fields)})
    if value.startswith(b"["):
        return _encode([msgspec.Raw(_in_order(bytes(item))) for item in _array(value)])
    return value
