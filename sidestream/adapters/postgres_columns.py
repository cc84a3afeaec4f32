"""Columns of values as arrays in PostgreSQL's binary form, put together at once.

psycopg dumps a list item by item, in Python, and looks at each item first to find its type; here the type is known, and the
work an item is a third of that. Whoever uses them casts the parameter: `%b::bigint[]`.

    number of dimensions, whether an item is null, type of the items │ length, first index │ each item: its size, its bytes

Source: array_recv in src/backend/utils/adt/arrayfuncs.c; sizes and types in network order, a null has the size -1.
"""

from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from struct import Struct
from typing import Any, Final

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEAD: Final = Struct("!iiIii").pack
_EMPTY: Final = Struct("!iiI").pack
_SIZE: Final = Struct("!i").pack
_BOOLEAN: Final = Struct("!i?").pack
_INTEGER: Final = Struct("!ii").pack
_BIGINT: Final = Struct("!iq").pack
_NULL: Final = _SIZE(-1)
_OF_BOOLEAN, _OF_BYTEA, _OF_BIGINT, _OF_INTEGER, _OF_TEXT = 16, 17, 20, 23, 25
"""The types' numbers, which every server has: src/include/catalog/pg_type.dat."""


class Column(bytes):
    """An array, as it travels."""

    __slots__ = ()


class _ColumnDumper(Dumper):
    """Sends a column as it is; the cast in the statement says what it is an array of."""

    format = Format.BINARY
    oid = 0

    def dump(self, obj: Any) -> Buffer:
        return bytes(obj)


def teach(connection: psycopg.Connection[Any]) -> None:
    """Let statements of a connection take columns."""
    connection.adapters.register_dumper(Column, _ColumnDumper)


def booleans(values: Sequence[bool]) -> Column:
    """Return a `boolean[]`."""
    return _column(_OF_BOOLEAN, len(values), map(_BOOLEAN, repeat(1), values))


def integers(values: Sequence[int]) -> Column:
    """Return an `integer[]`."""
    return _column(_OF_INTEGER, len(values), map(_INTEGER, repeat(4), values))


def bigints(values: Sequence[int | None]) -> Column:
    """Return a `bigint[]`."""
    if None in values:
        return _column(_OF_BIGINT, len(values), (_NULL if value is None else _BIGINT(8, value) for value in values), has_null=True)
    return _column(_OF_BIGINT, len(values), map(_BIGINT, repeat(8), values))


def texts(values: Sequence[str | None]) -> Column:
    """Return a `text[]`. The connection speaks UTF-8."""
    return _sized(_OF_TEXT, [None if value is None else value.encode() for value in values])


def byteas(values: Sequence[bytes]) -> Column:
    """Return a `bytea[]`."""
    return _sized(_OF_BYTEA, values)


def _sized(kind: int, values: Sequence[bytes | None]) -> Column:
    if None in values:
        items = (_NULL if value is None else _SIZE(len(value)) + value for value in values)
        return _column(kind, len(values), items, has_null=True)
    sizes = map(_SIZE, map(len, values))  # type: ignore[arg-type]  # none of them is None
    return _column(kind, len(values), chain.from_iterable(zip(sizes, values, strict=True)))  # type: ignore[arg-type]


def _column(kind: int, length: int, items: Iterable[bytes], *, has_null: bool = False) -> Column:
    if not length:
        return Column(_EMPTY(0, 0, kind))
    return Column(b"".join((_HEAD(1, has_null, kind, length, 1), *items)))
