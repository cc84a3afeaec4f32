"""What every adapter of the read model port promises."""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from sidestream.applying.applied import BOOKKEEPING, HEADS
from sidestream.errors import ConfigurationError, ReadModelError, RefusedByStore, UnknownGeneration, UnreadableGeneration
from sidestream.ports import Condition, Generation, GenerationInfo, Query, ReadModels, shape_of
from sidestream.projection import Newest, Table


class Item(msgspec.Struct, frozen=True):
    name: str
    group: str
    size: int
    share: float
    done: bool
    note: str | None
    raw: bytes


class Line(msgspec.Struct, frozen=True):
    at: int
    text: str


ITEMS = Table(Item, key=("group", "name"), indexes=[("size",), ("group", "size", "name")])
LINES = Table(Line, key=("at",), keep=Newest(3, by=("at",)))
TABLES: tuple[Table[Any], ...] = (ITEMS, LINES)
STATES: tuple[Literal["held", "scratch"], ...] = ("held", "scratch")


def item(name: str, group: str = "a", size: int = 1) -> Item:
    return Item(name, group, size, 0.12345678901234567, True, None, b"\x00\xff")


@pytest.fixture
def generation(read_models: ReadModels) -> Iterator[Generation]:
    opened = read_models.open(read_models.create(1, TABLES, "2026-11-21T00:00:00Z"))
    yield opened
    opened.close()


def test_rows_come_back_as_they_were_written(generation: Generation) -> None:
    rows = [item("plain"), item("emoji 🎈 and \x00 nul", size=2**53 + 1), Item("edge", "a", -(2**63), 1.0, False, "", b"")]
    with generation.unit() as unit:
        unit.write(ITEMS, rows)
    with generation.snapshot() as reader:
        found = reader.read(ITEMS, [ITEMS.key_of(row) for row in rows])
    assert [found[ITEMS.key_of(row)] for row in rows] == rows
    assert type(found["a", "edge"].done) is bool


def test_a_missing_key_is_left_out(generation: Generation) -> None:
    with generation.snapshot() as reader:
        assert reader.read(ITEMS, [("a", "nobody")]) == {}
        assert reader.read(ITEMS, []) == {}


def test_writing_again_replaces_the_row(generation: Generation) -> None:
    with generation.unit() as unit:
        unit.write(ITEMS, [item("x", size=1)])
        unit.write(ITEMS, [item("x", size=2)])
        assert unit.read(ITEMS, [("a", "x")])["a", "x"].size == 2
        assert unit.count(ITEMS) == 1


def test_deleting_a_missing_row_is_no_error(generation: Generation) -> None:
    with generation.unit() as unit:
        unit.write(ITEMS, [item("x"), item("y")])
        unit.delete(ITEMS, [("a", "x"), ("a", "nobody")])
    with generation.snapshot() as reader:
        assert reader.select(ITEMS, Query()) == [item("y")]


def test_an_exception_rolls_everything_back(generation: Generation) -> None:
    with generation.unit() as unit:
        unit.write(ITEMS, [item("x", size=1)])
    with pytest.raises(ZeroDivisionError):
        _write_and_raise(generation)
    with generation.snapshot() as reader:
        assert reader.select(ITEMS, Query()) == [item("x", size=1)]


def _write_and_raise(generation: Generation) -> None:
    with generation.unit() as unit:
        unit.write(ITEMS, [item("x", size=2), item("y")])
        unit.delete(ITEMS, [("a", "x")])
        raise ZeroDivisionError


def test_a_value_the_database_cannot_hold_is_refused_and_nothing_is_written(generation: Generation, request: pytest.FixtureRequest) -> None:
    if "memory" in request.node.name:
        return  # Python holds any integer: there is nothing to refuse
    with pytest.raises(RefusedByStore), generation.unit() as unit:
        unit.write(ITEMS, [item("fine"), item("too large", size=2**63)])
    with generation.snapshot() as reader:
        assert reader.count(ITEMS) == 0


