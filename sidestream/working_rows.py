"""The rows of one transaction, in memory: read once, folded, written once. What a raising rule did can be undone."""

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from sidestream.ports import Condition, Query, Unit
from sidestream.projection import Key, Table

Row = TypeVar("Row", bound=msgspec.Struct)
_UNKNOWN: Final = object()
_EVERY: Final = 64
"""One change in so many is weighed."""
_ROW_OVERHEAD: Final = 200
"""About what a row costs besides its values: the Struct, its key, its place in a dictionary."""


class WorkingRows:
    """Implements `sidestream.projection.Rows` over a transaction.

    Two layers: what was read, and over it what was written. None in either: there is no such row.

    Args:
        unit: the transaction that is read from and written into.
        whole: the generation is known to be empty but for what is written here, so that nothing need be read.
    """

    def __init__(self, unit: Unit, *, whole: bool = False) -> None:
        self._unit = unit
        self._whole = whole
        self._read: defaultdict[Table[Any], dict[Key, Any]] = defaultdict(dict)
        self._written: defaultdict[Table[Any], dict[Key, Any]] = defaultdict(dict)
        self._undo: list[tuple[dict[Key, Any], Key, Any]] = []
        self.weight = 0
        """About how many bytes the written rows take, where the generation is whole."""

    def fetch(self, wanted: Iterable[tuple[Table[Any], Key]]) -> None:
        """Read these rows in one go, as far as they are not known."""
        if self._whole:
            return
        missing: defaultdict[Table[Any], set[Key]] = defaultdict(set)
        for table, key in wanted:
            missing[table].add(key)
        for table, keys in missing.items():
            read = self._read[table]
            if unknown := keys - read.keys() - self._written[table].keys():
                read.update(dict.fromkeys(unknown))
                read.update(self._unit.read(table, unknown))

    def get(self, table: Table[Row], key: Key) -> Row | None:
        """Return the row as it stands now."""
        row: Row | None = self._written[table].get(key, _UNKNOWN)
        if row is _UNKNOWN:
            row = None if self._whole else self._look_below(table, key)
        return row

    def _look_below(self, table: Table[Any], key: Key) -> Any:
        read = self._read[table]
        if key not in read:
            read[key] = self._unit.read(table, (key,)).get(key)
        return read[key]

    def put(self, table: Table[Row], row: Row) -> None:
        """Write a row."""
        key = table.key_of(row)
        written = self._written[table]
        self._undo.append((written, key, written.get(key, _UNKNOWN)))
        written[key] = row

    def delete(self, table: Table[Row], key: Key) -> None:
        """Remove a row."""
        written = self._written[table]
        self._undo.append((written, key, written.get(key, _UNKNOWN)))
        written[key] = None

    def accept(self) -> None:
        """Keep what was changed since the last `accept` or `undo`."""
        if self._whole:
            self._weigh()
        self._undo.clear()

    def undo(self) -> None:
        """Forget what was changed since the last `accept` or `undo`."""
        while self._undo:
            written, key, row = self._undo.pop()
            if row is _UNKNOWN:
                del written[key]
            else:
                written[key] = row

    def _weigh(self) -> None:
        """Note by how much the changes since the last `accept` made the rows heavier, from a sample of them."""
        sample = self._undo[::_EVERY]
        grown = sum(_size(written.get(key)) - _size(None if before is _UNKNOWN else before) for written, key, before in sample)
        self.weight += grown * len(self._undo) // max(len(sample), 1)

    def flush(self, unit: Unit) -> None:
        """Write everything that changed into a transaction."""
        for table, written in self._written.items():
            gone = [] if self._whole else [key for key, row in written.items() if row is None]
            changed = [row for row in written.values() if row is not None]
            if gone:
                unit.delete(table, gone)
            if changed:
                unit.write(table, changed)
            if table.keep is not None and changed:
                unit.keep_newest(table)
        self._written.clear()
        self._undo.clear()


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
