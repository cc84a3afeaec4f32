"""The rows a projection works on, in memory: read once, folded, written once. What a raising rule did can be undone.

    fresh    what the rule wrote since the last `accept`; `undo` forgets it
    known    rows as they stand, None where there is none; read, or written and accepted
    changed  which of the known rows the database does not have yet; `flush` writes them

What the database raises when a rule reads a row is not the rule's fault, and `check` and `undo` pass it on, whatever the rule
made of it: after it a transaction may not be gone on with. What a rule writes that is not of its column's type is refused by
`flush`, on every database alike.

Known rows may outlive a transaction: they are right as long as nobody else has written to the generation, and whoever
keeps them has to know that (see `sidestream.applying.remembered`).
"""

import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec

from sidestream.applying.row_types import check_deleted, check_key, check_rows
from sidestream.errors import ConfigurationError
from sidestream.ports import Condition, Query, Unit
from sidestream.projection import Key, Table

Row = TypeVar("Row", bound=msgspec.Struct)
_UNKNOWN: Final = object()
_EVERY: Final = 64
"""One change in so many is weighed."""
_ROW_OVERHEAD: Final = 200
"""About what a row costs besides its values: the Struct, its key, its place in a dictionary."""


class Known:
    """Rows as they stand in a generation, as far as they have been looked at.

    Attributes:
        weight: about how many bytes they take.
    """

    def __init__(self) -> None:
        self.rows: dict[Table[Any], dict[Key, Any]] = {}
        self.weight = 0

    def of(self, table: Table[Any]) -> dict[Key, Any]:
        """Return the rows of one table."""
        return self.rows.setdefault(table, {})

    def clear(self) -> None:
        """Forget every row."""
        self.rows.clear()
        self.weight = 0


