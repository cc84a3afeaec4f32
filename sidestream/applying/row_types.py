"""Holds the keys that a rule names and the rows it writes against the tables it declared, before any database sees them.

A Struct takes any value for any field. A column does not, and each database refuses others: so what none should be given is
refused here, as the fault of the one event that brought it, on each alike. A column of floats takes an integer, every column a
subclass of its type.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from itertools import islice
from typing import Any, Final

import msgspec

from sidestream.errors import RefusedByStore
from sidestream.projection import Column, ColumnType, Key, Table

_TYPES: Final[Mapping[ColumnType, tuple[type, ...]]] = {
    "text": (str,),
    "integer": (int,),
    "real": (float, int),
    "boolean": (bool,),
    "bytes": (bytes, bytearray, memoryview),
}
_NATIVE: Final = (bytes,)
"""Not as in JSON, where bytes are text."""
_PIECE: Final = 250
"""Rows that are looked at together, few enough for the processor's cache."""


def check_rows(table: Table[Any], rows: Iterable[Any]) -> None:
    """Raise RefusedByStore where a row holds what its table cannot: about 0.1 µs a row where none does."""
    left, form = iter(rows), _form(table)
    while piece := list(islice(left, _PIECE)):
        try:
            msgspec.convert((list(map(msgspec.structs.astuple, piece)),), form, builtin_types=_NATIVE)
        except (msgspec.ValidationError, TypeError, ValueError):
            _check_each(table, piece)


def _check_each(table: Table[Any], rows: Iterable[Any]) -> None:
    """Find the row and the column; a value of a subclass is in order."""
    for row in rows:
        try:
            _check(table, table.columns, msgspec.structs.astuple(row))
        except (TypeError, ValueError) as error:
            raise RefusedByStore(f"a row that does not fit its table: {error}") from error


@cache
def _form(table: Table[Any]) -> type[msgspec.Struct]:
    """Return what the rows of a table convert to if they are as declared; made once, because that is slow."""
    fields = [(field.name, field.type) for field in msgspec.structs.fields(table.model)]
    row = msgspec.defstruct("Row", fields, array_like=True, forbid_unknown_fields=True, gc=False)
    return msgspec.defstruct("Rows", [("rows", list[row])], array_like=True, gc=False)  # type: ignore[valid-type]


def check_key(table: Table[Any], key: Key) -> None:
    """Raise TypeError where a key has not one value for each column of its table's key."""
    if len(key) != len(table.key):
        raise TypeError(f"{table.name}: expected a key of {', '.join(table.key)}, found {key!r}")


def check_deleted(table: Table[Any], key: Key) -> None:
    """Raise TypeError where a key can be no row's."""
    if not isinstance(key, tuple):
        raise TypeError(f"{table.name}: expected a tuple of {', '.join(table.key)}, found {key!r}")
    check_key(table, key)
    _check(table, _key_columns(table), key)


@cache
def _key_columns(table: Table[Any]) -> tuple[Column, ...]:
    columns = {column.name: column for column in table.columns}
    return tuple(columns[name] for name in table.key)


def check_named(widths: Mapping[Table[Any], int], named: Iterable[tuple[Table[Any], Key]]) -> None:
    """Raise TypeError or ValueError where what `keys` named cannot be looked up.

    Args:
        widths: the tables of the projection, and how many columns their keys have.
        named: pairs of table and key.
    """
    for table, key in set(named):
        if len(key) != widths.get(table):
            raise TypeError(f"expected a table of the projection and a key of as many values as its own, found {table!r}, {key!r}")


def _check(table: Table[Any], columns: Iterable[Column], values: Iterable[Any]) -> None:
    for column, value in zip(columns, values, strict=True):
        if not isinstance(value, _TYPES[column.type]) and not (value is None and column.nullable):
            expected = f"{_TYPES[column.type][0].__name__}{' or None' if column.nullable else ''}"
            raise TypeError(f"{table.name}.{column.name}: expected {expected}, found {value!r}")