def test_pages_are_complete_and_do_not_overlap(generation: Generation) -> None:
    rows = [item(f"n{at:03}", group="ab"[at % 2], size=at // 3) for at in range(50)]
    with generation.unit() as unit:
        unit.write(ITEMS, rows)
    for descending in (False, True):
        assert _all_pages(generation, descending) == sorted(rows, key=lambda row: (row.size, row.group, row.name), reverse=descending)


def _all_pages(generation: Generation, descending: bool) -> list[Item]:
    found: list[Item] = []
    after: tuple[object, ...] | None = None
    with generation.snapshot() as reader:
        while page := reader.select(ITEMS, Query((), ("size", "group", "name"), descending, after, 7)):
            found.extend(page)
            after = (page[-1].size, page[-1].group, page[-1].name)
    return found


def test_conditions_must_all_hold(generation: Generation) -> None:
    with generation.unit() as unit:
        unit.write(ITEMS, [item(str(size), size=size) for size in range(10)])
        where = (Condition("size", ">=", 3), Condition("size", "<", 6), Condition("group", "=", "a"))
        assert [row.size for row in unit.select(ITEMS, Query(where, ("size",)))] == [3, 4, 5]
        assert unit.count(ITEMS, where) == 3
        assert unit.count(ITEMS, (Condition("note", "=", "x"),)) == 0


def test_thousands_of_rows_at_once_are_written_like_one(generation: Generation) -> None:
    odd = item("o\tdd\\N\n\x00\ufdd0 é🎈")
    for size in (1, 2):  # into an empty table, then over what stands there
        with generation.unit() as unit:
            unit.write(ITEMS, [odd, *(item(str(at), size=at * size) for at in range(4_000 if size == 1 else 4_500, 10_000))])
    with generation.snapshot() as reader:
        assert reader.count(ITEMS) == 6_001
        found = reader.read(ITEMS, [("a", "4000"), ("a", "9999"), ("a", odd.name)])
    assert found["a", "4000"] == item("4000", size=4_000)
    assert found["a", "9999"] == item("9999", size=19_998)
    assert found["a", odd.name] == odd


def test_text_is_ordered_by_code_point(generation: Generation) -> None:
    names = ["a", "B", "é", "z", "Ω", "🎈", "_", "10", "9"]
    with generation.unit() as unit:
        unit.write(ITEMS, [item(name) for name in names])
        assert [row.name for row in unit.select(ITEMS, Query(order_by=("name",)))] == sorted(names)


def test_only_the_newest_rows_are_kept(generation: Generation) -> None:
    with generation.unit() as unit:
        unit.write(LINES, [Line(at, str(at)) for at in (5, 1, 4, 2, 3)])
        unit.keep_newest(LINES)
        assert [row.at for row in unit.select(LINES, Query(order_by=("at",)))] == [3, 4, 5]
        unit.keep_newest(LINES)
        assert unit.count(LINES) == 3


def test_a_snapshot_does_not_see_what_commits_after_it_began(generation: Generation, request: pytest.FixtureRequest) -> None:
    if "memory" in request.node.name:
        return  # there readers and the writer take turns
    with generation.snapshot() as reader:
        assert reader.count(ITEMS) == 0
        with generation.unit() as unit:
            unit.write(ITEMS, [item("late")])
        assert reader.count(ITEMS) == 0
    with generation.snapshot() as reader:
        assert reader.count(ITEMS) == 1


def test_transactions_of_many_threads_lose_no_update(read_models: ReadModels) -> None:
    name = read_models.create(1, TABLES, "now")
    generations = [read_models.open(name) for _ in range(4)]

    def add_fifty(own: Generation) -> None:
        for _ in range(50):
            with own.unit() as unit:
                size = unit.read(ITEMS, [("a", "sum")]).get(("a", "sum"), item("sum", size=0)).size
                unit.write(ITEMS, [item("sum", size=size + 1)])

    threads = [threading.Thread(target=add_fifty, args=(own,)) for own in generations]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with generations[0].snapshot() as reader:
        assert reader.read(ITEMS, [("a", "sum")])["a", "sum"].size == 200
    for own in generations:
        own.close()


def test_a_key_that_may_be_empty_is_refused_before_any_adapter_sees_it() -> None:
    with pytest.raises(ConfigurationError, match="table item: expected a key of columns that are never empty, found note: .*Declare"):
        Table(Item, key=("name", "note"))


# ── generations ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_generation_is_neither_ready_nor_live(read_models: ReadModels) -> None:
    read_models.create(7, TABLES, "2026-11-21T00:00:00Z")
    (info,) = read_models.generations()
    assert (info.name, info.version, info.state, info.created_at, info.live) == ("g1", 7, "building", "2026-11-21T00:00:00Z", False)


def test_the_pointer_moves_only_to_what_is_ready(read_models: ReadModels) -> None:
    first, second = read_models.create(1, TABLES, ""), read_models.create(1, TABLES, "")
    with pytest.raises(ReadModelError, match="building"):
        read_models.switch(first)
    for name in (first, second):
        read_models.mark_ready(name)
        read_models.switch(name)
    assert [info.live for info in read_models.generations()] == [False, True]


def test_the_live_generation_cannot_be_dropped(read_models: ReadModels) -> None:
    name = read_models.create(1, TABLES, "")
    read_models.mark_ready(name)
    read_models.switch(name)
    _write_a_row(read_models, name)
    with pytest.raises(ReadModelError, match=f"generation {name} is live. Switch to another one first."):
        read_models.drop(name)
    assert _is_there_and_live(read_models, name)


def _write_a_row(read_models: ReadModels, name: str) -> None:
    with closing(read_models.open(name)) as generation, generation.unit() as unit:
        unit.write(ITEMS, [item("x")])


def _is_there_and_live(read_models: ReadModels, name: str) -> bool:
    with closing(read_models.open(name)) as generation, generation.snapshot() as reader:
        return reader.count(ITEMS) == 1 and [info.name for info in read_models.generations() if info.live] == [name]


class Looked:
    """What to do once, as soon as somebody has looked at the generations."""

    def __init__(self) -> None:
        self.then: Callable[[], object] | None = None

    def at(self, found: Sequence[GenerationInfo]) -> Sequence[GenerationInfo]:
        then, self.then = self.then, None
        if then is not None:
            then()
        return found


def _with_somebody_else(adapter: str, request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ReadModels, ReadModels, Looked]:
    """Return the same read models twice: those that somebody comes in between of, and his."""
    looked = Looked()
    if adapter == "sqlite":
        from sidestream.adapters.sqlite_read_model import SqliteReadModels

        class SqliteLooked(SqliteReadModels):
            def generations(self) -> Sequence[GenerationInfo]:
                return looked.at(super().generations())

        return SqliteLooked(tmp_path / "tally"), SqliteReadModels(tmp_path / "tally"), looked
    from sidestream.adapters.postgres_read_model import PostgresReadModels

    class PostgresLooked(PostgresReadModels):
        def generations(self) -> Sequence[GenerationInfo]:
            return looked.at(super().generations())

    database = request.getfixturevalue("postgres_database")
    return PostgresLooked(database, "tally"), PostgresReadModels(database, "tally"), looked


@pytest.mark.parametrize("adapter", ["sqlite", "postgres"])
def test_a_generation_that_becomes_live_while_it_is_dropped_stays(adapter: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    ours, theirs, looked = _with_somebody_else(adapter, request, tmp_path)
    with closing(ours), closing(theirs):
        name = ours.create(1, TABLES, "")
        ours.mark_ready(name)
        _write_a_row(ours, name)
        looked.then = lambda: theirs.switch(name)
        with pytest.raises(ReadModelError, match=f"generation {name} is live. Switch to another one first."):
            ours.drop(name)
        assert _is_there_and_live(ours, name)


@pytest.mark.parametrize("adapter", ["sqlite", "postgres"])
def test_of_two_that_drop_a_generation_the_slower_is_told_that_there_is_none(
    adapter: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    ours, theirs, looked = _with_somebody_else(adapter, request, tmp_path)
    with closing(ours), closing(theirs):
        name = ours.create(1, TABLES, "")
        looked.then = lambda: theirs.drop(name)
        with pytest.raises(UnknownGeneration, match=name):
            ours.drop(name)


def test_a_name_is_not_given_twice(read_models: ReadModels) -> None:
    first = read_models.create(1, TABLES, "")
    read_models.drop(first)
    assert read_models.create(1, TABLES, "") != first


def test_generations_do_not_share_rows(read_models: ReadModels) -> None:
    first, second = (read_models.open(read_models.create(1, TABLES, "")) for _ in range(2))
    with first.unit() as unit:
        unit.write(ITEMS, [item("x")])
    with second.snapshot() as reader:
        assert reader.count(ITEMS) == 0
    first.close()
    second.close()


@pytest.mark.parametrize("verb", ["open", "mark_ready", "switch", "drop"])
def test_an_unknown_generation_is_named(read_models: ReadModels, verb: str) -> None:
    with pytest.raises(UnknownGeneration, match="g99"):
        getattr(read_models, verb)("g99")


def test_only_one_may_build_at_a_time(read_models: ReadModels) -> None:
    with read_models.exclusively(), pytest.raises(ReadModelError, match="another rebuild"), read_models.exclusively():
        pass
    with read_models.exclusively():
        pass


# ── the life of a generation ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_generation_knows_its_tables_without_the_code(read_models: ReadModels) -> None:
    name = read_models.create(1, TABLES, "")
    assert tuple(read_models.shapes(name)) == tuple(shape_of(table) for table in TABLES)


def test_what_is_set_aside_cannot_be_live(read_models: ReadModels) -> None:
    for state in STATES:
        name = read_models.create(1, TABLES, "")
        read_models.set_aside(name, state)
        with pytest.raises(ReadModelError, match=state):
            read_models.switch(name)
    assert [info.state for info in read_models.generations()] == ["held", "scratch"]


def test_what_building_took_adds_up(read_models: ReadModels) -> None:
    name = read_models.create(1, TABLES, "")
    read_models.note_built(name, 10, 0.5)
    read_models.note_built(name, 5, 0.25)
    (info,) = read_models.generations()
    assert (info.built_events, info.built_seconds) == (15, 0.75)


def test_the_size_is_what_the_database_takes(read_models: ReadModels, request: pytest.FixtureRequest) -> None:
    name = read_models.create(1, TABLES, "")
    before = read_models.size(name)
    with closing(read_models.open(name)) as generation, generation.unit() as unit:
        unit.write(ITEMS, [item(f"{at:05}" * 20) for at in range(5000)])
    after = read_models.size(name)
    assert (before, after) == (0, 0) if "memory" in request.node.name else after > before + 500_000


def test_the_moves_of_the_pointer_are_remembered_and_rolling_back_forgets_one(read_models: ReadModels) -> None:
    names = [read_models.create(1, TABLES, "") for _ in range(3)]
    for name in names:
        read_models.mark_ready(name)
        read_models.switch(name)
    assert [info.switched for info in read_models.generations()] == [1, 2, 3]
    read_models.roll_back("g2", "since then")
    infos = read_models.generations()
    assert [(info.live, bool(info.switched)) for info in infos] == [(False, True), (True, True), (False, False)]
    assert infos[1].stale_since == "since then"
    read_models.switch("g3")
    read_models.switch("g2")
    assert read_models.generations()[1].stale_since == ""


def test_who_is_refused_is_told_by_whom(read_models: ReadModels) -> None:
    for who in ("the first, with a long name", "another"):
        with read_models.exclusively(who), pytest.raises(ReadModelError, match=f"running: {who}\\."), read_models.exclusively("a third"):
            pass


# ── catalogues of the last release ───────────────────────────────────────────────────────────────────────────────────


def test_a_sqlite_catalogue_of_the_last_release_is_taken_on(tmp_path: Path) -> None:
    from sidestream.adapters.sqlite_read_model import APPLICATION_ID, SqliteReadModels

    with closing(sqlite3.connect(tmp_path / "catalog.sqlite")) as old, old:
        old.execute(
            "CREATE TABLE generations (number INTEGER PRIMARY KEY AUTOINCREMENT, version INTEGER NOT NULL, "
            "state TEXT NOT NULL, created_at TEXT NOT NULL, live INTEGER NOT NULL)"
        )
        old.execute("INSERT INTO generations VALUES (4, 1, 'ready', 'then', 1)")
        old.execute(f"PRAGMA application_id={APPLICATION_ID}")
        old.execute("PRAGMA user_version=1")
    taken = SqliteReadModels(tmp_path)
    (info,) = taken.generations()
    assert (info.name, info.live, info.switched, taken.shapes("g4")) == ("g4", True, 1, ())


def test_a_postgres_catalogue_of_the_last_release_is_taken_on(postgres_database: str) -> None:
    import psycopg

    from sidestream.adapters.postgres_read_model import PostgresReadModels

    with psycopg.connect(postgres_database) as old:
        old.execute("CREATE SCHEMA sidestream")
        old.execute(
            "CREATE TABLE sidestream.generations (projection text NOT NULL, number integer NOT NULL, version integer NOT NULL, "
            "state text NOT NULL, created_at text NOT NULL, live boolean NOT NULL, PRIMARY KEY (projection, number))"
        )
        old.execute("CREATE TABLE sidestream.counters (projection text PRIMARY KEY, last integer NOT NULL)")
        old.execute("INSERT INTO sidestream.generations VALUES ('tally', 4, 1, 'ready', 'then', true)")
        old.execute("COMMENT ON SCHEMA sidestream IS 'sidestream catalogue 1'")
    with closing(PostgresReadModels(postgres_database, "tally")) as taken:
        (info,) = taken.generations()
        assert (info.name, info.live, info.switched, taken.shapes("g4")) == ("g4", True, 1, ())


def test_a_generation_whose_tables_are_gone_is_no_refusal_of_a_value(postgres_database: str) -> None:
    from sidestream.adapters.postgres_read_model import PostgresReadModels

    with closing(PostgresReadModels(postgres_database, "tally")) as read_models:
        name = read_models.create(1, BOOKKEEPING, "")
        generation = read_models.open(name)
        read_models.drop(name)
        with pytest.raises(UnreadableGeneration, match="dropped"), generation.unit():
            pass
        with pytest.raises(UnreadableGeneration, match="dropped"), generation.snapshot() as reader:
            reader.count(HEADS)
