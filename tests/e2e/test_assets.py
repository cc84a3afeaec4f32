"""The assets service through its doors, on the memory backbone and real directories."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from events import registry
from events.assets import AssetDiscovered, AssetTagged
from services.assets.bootstrap import create_app
from sidestream.event import Envelope
from tests.e2e.garbage import GARBAGE
from tests.e2e.write_side import WriteSide, writing
from tests.unit.services.scanning_desk import on_disk
from tests.waiting import until

NOBODY = "01a1fd44-83ed-7778-9b5e-1d6c72af09a8"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An allowed root with some files."""
    directory = tmp_path / "root"
    (directory / "deep").mkdir(parents=True)
    (directory / "one.py").write_text("print()\n")
    (directory / "deep" / "two.txt").write_text("two")
    monkeypatch.setenv("SIDESTREAM_ASSET_ROOTS", str(directory))
    return directory


@pytest.fixture
async def assets(root: Path, tmp_path: Path) -> AsyncIterator[WriteSide]:
    """A running assets service."""
    async with writing(create_app, tmp_path / "data") as side:
        yield side


async def scan(side: WriteSide, path: Path, *exclude: str) -> dict[str, Any]:
    """Scan and wait for the end."""
    begun = await side.client.post("/scans", json={"path": str(path), "exclude": list(exclude)})
    assert begun.status_code == 202, begun.text
    assert begun.headers["location"] == f"/scans/{begun.json()['id']}"
    return await ended(side, begun)


async def ended(side: WriteSide, begun: httpx.Response) -> dict[str, Any]:
    async def has_ended() -> bool:
        return bool((await side.client.get(begun.headers["location"])).json()["state"] != "running")

    await until(has_ended)
    found: dict[str, Any] = (await side.client.get(begun.headers["location"])).json()
    return found


def stored(side: WriteSide) -> int:
    return len(side.backbone.event_store("assets").follow(0, 10_000))


# ── scans ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_scan_publishes_what_it_found(assets: WriteSide, root: Path) -> None:
    found = await scan(assets, root)
    discovered = [registry().read(event) for event in await assets.logged("assets", 2)]

    assert found["state"] == "completed"
    assert found["result"] == {"discovered": 2, "changed": 0, "moved": 0, "deleted": 0, "unchanged": 0, "skipped": 0}
    assert {data.path: (data.size, data.modified_ns, data.sha256) for data in discovered} == on_disk(root)
    assert {data.scan for data in discovered} == {found["id"]}


async def test_a_scan_is_a_workflow_of_its_own(assets: WriteSide, root: Path) -> None:
    found = await scan(assets, root)
    workflow = await assets.logged("scans", 2)
    files = await assets.logged("assets", 2)

    assert [event.type for event in workflow] == ["scan.started", "scan.completed"]
    assert [event.streamversion for event in workflow] == [1, 2]
    assert {event.subject for event in workflow} == {f"scan-{found['id']}"}
    assert {event.correlationid for event in (*workflow, *files)} == {found["id"]}
    assert {event.causationid for event in (*workflow[1:], *files)} == {workflow[0].id}


async def test_a_scan_says_how_far_readers_must_wait(assets: WriteSide, root: Path) -> None:
    found = await scan(assets, root)
    newest = {topic: (await assets.logged(topic, 2))[-1] for topic in ("assets", "scans")}

    assert {place["topic"]: (place["producer"], place["sequence"]) for place in found["consistency"]} == {
        topic: (event.producer, event.number) for topic, event in newest.items()
    }


async def test_scans_are_listed_newest_first_in_pages(assets: WriteSide, root: Path) -> None:
    scans = [await scan(assets, root) for _ in range(3)]
    first = await assets.client.get("/scans", params={"limit": 2})
    second = await assets.client.get(first.links["next"]["url"])

    assert [found["id"] for found in first.json()["scans"]] == [scans[2]["id"], scans[1]["id"]]
    assert [found["id"] for found in second.json()["scans"]] == [scans[0]["id"]]
    assert "next" not in second.links


