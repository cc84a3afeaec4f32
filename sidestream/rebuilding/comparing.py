"""Compares two generations of a projection: rows, what was counted, what is parked.

Both sides are read in the order of their keys, page by page, and merged: memory does not grow with the number of rows.
Only what both have is compared; which tables and columns only one of them has is said.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, Protocol

import msgspec

from sidestream.applying.applied import BOOKKEEPING_PREFIX, CHECKPOINTS, COUNTS, PARKED_EVENTS, STRANGERS, STREAM_VERSIONS, Count
from sidestream.applying.intervals import Intervals
from sidestream.event import digest
from sidestream.ports import Condition, Query, Reader, TableShape, shape_of
from sidestream.projection import Column, Key, Table

PAGE: Final = 2000
SHOWN: Final = 20
"""So many differences are shown whole; all are counted."""
_FINDINGS: Final = 50
_TYPES: Final = {"text": str, "integer": int, "real": float, "boolean": bool, "bytes": bytes}
_PARKED_AS: Final = ("topic", "stream", "source", "event_id")

Values = dict[str, Any]


class RowDifference(msgspec.Struct, frozen=True):
    """One row as each side has it; None where it has none."""

    table: str
    key: Values
    left: Values | None
    right: Values | None


class Comparison(msgspec.Struct):
    """What comparing two generations found.

    Attributes:
        left, right: their names; of a rebuild, the live one and the new one.
        rows: how many pairs of rows were looked at.
        differing: how many of them are not the same.
        shown: the first of these.
        findings: what differs besides rows: numbers that one counted and the other lacks, parked events, the place in the log.
        not_compared: tables and columns that only one side has.
        counted: whether it was looked at what each side has counted.
        lost: how many events of the topics compared the left one has counted and the right one lacks.
        late: how many decisions about dead letters came when the right one had done without them; only a rebuild looks.
        unreadable: why the left one could not be read; then nothing was compared. Empty where it could.
    """

    left: str
    right: str
    rows: int = 0
    differing: int = 0
    shown: list[RowDifference] = []
    findings: list[str] = []
    not_compared: list[str] = []
    counted: bool = False
    lost: int = 0
    late: int = 0
    unreadable: str = ""

    @property
    def same(self) -> bool:
        """Whether they were compared and nothing differs."""
        return not self.differing and not self.findings and not self.unreadable


class Side(msgspec.Struct, frozen=True):
    """One generation in one consistent moment: its name, its rows, its tables, and the version of the rule that built it."""

    name: str
    reader: Reader
    shapes: Sequence[TableShape]
    version: int


class Progress(Protocol):
    """Told now and then how many are done, of how many."""

    def __call__(self, done: int, total: int, /) -> None:
        """Tell it."""
        ...


def compare(left: Side, right: Side, topics: Sequence[str], progress: Progress) -> Comparison:
    """Compare everything that both sides have."""
    result = Comparison(left.name, right.name)
    tables = [*_shared(left, right, result), STRANGERS, *([STREAM_VERSIONS] if left.version == right.version else [])]
    total = sum(max(left.reader.count(table), right.reader.count(table)) for table in tables)
    for table in tables:
        pairs = _pairs(left.reader, right.reader, table)
        noted = _noting_lost(pairs, topics, result) if table is STRANGERS else pairs
        _compare_rows(noted, table, result, lambda: progress(result.rows, total))
    _compare_places(left, right, topics, result)
    _compare_counts(left, right, topics, result)
    _compare_parked(left, right, result)
    return result


# ── which tables ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _shared(left: Side, right: Side, result: Comparison) -> Iterator[Table[Any]]:
    theirs = {shape.name: shape for shape in right.shapes if not shape.name.startswith(BOOKKEEPING_PREFIX)}
    ours = {shape.name: shape for shape in left.shapes if not shape.name.startswith(BOOKKEEPING_PREFIX)}
    for name, side in [*((name, left) for name in ours if name not in theirs), *((name, right) for name in theirs if name not in ours)]:
        result.not_compared.append(f"table {name}: only in {side.name}")
    for name, shape in ours.items():
        if name in theirs:
            yield from _shared_table(shape, theirs[name], result)


def _shared_table(one: TableShape, other: TableShape, result: Comparison) -> Iterator[Table[Any]]:
    types = {column.name: column.type for column in other.columns}
    columns = [column for column in one.columns if types.get(column.name) == column.type]
    names = {column.name for column in columns}
    if one.key != other.key or not set(one.key) <= names:
        result.not_compared.append(f"table {one.name}: its key is {', '.join(one.key)} here and {', '.join(other.key)} there")
        return
    for column in dict.fromkeys(column.name for column in (*one.columns, *other.columns)):
        if column not in names:
            result.not_compared.append(f"table {one.name}: column {column} is not the same on both sides")
    yield read_as(one.name, one.key, columns)


def read_as(name: str, key: tuple[str, ...], columns: Sequence[Column]) -> Table[Any]:
    """Return a table to read some columns of what a database holds, without the code that declared it."""
    # an older release took a key that may be empty; no database took such a row
    maybe_empty = {column.name for column in columns if column.nullable} - {*key}
    fields = [(column.name, _TYPES[column.type] | None if column.name in maybe_empty else _TYPES[column.type]) for column in columns]
    return Table(msgspec.defstruct("Shared", fields, frozen=True), key=key, name=name)


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _compare_rows(pairs: Iterable[tuple[Any, Any]], table: Table[Any], result: Comparison, tell: Callable[[], object]) -> None:
    for at, (ours, theirs) in enumerate(pairs):
        result.rows += 1
        if at % PAGE == 0:
            tell()
        if ours == theirs or _values(table, ours) == _values(table, theirs):
            continue
        result.differing += 1
        if len(result.shown) < SHOWN:
            key = dict(zip(table.key, table.key_of(ours if ours is not None else theirs), strict=True))
            result.shown.append(RowDifference(table.name, key, _values(table, ours), _values(table, theirs)))
    tell()


def _values(table: Table[Any], row: Any) -> Values | None:
    """Return a row's columns. In memory a row may have more of them; a NaN is the same as another."""
    if row is None:
        return None
    return {name: _comparable(getattr(row, name)) for name in table.column_names}


