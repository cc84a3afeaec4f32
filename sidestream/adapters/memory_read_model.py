"""Read models in memory: plain Python, the specification of the port."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import eq, ge, gt, le, lt
from typing import Any, Final, Literal, TypeVar

import msgspec

from sidestream.errors import ReadModelError, UnknownGeneration
from sidestream.ports import Condition, GenerationInfo, Query, Reader, TableShape, Unit, shape_of
from sidestream.projection import Key, Table

Row = TypeVar("Row", bound=msgspec.Struct)
Rows = dict[str, dict[Key, Any]]

_COMPARISONS: Final = {"=": eq, "<": lt, "<=": le, ">": gt, ">=": ge}


def _fulfils(row: Any, where: Sequence[Condition]) -> bool:
    """As in SQL, an empty value fulfils no condition."""
    for condition in where:
        value = getattr(row, condition.column)
        if value is None or condition.value is None or not _COMPARISONS[condition.comparison](value, condition.value):
            return False
    return True


class _MemoryReader:
    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def read(self, table: Table[Row], keys: Iterable[Key]) -> Mapping[Key, Row]:
        rows = self._rows[table.name]
        return {key: rows[key] for key in keys if key in rows}

    def select(self, table: Table[Row], query: Query) -> Sequence[Row]:
        def place(row: Row) -> tuple[Any, ...]:
            return tuple(getattr(row, name) for name in query.order_by)

        found = [row for row in self._rows[table.name].values() if _fulfils(row, query.where)]
        found.sort(key=place, reverse=query.descending)
        if query.after is not None:
            after = query.after
            found = [row for row in found if (place(row) < after if query.descending else place(row) > after)]
        return found[: query.limit]

    def count(self, table: Table[Any], where: Sequence[Condition] = ()) -> int:
        return sum(_fulfils(row, where) for row in self._rows[table.name].values())


class _MemoryUnit(_MemoryReader):
    """Writes at once and remembers how to go back."""

    def __init__(self, rows: Rows) -> None:
        super().__init__(rows)
        self._undo: list[tuple[str, Key, Any]] = []

    def write(self, table: Table[Row], rows: Sequence[Row]) -> None:
        for row in rows:
            self._set(table, table.key_of(row), row)

    def delete(self, table: Table[Any], keys: Sequence[Key]) -> None:
        for key in keys:
            self._set(table, key, None)

    def keep_newest(self, table: Table[Any]) -> None:
        keep = table.keep
        if keep is None or len(self._rows[table.name]) <= keep.count:
            return
        newest = self.select(table, Query(order_by=keep.by, descending=True, limit=len(self._rows[table.name])))
        self.delete(table, [table.key_of(row) for row in newest[keep.count :]])

    def _set(self, table: Table[Any], key: Key, row: Any) -> None:
        rows = self._rows[table.name]
        self._undo.append((table.name, key, rows.get(key)))
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = row

    def roll_back(self) -> None:
        for name, key, row in reversed(self._undo):
            if row is None:
                self._rows[name].pop(key, None)
            else:
                self._rows[name][key] = row


class MemoryGeneration:
    """One generation as dictionaries. Readers and the writer take turns."""

    def __init__(self, name: str, tables: Sequence[Table[Any]]) -> None:
        self.name = name
        self.shapes = tuple(map(shape_of, tables))
        self._rows: Rows = {table.name: {} for table in tables}
        self._lock = threading.RLock()

    @contextmanager
    def unit(self) -> Iterator[Unit]:
        """See `sidestream.ports.Generation`."""
        with self._lock:
            unit = _MemoryUnit(self._rows)
            try:
                yield unit
            except BaseException:
                unit.roll_back()
                raise

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """See `sidestream.ports.Generation`."""
        with self._lock:
            yield _MemoryReader(self._rows)

    def check(self) -> None:
        """Memory is lost with the process only."""

    def close(self) -> None:
        """Nothing to release; the rows stay."""


class MemoryReadModels:
    """All generations of one projection in one process."""

    def __init__(self) -> None:
        self._infos: dict[str, GenerationInfo] = {}
        self._generations: dict[str, MemoryGeneration] = {}
        self._created = 0
        self._lock = threading.RLock()
        self._building = threading.Lock()
        self._holder = ""
        self._beside: MemoryGeneration | None = None

    def beside(self, tables: Sequence[Table[Any]]) -> MemoryGeneration:
        """See `sidestream.ports.ReadModels`."""
        with self._lock:
            self._beside = self._beside or MemoryGeneration("beside", tables)
            return self._beside

    def generations(self) -> Sequence[GenerationInfo]:
        """See `sidestream.ports.ReadModels`."""
        with self._lock:
            return tuple(self._infos.values())

    def create(self, version: int, tables: Sequence[Table[Any]], created_at: str) -> str:
        """See `sidestream.ports.ReadModels`."""
        with self._lock:
            self._created += 1
            name = f"g{self._created}"
            self._infos[name] = GenerationInfo(name, version, "building", created_at, live=False)
            self._generations[name] = MemoryGeneration(name, tables)
            return name

    def open(self, name: str) -> MemoryGeneration:
        """See `sidestream.ports.ReadModels`."""
        with self._lock:
            self._info(name)
            return self._generations[name]

    def shapes(self, name: str) -> Sequence[TableShape]:
        """See `sidestream.ports.ReadModels`."""
        return self.open(name).shapes

    def size(self, name: str) -> int:
        """See `sidestream.ports.ReadModels`."""
        self._info(name)
        return 0

    def mark_ready(self, name: str) -> None:
        """See `sidestream.ports.ReadModels`."""
        self._change(name, state="ready")

    def set_aside(self, name: str, state: Literal["held", "scratch"]) -> None:
        """See `sidestream.ports.ReadModels`."""
        self._change(name, state=state)

    def note_built(self, name: str, events: int, seconds: float) -> None:
        """See `sidestream.ports.ReadModels`."""
        info = self._info(name)
        self._change(name, built_events=info.built_events + events, built_seconds=info.built_seconds + seconds)

    def switch(self, name: str, stale_since: str = "") -> None:
        """See `sidestream.ports.ReadModels`."""
        with self._lock:
            state = self._info(name).state
            if state != "ready":
                raise ReadModelError(f"generation {name}: expected it ready, found it {state}. Let the rebuild finish first.")
            moves = 1 + max(info.switched for info in self._infos.values())
            for each in self._infos:
                self._change(each, live=each == name)
            self._change(name, switched=moves, stale_since=stale_since)

    def roll_back(self, name: str, stale_since: str = "") -> None:
        """See `sidestream.ports.ReadModels`."""
        with self._lock:
            leaves = [info.name for info in self._infos.values() if info.live and info.name != name]
            self.switch(name, stale_since)
            for each in leaves:
                self._change(each, switched=0)

    def _change(self, name: str, **changes: Any) -> None:
        with self._lock:
            self._infos[name] = msgspec.structs.replace(self._info(name), **changes)

    def drop(self, name: str) -> None:
        """See `sidestream.ports.ReadModels`."""
        with self._lock:
            if self._info(name).live:
                raise ReadModelError(f"generation {name} is live. Switch to another one first.")
            del self._infos[name], self._generations[name]

    @contextmanager
    def exclusively(self, who: str = "") -> Iterator[None]:
        """See `sidestream.ports.ReadModels`."""
        if not self._building.acquire(blocking=False):
            raise ReadModelError(f"another rebuild of this projection is running: {self._holder or 'unnamed'}. Wait for it, or stop it.")
        try:
            self._holder = who
            yield
        finally:
            self._building.release()

    def close(self) -> None:
        """Nothing to release."""

    def _info(self, name: str) -> GenerationInfo:
        if name not in self._infos:
            raise UnknownGeneration(f"expected one of {', '.join(self._infos) or 'no generation'}, found {name!r}")
        return self._infos[name]