async def test_one_scan_runs_at_a_time(assets: WriteSide, root: Path) -> None:
    for number in range(300):
        (root / str(number)).write_text(str(number))
    begun = await asyncio.gather(*(assets.client.post("/scans", json={"path": str(root)}) for _ in range(5)))
    accepted = [answer for answer in begun if answer.status_code == 202]
    refused = [answer for answer in begun if answer.status_code == 409]
    for answer in accepted:
        await ended(assets, answer)

    assert len(accepted) + len(refused) == 5
    assert accepted
    assert all(answer.headers["content-type"] == "application/problem+json" for answer in refused)
    assert len([event for event in await assets.logged("assets", 302) if event.type == "asset.discovered"]) == 302


async def test_excluded_names_are_left_out(assets: WriteSide, root: Path) -> None:
    assert (await scan(assets, root, "deep"))["result"]["discovered"] == 1


@pytest.mark.parametrize("path", ["/etc", "/", "{root}/..", "{root}/../../etc", "{root}less", "{root}/out", "{root}/../nothing", "~", "."])
async def test_a_path_outside_of_the_roots_is_refused_and_nothing_is_stored(assets: WriteSide, root: Path, path: str) -> None:
    (root / "out").symlink_to("/etc")
    problem = await assets.refused("POST", "/scans", json={"path": path.format(root=root)}, status=403)

    assert problem["type"] == "urn:sidestream:problem:outside-of-roots"
    assert stored(assets) == 0


async def test_what_is_no_directory_is_refused_and_nothing_is_stored(assets: WriteSide, root: Path) -> None:
    await assets.refused("POST", "/scans", json={"path": f"{root}/nothing"}, status=404)
    await assets.refused("POST", "/scans", json={"path": f"{root}/one.py"}, status=400)
    await assets.refused("POST", "/scans", json={"path": f"{root}/{'x' * 4000}"}, status=404)
    assert stored(assets) == 0


@pytest.mark.parametrize(
    "body",
    [
        {"path": ""},
        {"path": "a\0b"},
        {"path": "x" * 4097},
        {"path": 5},
        {"path": None},
        {"path": "{root}", "exclude": "deep"},
        {"path": "{root}", "exclude": [""]},
        {"path": "{root}", "exclude": ["a/b"]},
        {"path": "{root}", "exclude": ["x" * 256]},
        {"path": "{root}", "exclude": [1]},
        {"path": "{root}", "exclude": ["x"] * 101},
        {"path": "{root}", "depth": 3},
    ],
)
async def test_a_request_that_is_none_is_refused_and_nothing_is_stored(assets: WriteSide, root: Path, body: dict[str, Any]) -> None:
    if body["path"] == "{root}":
        body = {**body, "path": str(root)}
    await assets.refused("POST", "/scans", json=body, status=400)
    assert stored(assets) == 0


@pytest.mark.parametrize(("body", "content_type", "status"), GARBAGE)
async def test_garbage_is_refused_and_nothing_is_stored(assets: WriteSide, body: bytes, content_type: str, status: int) -> None:
    await assets.refused("POST", "/scans", content=body, headers={"content-type": content_type}, status=status)
    assert stored(assets) == 0


async def test_an_unknown_scan_and_a_forged_cursor_are_refused(assets: WriteSide) -> None:
    await assets.refused("GET", "/scans/nothing", status=404)
    await assets.refused("GET", "/scans/%00%ff", status=404)
    for cursor in ("x", "W10", "WzFd", "bnVsbA"):
        answer = await assets.client.get("/scans", params={"cursor": cursor})
        assert answer.status_code in {200, 400}
    await assets.refused("GET", "/scans", params={"limit": 0}, status=400)


async def test_a_restart_closes_what_was_left_open_and_knows_the_files(root: Path, tmp_path: Path) -> None:
    async with writing(create_app, tmp_path / "data") as side:
        await scan(side, root)
        backbone = side.backbone
    async with writing(create_app, tmp_path / "data", backbone) as side:  # type: ignore[arg-type]
        again = await scan(side, root)

    assert again["result"]["unchanged"] == 2


