"""The asset catalogue through its doors: the log on one side, HTTP on the other."""

from collections.abc import Iterator

import pytest

from events.assets import AssetChanged, AssetDeleted, AssetDiscovered, AssetMoved, AssetTagged, asset_stream
from projections.asset_catalog import bootstrap
from sidestream.testing import Happened, happened
from tests.e2e.read_side import ReadSide, reading


@pytest.fixture
def catalog() -> Iterator[ReadSide]:
    with reading(bootstrap) as side:
        yield side


def discovered(asset: str, path: str, size: int = 10, sha256: str = "aa", media_type: str = "text/x-python") -> Happened:
    return happened(AssetDiscovered(path, size, 1, media_type, sha256, "scan-1"), subject=asset_stream(asset))


def tagged(asset: str, tag: str) -> Happened:
    return happened(AssetTagged(tag), subject=asset_stream(asset))


TREE = (
    discovered("1", "/src/a.py", 30, "aa"),
    discovered("2", "/src/b.py", 10, "bb"),
    discovered("3", "/src-old/a.py", 30, "aa"),
    discovered("4", "/src/doc/readme", 2**53 + 1, "cc", "text/plain"),
    discovered("5", "/caf%E9", 0, "ee", "text/plain"),
    tagged("1", "new"),
    tagged("4", "new"),
    tagged("4", "large"),
)


def ids(side: ReadSide, **params: object) -> list[str]:
    return [line["id"] for line in side.get("/assets", **params)["assets"]]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ["5", "3", "1", "2", "4"]),
        ({"tag": "new"}, ["1", "4"]),
        ({"tag": "new", "type": "text/plain"}, ["4"]),
        ({"tag": "new", "max_size": 100}, ["1"]),
        ({"tag": "none"}, []),
        ({"type": "text/plain"}, ["5", "4"]),
        ({"min_size": 10, "max_size": 30}, ["2", "3", "1"]),
        ({"min_size": 2**53 + 1}, ["4"]),
        ({"min_size": 2**53 + 2}, []),
        ({"under": "/src"}, ["1", "2", "4"]),
        ({"under": "/src/"}, ["1", "2", "4"]),
        ({"under": "/"}, ["5", "3", "1", "2", "4"]),
        ({"under": "/src/doc", "type": "text/plain"}, ["4"]),
        ({"under": "/src/a.py"}, []),
        ({"sha256": "aa"}, ["3", "1"]),
        ({"sha256": "aa", "tag": "new"}, ["1"]),
    ],
)
def test_assets_are_found_by_tag_type_size_directory_and_content(catalog: ReadSide, params: dict[str, object], expected: list[str]) -> None:
    catalog.tell(*TREE)
    assert ids(catalog, **params) == expected
    in_pages = [line["id"] for page in catalog.pages("/assets", "assets", limit=1, **params) for line in page]
    assert in_pages == expected


def test_an_asset_is_shown_with_its_tags_and_exact_numbers(catalog: ReadSide) -> None:
    catalog.tell(*TREE)
    assert catalog.get("/assets/4") == {
        "id": "4",
        "path": "/src/doc/readme",
        "size": 2**53 + 1,
        "modified_ns": 1,
        "media_type": "text/plain",
        "sha256": "cc",
        "tags": ["large", "new"],
    }


def test_an_asset_that_was_never_there_or_is_gone_is_unknown(catalog: ReadSide) -> None:
    catalog.tell(*TREE, happened(AssetDeleted("/src/b.py", 10, "bb", "scan-2"), subject=asset_stream("2")))
    assert catalog.problem("/assets/2") == (404, "unknown-asset")
    assert catalog.problem("/assets/7") == (404, "unknown-asset")


def test_a_moved_and_changed_asset_is_where_and_what_it_is_now(catalog: ReadSide) -> None:
    catalog.tell(*TREE)
    catalog.tell(
        happened(AssetMoved("/src/a.py", "/new/a.py", 30, 5, "text/x-python", "aa", "scan-2"), subject=asset_stream("1")),
        happened(AssetChanged("/new/a.py", 31, 6, "text/x-python", "dd", "scan-3"), subject=asset_stream("1")),
    )
    found = catalog.get("/assets/1")
    assert (found["path"], found["size"], found["tags"]) == ("/new/a.py", 31, ["new"])
    assert ids(catalog, tag="new", under="/new") == ["1"]
    assert catalog.get("/duplicates") == {"duplicates": []}


def test_duplicates_come_with_their_paths_the_most_wasteful_first(catalog: ReadSide) -> None:
    copies = [discovered(f"b{at}", f"/b{at}", 11, "bb") for at in range(3)]
    empty = [discovered(f"e{at}", f"/e{at}", 0, "e0") for at in range(2)]
    catalog.tell(*TREE, *copies, *empty)
    pages = catalog.pages("/duplicates", "duplicates", limit=2)
    assert [[(line["sha256"], line["copies"], line["wasted"]) for line in page] for page in pages] == [
        [("aa", 2, 30), ("bb", 3, 22)],
        [("e0", 2, 0)],
    ]
    assert pages[0][0]["paths"] == ["/src-old/a.py", "/src/a.py"]


def test_types_tags_and_the_whole_add_up(catalog: ReadSide) -> None:
    assert catalog.get("/summary") == {"assets": 0, "bytes": 0, "duplicates": 0, "wasted": 0}
    catalog.tell(*TREE)
    assert catalog.get("/summary") == {"assets": 5, "bytes": 2**53 + 71, "duplicates": 1, "wasted": 30}
    assert catalog.pages("/types", "types", limit=1) == [
        [{"media_type": "text/plain", "assets": 2, "bytes": 2**53 + 1}],
        [{"media_type": "text/x-python", "assets": 3, "bytes": 70}],
    ]
    assert catalog.pages("/tags", "tags", limit=1) == [[{"tag": "large", "assets": 1}], [{"tag": "new", "assets": 2}]]


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0},
        {"limit": 1001},
        {"min_size": -1},
        {"min_size": "large"},
        {"max_size": 2**63},
        {"cursor": "forged"},
        {"cursor": "WzFd"},
        {"cursor": "WzEsMl0", "tag": "new"},
    ],
)
def test_a_bad_question_is_refused(catalog: ReadSide, params: dict[str, object]) -> None:
    assert catalog.problem("/assets", **params)[0] == 400
    if set(params) & {"limit", "cursor"}:
        assert [catalog.problem(path, **params)[0] for path in ("/duplicates", "/types", "/tags")] == [400, 400, 400]


def test_a_cursor_of_another_order_is_refused(catalog: ReadSide) -> None:
    catalog.tell(*TREE)
    link = catalog.client.get("/assets", params={"limit": 1}).links["next"]["url"]
    assert catalog.client.get(link + "&min_size=1").status_code == 400


def test_every_answer_says_how_far_it_has_applied(catalog: ReadSide) -> None:
    catalog.tell(*TREE)
    for path in ("/assets", "/assets/1", "/assets/none", "/duplicates", "/types", "/tags", "/summary"):
        assert catalog.client.get(path).headers["sidestream-applied"] == f"assets={len(TREE)}", path
