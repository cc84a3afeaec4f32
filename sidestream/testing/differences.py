"""How two states of a read model differ, said so that the row and the column are seen at once."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from sidestream.projection import Key, Table

_MOST_LINES: Final = 40


def differences(expected: Mapping[Table[Any], Mapping[Key, Any]], found: Mapping[Table[Any], Mapping[Key, Any]]) -> list[str]:
    """Return a line for each row that differs, none when both are the same; at most 40 lines and how many more there are."""
    lines = [line for table in expected for line in _in_table(table, expected[table], found[table])]
    hidden = len(lines) - _MOST_LINES
    return [*lines[:_MOST_LINES], f"  … and {hidden} more"] if hidden > 0 else lines


def _in_table(table: Table[Any], expected: Mapping[Key, Any], found: Mapping[Key, Any]) -> Iterator[str]:
    for key in sorted({*expected, *found}, key=repr):
        if key not in found:
            yield f"  {table.name} {_named(key)}: expected {expected[key]!r}, found no such row"
        elif key not in expected:
            yield f"  {table.name} {_named(key)}: expected no such row, found {found[key]!r}"
        elif expected[key] != found[key]:
            yield f"  {table.name} {_named(key)}: {_columns(expected[key], found[key])}"


def _named(key: Key) -> str:
    return ", ".join(map(repr, key))


def _columns(expected: msgspec.Struct, found: msgspec.Struct) -> str:
    pairs = ((name, getattr(expected, name), getattr(found, name)) for name in expected.__struct_fields__)
    return "; ".join(f"{name}: expected {left!r}, found {right!r}" for name, left, right in pairs if left != right)