def _comparable(value: Any) -> Any:
    return "NaN" if value != value else value  # noqa: PLR0124  # nothing but a NaN differs from itself


def _rows(reader: Reader, table: Table[Any], *where: Condition) -> Iterator[Any]:
    after: Key | None = None
    while page := reader.select(table, Query(where=where, order_by=table.key, after=after, limit=PAGE)):
        yield from page
        after = table.key_of(page[-1])


def _pairs(left: Reader, right: Reader, table: Table[Any], rows: Callable[..., Iterator[Any]] = _rows) -> Iterator[tuple[Any, Any]]:
    """Merge two sides by key: a row of each, or None where one side has none."""
    key_of = attrgetter(*table.key)
    ours, theirs = rows(left, table), rows(right, table)
    one, other = next(ours, None), next(theirs, None)
    while one is not None or other is not None:
        order = _order(one, other, key_of)
        if order < 0:
            yield one, _elsewhere(right, table, one)
        elif order > 0:
            yield _elsewhere(left, table, other), other
        else:
            yield one, other
        one = next(ours, None) if order <= 0 else one
        other = next(theirs, None) if order >= 0 else other


def _order(one: Any, other: Any, key_of: Any) -> int:
    if one is None or other is None:
        return 1 if one is None else -1
    ours, theirs = key_of(one), key_of(other)
    return -1 if ours < theirs else int(ours != theirs)


def _elsewhere(reader: Reader, table: Table[Any], row: Any) -> Any:
    """Return the row of this key on the other side, which has it only where a database sorts U+0000 otherwise than Python."""
    key: Key = table.key_of(row)
    if any(isinstance(value, str) and ("\x00" in value or "\ufdd0" in value) for value in key):
        return reader.read(table, [key]).get(key)
    return None


def read_through(side: Side) -> None:
    """Read every row, and do nothing with it; raises what a database raises that is broken somewhere."""
    for shape in side.shapes:
        for _ in _rows(side.reader, read_as(shape.name, shape.key, shape.columns)):
            pass


def _find(result: Comparison, finding: str) -> None:
    if len(result.findings) < _FINDINGS:
        result.findings.append(finding)
    elif len(result.findings) == _FINDINGS:
        result.findings.append("and more, which are not listed")


