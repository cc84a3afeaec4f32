"""Rows in memory: what is fresh, what is known, what has to be written, and what they weigh."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from sidestream.applying.working_rows import Known, WorkingRows
from sidestream.projection import Newest, Table


class Item(msgspec.Struct, frozen=True):
    name: str
    text: str


ITEMS = Table(Item, key=("name",))
NEWEST = Table(Item, key=("name",), keep=Newest(1, by=("name",)), name="newest")


class Noting:
    """A transaction that notes what is asked of it."""

    def __init__(self, *rows: Item) -> None:
        self.rows = {(row.name,): row for row in rows}
        self.asked: list[Any] = []
        self.written: list[Item] = []
        self.deleted: list[Any] = []

    def read(self, table: Table[Any], keys: Iterable[Any]) -> Mapping[Any, Any]:
        wanted = list(keys)
        self.asked.extend(wanted)
        return {key: self.rows[key] for key in wanted if key in self.rows}

    def select(self, table: Table[Any], query: Any) -> Sequence[Any]:
        return ()

    def count(self, table: Table[Any], where: Any = ()) -> int:
        return 0

    def write(self, table: Table[Any], rows: Sequence[Any]) -> None:
        self.written.extend(rows)

    def delete(self, table: Table[Any], keys: Sequence[Any]) -> None:
        self.deleted.extend(keys)

    def keep_newest(self, table: Table[Any]) -> None:
        """Some may be gone now."""


def test_a_row_is_read_once_whether_it_is_there_or_not() -> None:
    unit = Noting(Item("a", "1"))
    rows = WorkingRows(unit)
    rows.fetch([(ITEMS, ("a",)), (ITEMS, ("b",)), (ITEMS, ("a",))])
    assert (rows.get(ITEMS, ("a",)), rows.get(ITEMS, ("b",))) == (Item("a", "1"), None)
    assert sorted(unit.asked) == [("a",), ("b",)]


def test_what_was_undone_is_not_written_and_what_was_accepted_is() -> None:
    unit = Noting(Item("a", "1"))
    rows = WorkingRows(unit)
    rows.put(ITEMS, Item("b", "2"))
    rows.accept()
    rows.put(ITEMS, Item("b", "3"))
    rows.delete(ITEMS, ("a",))
    rows.undo()
    assert (rows.get(ITEMS, ("a",)), rows.get(ITEMS, ("b",))) == (Item("a", "1"), Item("b", "2"))
    rows.flush(unit)
    assert (unit.written, unit.deleted) == ([Item("b", "2")], [])


def test_only_what_changed_is_written_in_the_order_of_its_keys() -> None:
    known = Known()
    WorkingRows(Noting(Item("a", "1")), known).fetch([(ITEMS, ("a",))])
    unit = Noting()
    rows = WorkingRows(unit, known)
    for name in "dbc":
        rows.put(ITEMS, Item(name, "new"))
    rows.delete(ITEMS, ("x",))
    rows.flush(unit)
    assert [row.name for row in unit.written] == ["b", "c", "d"]
    assert unit.deleted == [("x",)]
    again = Noting()
    WorkingRows(again, known).flush(again)
    assert again.written == []


def test_rows_of_a_table_that_forgets_by_itself_are_not_remembered() -> None:
    known = Known()
    rows = WorkingRows(Noting(), known)
    rows.put(NEWEST, Item("a", "1"))
    rows.flush(Noting())
    assert not known.of(NEWEST)


def test_rows_weigh_what_they_hold_and_less_when_they_are_gone() -> None:
    known = Known()
    rows = WorkingRows(Noting(), known)
    for at in range(200):
        rows.put(ITEMS, Item(f"{at}", "x" * 1000))
    rows.accept()
    assert 200 * 1000 < known.weight < 200 * 2000
    for at in range(200):
        rows.delete(ITEMS, (f"{at}",))
    rows.accept()
    assert known.weight < 200 * 100
