"""A projection is declared, not programmed: which topics and events, which rows, and one pure rule.

    keys(event)         the rows the rule will look at, so that a batch reads them all at once
    evolve(rows, event) reads and writes these rows; no I/O, no clock, no random source

Its result may depend on order within a subject only; across subjects the rule must commute. The projector keeps what
was applied, in the same transaction as the rows; the rule is called once per event. Rows are frozen msgspec Structs.
"""

import types
import typing
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, Final, Generic, Literal, Protocol, TypeVar

import msgspec

from sidestream.errors import ConfigurationError
from sidestream.event import Envelope

Row = TypeVar("Row", bound=msgspec.Struct)
Key = tuple[Any, ...]
ColumnType = Literal["text", "integer", "real", "boolean", "bytes"]

_COLUMN_TYPES: Final[dict[type, ColumnType]] = {str: "text", int: "integer", float: "real", bool: "boolean", bytes: "bytes"}


class Column(msgspec.Struct, frozen=True):
    """One column of a table: its name, its type, and whether it may be empty."""

    name: str
    type: ColumnType
    nullable: bool = False


class Newest(msgspec.Struct, frozen=True):
    """Keep only the `count` rows that are greatest by these columns; the rest is forgotten at the end of each batch."""

    count: int
    by: tuple[str, ...]


class Table(Generic[Row]):
    """The rows of one kind that a projection keeps.

    Args:
        model: a frozen Struct whose fields are str, int (64 bits), float, bool or bytes, each also `| None`.
        key: the fields that identify a row; none of them `| None`.
        indexes: lists of fields that queries filter or order by.
        keep: forget the oldest rows; a rule must not read such a table.
        name: its name in the database; by default the model's in lower case.
    """

    def __init__(
        self,
        model: type[Row],
        *,
        key: tuple[str, ...],
        indexes: Iterable[tuple[str, ...]] = (),
        keep: Newest | None = None,
        name: str | None = None,
    ) -> None:
        self.model = model
        self.name = name or model.__name__.lower()
        self.columns = tuple(_column(model, field) for field in msgspec.structs.fields(model))
        self.key = key
        self.indexes = tuple(indexes)
        self.keep = keep
        self._check_columns()
        self.key_of: Callable[[Row], Key] = attrgetter(*key) if len(key) > 1 else _tuple_of_one(attrgetter(*key))
        """Returns the key of a row."""

    def _check_columns(self) -> None:
        used = {*self.key, *(name for index in self.indexes for name in index), *(self.keep.by if self.keep else ())}
        missing = used - set(self.column_names)
        if missing or not self.key:
            raise ConfigurationError(f"table {self.name}: expected a key and indexes of its own columns, found {sorted(missing)} in none")
        if empty := [column.name for column in self.columns if column.nullable and column.name in self.key]:
            raise ConfigurationError(
                f"table {self.name}: expected a key of columns that are never empty, found {', '.join(empty)}: no database takes a row "
                "without one. Declare the field without `| None`, or leave it out of the key."
            )

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of all columns, in the order of the model's fields."""
        return tuple(column.name for column in self.columns)

    def row(self, values: Iterable[Any]) -> Row:
        """Make a row of column values, in the order of the columns."""
        return self.model(*values)

    def values(self, row: Row) -> tuple[Any, ...]:
        """Return the column values of a row, in the order of the columns."""
        return msgspec.structs.astuple(row)

    def __repr__(self) -> str:
        return f"Table({self.name})"


def _tuple_of_one(getter: Callable[[Any], Any]) -> Callable[[Any], Key]:
    return lambda row: (getter(row),)


def _column(model: type[msgspec.Struct], field: msgspec.structs.FieldInfo) -> Column:
    options = set(typing.get_args(field.type)) if typing.get_origin(field.type) in (typing.Union, types.UnionType) else {field.type}
    nullable = type(None) in options
    options.discard(type(None))
    if len(options) != 1 or (found := options.pop()) not in _COLUMN_TYPES:
        raise ConfigurationError(f"{model.__name__}.{field.name}: expected str, int, float, bool or bytes, found {field.type}")
    return Column(field.name, _COLUMN_TYPES[found], nullable)


class Rows(Protocol):
    """The rows a rule works on. Reading a row that `keys` did not name works too, one read at a time.

    A key has a value for each column of its table's key, and a row is of its columns' types: the event of one that is not is
    parked. What the database raises in `get` is not for the rule to catch.
    """

    def get(self, table: Table[Row], key: Key) -> Row | None:
        """Return the row with this key as the rule would find it now, or None."""
        ...

    def put(self, table: Table[Row], row: Row) -> None:
        """Write a row, new or instead of the one with its key."""
        ...

    def delete(self, table: Table[Row], key: Key) -> None:
        """Remove the row with this key, if there is one."""
        ...


class Projection:
    """The rule that makes one read model. Subclass it; declare, then write `keys` and `evolve`.

    Attributes:
        name: stable word, also the name of its database schema or folder: lower-case letters, digits, underscore.
        version: raise it when rows or rule change; a rebuild makes the new generation.
        topics: the topics it follows.
        handles: the event models it is called for; empty: it is called for every event, with the raw data.
        tables: its tables.
        ordered: whether it needs a stream's events in order; False for a rule that commutes altogether.
    """

    name: str
    version: int = 1
    topics: tuple[str, ...]
    handles: tuple[type[msgspec.Struct], ...] = ()
    tables: tuple[Table[Any], ...]
    ordered: bool = True

    def keys(self, event: Any, envelope: Envelope) -> Iterable[tuple[Table[Any], Key]]:
        """Name the rows that `evolve` will look at for this event, as far as they are known beforehand."""
        return ()

    def evolve(self, rows: Rows, event: Any, envelope: Envelope) -> None:
        """Change the rows as this event demands.

        Args:
            rows: the rows as all events before left them.
            event: the event as its model, or the raw JSON data where `handles` is empty.
            envelope: its attributes: id, time, subject, correlation.
        """
        raise NotImplementedError(f"{type(self).__name__}.evolve")