# ── what has been applied ────────────────────────────────────────────────────────────────────────────────────────────


def _compare_places(left: Side, right: Side, topics: Sequence[str], result: Comparison) -> None:
    keys = [(topic,) for topic in topics]
    ours, theirs = left.reader.read(CHECKPOINTS, keys), right.reader.read(CHECKPOINTS, keys)
    for key in keys:
        one, other = ours.get(key), theirs.get(key)
        if (one and (one.source, one.event_id)) != (other and (other.source, other.event_id)):
            places = [f"{side.name} at {at.position if at else 'start'}" for side, at in ((left, one), (right, other))]
            _find(result, f"topic {key[0]}: {', '.join(places)}: not the same place in the log")


def _noting_lost(pairs: Iterable[tuple[Any, Any]], topics: Sequence[str], result: Comparison) -> Iterator[tuple[Any, Any]]:
    """Hand on pairs of strangers; one that only the left side has seen is lost. A topic that is not followed any more is given up."""
    for ours, theirs in pairs:
        result.lost += theirs is None and ours.topic in topics
        yield ours, theirs


def _compare_counts(left: Side, right: Side, topics: Sequence[str], result: Comparison) -> None:
    for ours, theirs in _pairs(left.reader, right.reader, COUNTS):
        if ours == theirs:
            continue
        for side, other, has, lacks in ((left, right, ours, theirs), (right, left, theirs, ours)):
            missing = _numbers(has).without(_numbers(lacks))
            if missing:
                which = f"topic {has.topic}, producer {has.producer}"
                what = f"{len(missing)} numbers that {other.name} lacks: {str(missing)[:200]}"
                _find(result, f"{which}: {side.name} counted {what}")
                result.lost += len(missing) if side is left and has.topic in topics else 0
    result.counted = True


def _numbers(row: Count | None) -> Intervals:
    return Intervals.parse(row.intervals if row else "")


def _compare_parked(left: Side, right: Side, result: Comparison) -> None:
    for ours, theirs in _parked_pairs(left.reader, right.reader):
        if (ours is None) == (theirs is None):
            continue
        row, has, lacks = (ours, left, right) if theirs is None else (theirs, right, left)
        event = f"event {row.event_id or row.stream} ({row.type or 'unreadable'}) of topic {row.topic}"
        _find(result, f"{event}: parked in {has.name} ({row.reason}), not in {lacks.name}")


def parked_only_in(one: Reader, other: Reader) -> set[tuple[str, str]]:
    """Return topic and name of the streams of which one generation has an event parked that the other has not."""
    return {(ours.topic, ours.stream) for ours, theirs in _parked_pairs(one, other) if theirs is None}


def _parked_pairs(left: Reader, right: Reader) -> Iterator[tuple[Any, Any]]:
    shape = shape_of(PARKED_EVENTS)
    wanted = (*_PARKED_AS, "type", "reason")
    table = read_as(shape.name, _PARKED_AS, [column for column in shape.columns if column.name in wanted])
    yield from _pairs(left, right, table, _parked_events)
    ours, theirs = _parked_entries(left), _parked_entries(right)
    yield from ((row, None) for name, rows in ours.items() if name not in theirs for row in rows)
    yield from ((None, row) for name, rows in theirs.items() if name not in ours for row in rows)


def _parked_events(reader: Reader, table: Table[Any]) -> Iterator[Any]:
    """Go through the events that could be read, each once: earlier releases may have parked one again under its number."""
    readable = (row for row in _rows(reader, table) if row.source)
    return (next(same) for _, same in groupby(readable, attrgetter(*table.key)))


def _parked_entries(reader: Reader) -> dict[tuple[str, bytes], list[Any]]:
    """Return the entries that cannot be read, by topic and bytes: earlier releases named them by their positions."""
    found: dict[tuple[str, bytes], list[Any]] = {}
    for row in _rows(reader, PARKED_EVENTS, Condition("event_id", "=", ""), Condition("source", "=", "")):
        found.setdefault((row.topic, digest(row.wire)), []).append(msgspec.structs.replace(row, wire=b""))
    return found
