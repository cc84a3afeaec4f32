"""Every question that the doors of a projection can ask of its tables is answered from an index, in order, unsorted."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
from starlette.testclient import TestClient

from projections.activity import bootstrap as activity
from projections.asset_catalog import bootstrap as asset_catalog
from projections.order_book import bootstrap as order_book
from projections.tally import bootstrap as tally
from services.shipping import bootstrap as shipping
from sidestream.adapters.sql_text import create_table, select_page
from sidestream.backbone import MemoryBackbone
from sidestream.ports import Condition, Query, Reader
from sidestream.projection import Key, Table
from sidestream.settings import Settings
from sidestream.web.paging import encode_cursor
from sidestream.web.projections import read_live

TYPES: Mapping[Any, str] = {"text": "TEXT", "integer": "INTEGER", "real": "REAL", "boolean": "INTEGER", "bytes": "BLOB"}


class Asked:
    """A read model without rows that remembers what it was asked."""

    def __init__(self) -> None:
        self.queries: list[tuple[Table[Any], Query]] = []

    @contextmanager
    def __call__(self) -> Iterator[Reader]:
        yield self

    def read(self, table: Table[Any], keys: Iterable[Key]) -> Mapping[Key, Any]:
        return {}

    def select(self, table: Table[Any], query: Query) -> Sequence[Any]:
        self.queries.append((table, query))
        return []

    def count(self, table: Table[Any], where: Sequence[Condition] = ()) -> int:
        return 0


TIME_CURSOR = encode_cursor(["2026", "s", "i", "d"])
QUESTIONS = [
    (tally, "/polls"),
    (tally, "/polls?cursor=" + encode_cursor(["a"])),
    (tally, "/polls/a?cursor=" + encode_cursor([1, "a"])),
    *((asset_catalog, "/" + path) for path in ("duplicates", "types", "tags")),
    (asset_catalog, "/duplicates?cursor=" + encode_cursor(["1", "a", 1])),
    *(
        (asset_catalog, f"/assets?{filters}")
        for filters in ("", "type=t", "under=/a", "sha256=a", "type=t&under=/a", "tag=a", "tag=a&under=/a")
    ),
    *((asset_catalog, f"/assets?{filters}&min_size=1") for filters in ("", "type=t", "under=/a", "sha256=a", "tag=a", "tag=a&type=t")),
    *((asset_catalog, f"/assets?{filters}&cursor={encode_cursor(['/a', '1'])}") for filters in ("", "type=t", "under=/a", "tag=a")),
    *((asset_catalog, f"/assets?max_size=1&{filters}&cursor={encode_cursor([1, '/a', '1'])}") for filters in ("", "type=t", "tag=a")),
    *((activity, f"/events?{filters}") for filters in ("", "type=t", "source=s", "subject=s", "since=2026-01-01T00:00:00Z")),
    *((activity, f"/events?{filters}&cursor={TIME_CURSOR}") for filters in ("", "type=t", "source=s", "subject=s", "type=t&source=s")),
    (activity, "/events/by-id?source=s&id=1"),
    *((order_book, f"/orders?{filters}") for filters in ("", "state=paid")),
    *((order_book, f"/orders?{filters}&cursor={encode_cursor(['1'])}") for filters in ("", "state=paid")),
    *((order_book, f"/revenue?{filters}") for filters in ("", "since=2026-01-01", "currency=EUR", "currency=EUR&until=2026-01-01")),
    *((order_book, f"/revenue?{filters}&cursor={encode_cursor(['2026-01-01', 'EUR'])}") for filters in ("", "currency=EUR")),
    (shipping, "/shipments?state=due"),
    (shipping, f"/shipments?state=due&cursor={encode_cursor(['1', 'a'])}"),
]


def plan_of(table: Table[Any], query: Query) -> str:
    database = sqlite3.connect(":memory:")
    for statement in create_table(table, TYPES):
        database.execute(statement)
    statement, values = select_page(table, query, "?")
    plan = "; ".join(row[3] for row in database.execute("EXPLAIN QUERY PLAN " + statement, values))
    database.close()
    return plan


@pytest.mark.parametrize(
    ("bootstrap", "question"), QUESTIONS, ids=lambda value: value if isinstance(value, str) else value.__name__.split(".")[1]
)
def test_a_question_is_answered_from_an_index(bootstrap: ModuleType, question: str) -> None:
    asked = Asked()
    app = bootstrap.create_app(Settings(), MemoryBackbone())
    app.dependency_overrides[read_live] = lambda: asked
    answer = TestClient(app).get(question)
    assert answer.status_code in (200, 404), answer.text
    assert asked.queries
    for table, query in asked.queries:
        if table.name == "untimed":  # a thousand rows at most
            continue
        plan = plan_of(table, query)
        assert "INDEX" in plan, plan
        assert "TEMP B-TREE" not in plan, plan
