"""The rows of one transaction, in memory: read once, folded, written once. What a raising rule did can be undone."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final, TypeVar

import msgspec

from sidestream.ports import Unit
from sidestream.projection import Key, Table

Row = TypeVar("Row", bound=msgspec.Struct)
_UNKNOWN: Final = object()


class WorkingRows:
    """Implements `sidestream.projection.Rows` over a transaction."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._rows: defaultdict[Table[Any], dict[Key, Any]] = defaultdict(dict)
        self._dirty: defaultdict[Table[Any], set[Key]] = defaultdict(set)
        self._undo: list[tuple[Table[Any], Key, Any]] = []

    def fetch(self, wanted: Iterable[tuple[Table[Any], Key]]) -> None:
        """Read these rows in one go, as far as they are not known."""
        missing: defaultdict[Table[Any], set[Key]] = defaultdict(set)
        for table, key in wanted:
            if key not in self._rows[table]:
                missing[table].add(key)
        for table, keys in missing.items():
            found = self._unit.read(table, keys)
            self._rows[table].update(dict.fromkeys(keys) | dict(found))

    def get(self, table: Table[Row], key: Key) -> Row | None:
        """Return the row as it stands now."""
        rows = self._rows[table]
        if key not in rows:
            rows[key] = self._unit.read(table, (key,)).get(key)
        found: Row | None = rows[key]
        return found

    def put(self, table: Table[Row], row: Row) -> None:
        """Write a row."""
        self._change(table, table.key_of(row), row)

    def delete(self, table: Table[Row], key: Key) -> None:
        """Remove a row."""
        self._change(table, key, None)

    def _change(self, table: Table[Any], key: Key, row: Any) -> None:
        rows = self._rows[table]
        self._undo.append((table, key, rows.get(key, _UNKNOWN)))
        rows[key] = row
        self._dirty[table].add(key)

    def accept(self) -> None:
        """Keep what was changed since the last `accept` or `undo`."""
        self._undo.clear()

    def undo(self) -> None:
        """Forget what was changed since the last `accept` or `undo`."""
        while self._undo:
            table, key, row = self._undo.pop()
            if row is _UNKNOWN:  # written without having been read: forget it altogether
                del self._rows[table][key]
                self._dirty[table].discard(key)
            else:
                self._rows[table][key] = row

    def flush(self) -> None:
        """Write everything that changed into the transaction."""
        for table, keys in self._dirty.items():
            rows = self._rows[table]
            changed = [row for key in keys if (row := rows[key]) is not None]
            gone = [key for key in keys if rows[key] is None]
            if gone:
                self._unit.delete(table, gone)
            if changed:
                self._unit.write(table, changed)
            if table.keep is not None and changed:
                self._unit.keep_newest(table)
        self._dirty.clear()
