from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from sidestream.ports import Condition, Query
from sidestream.projection import Key, Table
from sidestream.settings import Settings
from sidestream.web.app import new_app
from sidestream.web.paging import PageQuery, encode_cursor, link_next, select_page


class Asset(msgspec.Struct, frozen=True):
    path: str
    size: int
    share: float
    hidden: bool


ASSETS = Table(Asset, key=("path",))
ROWS = [Asset(f"/a/{at:02} ü&=", 10 - at // 2, at / 4, hidden=False) for at in range(10)]
ORDERS = {"path": ("path",), "size": ("size", "path"), "share": ("share", "hidden", "path")}


class Rows:
    """Reads of a list: the same promise as a generation's."""

    def read(self, table: Table[Any], keys: Iterable[Key]) -> Mapping[Key, Any]:
        raise NotImplementedError

    def count(self, table: Table[Any], where: Sequence[Condition] = ()) -> int:
        raise NotImplementedError

    def select(self, table: Table[Any], query: Query) -> Sequence[Any]:
        def place(row: Asset) -> tuple[Any, ...]:
            return tuple(getattr(row, name) for name in query.order_by)

        rows = sorted(ROWS, key=place, reverse=query.descending)
        if query.after is not None:
            rows = [row for row in rows if (place(row) < query.after if query.descending else place(row) > query.after)]
        return rows[: query.limit]


@pytest.fixture
def client() -> TestClient:
    app = new_app("x", Settings())

    @app.get("/assets")
    def listed(request: Request, response: Response, page: PageQuery, order: str = "path", descending: bool = False) -> list[str]:
        rows, cursor = select_page(Rows(), ASSETS, page, order_by=ORDERS[order], descending=descending)
        link_next(request, response, cursor)
        return [row.path for row in rows]

    return TestClient(app)


@pytest.mark.parametrize("order", ["path", "size", "share"])
@pytest.mark.parametrize("descending", ["true", "false"])
@pytest.mark.parametrize("limit", [1, 3, 5, 10, 11])
def test_following_the_links_gives_every_row_once_in_order(client: TestClient, order: str, descending: str, limit: int) -> None:
    found: list[str] = []
    pages = 0
    target: str | None = f"/assets?order={order}&descending={descending}&limit={limit}"
    while target:
        answer = client.get(target)
        found += answer.json()
        target = answer.links.get("next", {}).get("url")
        pages += 1
    expected = sorted(ROWS, key=lambda row: tuple(getattr(row, name) for name in ORDERS[order]), reverse=descending == "true")
    assert found == [row.path for row in expected]
    assert pages == -(-len(ROWS) // limit), "no empty page at the end"


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "many", "1.5", ""])
def test_a_limit_outside_one_to_a_thousand_is_malformed(client: TestClient, limit: str) -> None:
    assert client.get(f"/assets?limit={limit}").status_code == 400


@pytest.mark.parametrize(
    "cursor",
    [
        "!",
        "ä",
        "a",
        "AAAA",
        "%00",
        encode_cursor([]),
        encode_cursor(["/a", 1]),
        encode_cursor([1]),
        encode_cursor([None]),
        encode_cursor([["/a"]]),
        encode_cursor("text"),
        "eyJwYXRoIjoiL2EifQ",
        encode_cursor(["/a"])[:-1],
        "W1tbW1tbW1tbW1tb" * 200,
        "a" * 5000,
    ],
)
def test_a_forged_cursor_is_malformed(client: TestClient, cursor: str) -> None:
    assert client.get("/assets", params={"cursor": cursor}).status_code == 400


@pytest.mark.parametrize("values", [[2**63, "/a"], [-(2**63) - 1, "/a"], [True, "/a"], [1.5, "/a"], ["1", "/a"]])
def test_a_number_that_no_database_holds_is_malformed(client: TestClient, values: list[object]) -> None:
    assert client.get("/assets", params={"order": "size", "cursor": encode_cursor(values)}).status_code == 400