class WorkingRows:
    """Implements `sidestream.projection.Rows` over a transaction.

    Args:
        unit: the transaction that is read from and written into.
        known: rows that need not be read; what is read and written here is added to them.
        whole: the generation is known to be empty but for what is written here, so that nothing need be read.
        declared: the tables there are; None: whichever are asked for.
    """

    def __init__(
        self, unit: Unit, known: Known | None = None, *, whole: bool = False, declared: Collection[Table[Any]] | None = None
    ) -> None:
        self._unit = unit
        self._whole = whole
        self._declared = declared
        self._failure: Exception | None = None
        self._kept = known or Known()
        self._layers: dict[Table[Any], tuple[dict[Key, Any], dict[Key, Any]]] = {}
        self._changed: dict[Table[Any], set[Key]] = {}

    def _layers_of(self, table: Table[Any]) -> tuple[dict[Key, Any], dict[Key, Any]]:
        """Return what is fresh and what is known of a table."""
        if table not in self._layers:
            if self._declared is not None and table not in self._declared:
                raise ConfigurationError(f"expected a table of the projection, found {table!r}. Name it in `tables`.")
            self._layers[table] = ({}, self._kept.of(table))
        return self._layers[table]

    def fetch(self, wanted: Iterable[tuple[Table[Any], Key]]) -> None:
        """Read these rows in one go, as far as they are not known."""
        if self._whole:
            return
        missing: defaultdict[Table[Any], set[Key]] = defaultdict(set)
        last: Table[Any] | None = None
        known: dict[Key, Any] = {}
        for table, key in wanted:
            if table is not last:  # the keys of one table mostly stand together
                last, known = table, self._layers_of(table)[1]
            if key not in known:
                missing[table].add(key)
        for table, keys in missing.items():
            self._read(table, keys)

    def _read(self, table: Table[Any], keys: Collection[Key]) -> None:
        found = self._unit.read(table, keys)
        known = self._layers_of(table)[1]
        known.update(dict.fromkeys(keys))
        known.update(found)
        sample = list(islice(found.values(), 0, None, _EVERY))
        self._kept.weight += sum(map(_size, sample)) * len(found) // max(len(sample), 1) + (len(keys) - len(found)) * _ROW_OVERHEAD

    def get(self, table: Table[Row], key: Key) -> Row | None:
        """Return the row as it stands now."""
        try:
            fresh, known = self._layers[table]  # the hot path of every rule: no call, no default
        except KeyError:
            fresh, known = self._layers_of(table)
        row: Row | None = fresh.get(key, _UNKNOWN)
        if row is _UNKNOWN:
            row = known.get(key, _UNKNOWN)
            if row is _UNKNOWN:
                row = self._look_below(table, key)
        return row

    def _look_below(self, table: Table[Any], key: Key) -> Any:
        check_key(table, key)
        if self._whole:
            return None
        try:
            self._read(table, (key,))
        except Exception as error:
            self._failure = self._failure or error  # the first one: after it a transaction may raise for everything
            raise
        return self._layers[table][1][key]

    def put(self, table: Table[Row], row: Row) -> None:
        """Write a row."""
        try:
            self._layers[table][0][table.key_of(row)] = row
        except KeyError:
            self._layers_of(table)[0][table.key_of(row)] = row

    def delete(self, table: Table[Row], key: Key) -> None:
        """Remove a row."""
        check_deleted(table, key)
        self._layers_of(table)[0][key] = None

    def check(self) -> None:
        """Raise what the database raised when a row was read, even where the rule caught it."""
        if self._failure is not None:
            raise self._failure

    def accept(self) -> None:
        """Keep what was changed since the last `accept` or `undo`."""
        for table, (fresh, known) in self._layers.items():
            if fresh:
                self._weigh(known, fresh)
                known.update(fresh)
                if not self._whole:  # there every known row is a change
                    self._changed.setdefault(table, set()).update(fresh)
                fresh.clear()

    def undo(self) -> None:
        """Forget what was changed since the last `accept` or `undo`; then do as `check`."""
        for fresh, _ in self._layers.values():
            fresh.clear()
        self.check()

    def _weigh(self, known: Mapping[Key, Any], fresh: Mapping[Key, Any]) -> None:
        """Note by how much the changes make the rows heavier, from a sample of them."""
        sample = list(islice(fresh.items(), 0, None, _EVERY))
        grown = sum(_size(row) - _size(known.get(key)) for key, row in sample)
        self._kept.weight += grown * len(fresh) // len(sample)

    def flush(self, unit: Unit) -> None:
        """Write everything that changed into a transaction; raises RefusedByStore for what is not of its column's type."""
        self.accept()
        for table, (_, known) in self._layers.items():
            changed = _ordered(known if self._whole else self._changed.get(table, ()))
            rows = [row for key in changed if (row := known[key]) is not None]
            check_rows(table, rows)
            if not self._whole and (gone := [key for key in changed if known[key] is None]):
                unit.delete(table, gone)
            if rows:
                unit.write(table, rows)
            if table.keep is not None and rows:
                unit.keep_newest(table)
                known.clear()  # some are gone now
        self._changed.clear()


def _ordered(keys: Collection[Key]) -> Collection[Key]:
    """Return keys in the order of the database, where each is beside the one before: it touches fewer pages so."""
    try:
        return sorted(keys)
    except TypeError:  # keys of several types, refused with their rows, or of memoryviews: any order will do
        return keys


def _size(row: Any) -> int:
    return sum(map(sys.getsizeof, msgspec.structs.astuple(row))) + _ROW_OVERHEAD if row is not None else 0


class _Nothing:
    """A transaction on a generation that holds nothing; see `sidestream.ports.Unit`."""

    def read(self, table: Table[Row], keys: Iterable[Key]) -> Mapping[Key, Row]:
        return {}

    def select(self, table: Table[Row], query: Query) -> Sequence[Row]:
        return ()

    def count(self, table: Table[Any], where: Sequence[Condition] = ()) -> int:
        return 0

    def write(self, table: Table[Row], rows: Sequence[Row]) -> None:
        raise NotImplementedError("what was folded over nothing is committed into the generation's own transaction")

    def delete(self, table: Table[Any], keys: Sequence[Key]) -> None:
        raise NotImplementedError("there is nothing to delete")

    def keep_newest(self, table: Table[Any]) -> None:
        raise NotImplementedError("there is nothing to keep")


NOTHING: Final[Unit] = _Nothing()