# ── tags ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def an_asset(side: WriteSide, root: Path) -> tuple[str, Envelope]:
    await scan(side, root)
    events = await side.logged("assets", 2)
    event = next(event for event in events if isinstance(data := registry().read(event), AssetDiscovered) and data.path.endswith("one.py"))
    return (event.subject or "").removeprefix("asset-"), event


async def test_a_tag_is_given_once_and_taken_once(assets: WriteSide, root: Path) -> None:
    asset, discovered = await an_asset(assets, root)
    path = f"/assets/{asset}/tags/holiday 🏝%25"
    answers = [await assets.client.request(method, path) for method in ("PUT", "PUT", "DELETE", "DELETE")]
    tagged, untagged = (await assets.logged("assets", 4))[2:]

    assert [answer.status_code for answer in answers] == [200] * 4
    assert [answer.json()["changed"] for answer in answers] == [True, False, True, False]
    assert [answer.json()["version"] for answer in answers] == [2, 2, 3, 3]
    assert answers[1].json()["consistency"] == [{"topic": "assets", "producer": discovered.producer, "sequence": 3}]
    assert registry().read(tagged) == AssetTagged("holiday 🏝%")
    assert (untagged.type, untagged.streamversion) == ("asset.untagged", 3)


async def test_tags_from_many_at_once_are_all_there(assets: WriteSide, root: Path) -> None:
    asset, _ = await an_asset(assets, root)
    answers = await asyncio.gather(*(assets.client.put(f"/assets/{asset}/tags/{number % 4}") for number in range(12)))
    given = [answer for answer in answers if answer.status_code == 200]

    assert {answer.status_code for answer in answers} <= {200, 409}
    changed = sum(answer.json()["changed"] for answer in given)
    assert changed <= 4
    assert len(await assets.logged("assets", 2 + changed)) == 2 + changed


@pytest.mark.parametrize("asset", [NOBODY, "nothing", "..", "%00", "x" * 2000, NOBODY.upper()])
async def test_an_unknown_asset_takes_no_tag(assets: WriteSide, asset: str) -> None:
    for method in ("PUT", "DELETE"):
        answer = await assets.client.request(method, httpx.URL(f"http://service/assets/{asset}/tags/red"))
        assert answer.status_code == 404, answer.text
    assert stored(assets) == 0


async def test_a_deleted_asset_takes_no_tag(assets: WriteSide, root: Path) -> None:
    asset, _ = await an_asset(assets, root)
    (root / "one.py").unlink()
    await scan(assets, root)

    await assets.refused("PUT", f"/assets/{asset}/tags/red", status=404)


@pytest.mark.parametrize("tag", ["%00", "a%0Ab", "%20", "%20red", "x" * 65, "a%2Fb", "%7F"])
async def test_a_word_that_is_no_tag_is_refused_and_nothing_is_stored(assets: WriteSide, root: Path, tag: str) -> None:
    asset, _ = await an_asset(assets, root)
    before = stored(assets)
    answer = await assets.client.put(f"/assets/{asset}/tags/{tag}")

    assert answer.status_code in {400, 404}
    assert stored(assets) == before


async def test_the_service_is_ready_and_described(assets: WriteSide) -> None:
    assert (await assets.client.get("/readyz")).status_code == 200
    document = (await assets.client.get("/openapi.json")).json()

    assert {"202", "400", "403", "404", "409"} <= set(document["paths"]["/scans"]["post"]["responses"])


async def test_what_a_link_points_to_is_not_read(assets: WriteSide, root: Path) -> None:
    (root / "link").symlink_to("/etc/passwd")
    (root / "folder").symlink_to("/etc")
    found = await scan(assets, root)

    assert found["result"]["discovered"] == 2
    assert os.path.lexists(root / "link")
