"""Garbage at every door of every app: a problem with a clear detail, never a 5xx, and nothing is stored.

The doors are those that each app's own OpenAPI page lists, so that a new door is tried without being named here.
"""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio

from sidestream.settings import Settings
from tests.e2e.all_apps import BOOTSTRAPS, AllApps, all_apps
from tests.e2e.garbage import GARBAGE, JSON

UNKNOWN = "019aa1b2-0000-7000-8000-00000000dead"
STRUCTURED = "application/cloudevents+json"
TAKE_A_BODY = [
    ("votes", "/votes"),
    ("assets", "/scans"),
    ("bridge", "/events"),
    ("orders", "/orders"),
    ("orders", f"/orders/{UNKNOWN}/payment"),
]
BAD_PARAMETERS = {
    "limit": ["0", "-1", "1001", "x", "", "1e3", "9" * 40],
    "cursor": ["x", "💥", "bnVsbA", "W10", "WzFd", "x" * 5_000, "W1tbW1tdXV1d"],
    "since": ["yesterday", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "x" * 100],
    "min_size": ["-1", "x", "1.5", str(2**63), "9" * 40],
    "max_size": ["-1", "x", "1.5", str(2**63), "9" * 40],
    "state": ["", "lost", "OPEN"],
    "until": ["yesterday", "2026-13-01", "2026-1-1", "٢٠٢٦-01-01", "2026-01-01T00:00:00Z"],
    "currency": ["", "eur", "EURO", "\u20ac"],
}
STRANGE_PATHS = ["/%00", "/%ff%fe", "/..%2f..%2fetc/passwd", "/" + "a/" * 2_000, "/nothing-here", "//", "/votes/", "/%F0%9F%90%88"]
STRANGE_VALUES = [
    "%00",
    "%ff",
    "💥",
    "' OR 1=1 --",
    "x" * 10_000,
    "..%2f..%2f..%2fetc%2fpasswd",
    "a%0d%0ab",
    "%ed%a0%80",
]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def apps(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AllApps]:
    """All apps over one backbone; nothing that a test here does may be recorded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIDESTREAM_ASSET_ROOTS", str(tmp_path_factory.mktemp("root")))
        async with all_apps(tmp_path_factory.mktemp("data")) as running:
            yield running
            assert running.recorded() == 0


def operations(app: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Give method, path and description of every door that the app's OpenAPI page lists."""
    from sidestream.backbone import MemoryBackbone

    page = BOOTSTRAPS[app].create_app(Settings(), MemoryBackbone()).openapi()
    for path, methods in page["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def concrete(path: str, value: str = "x") -> str:
    return re.sub(r"\{[^}]*\}", value, path)


async def asked(apps: AllApps, app: str, method: str, path: str, **arguments: Any) -> httpx.Response:
    async with apps.door(app) as door:
        return await door.request(method, path, **arguments)


def assert_problem(answer: httpx.Response, status: int | None = None) -> dict[str, Any]:
    assert 400 <= answer.status_code < 500, f"{answer.status_code}: {answer.text[:500]}"
    assert status in {None, answer.status_code}, f"{answer.status_code}: {answer.text[:500]}"
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = msgspec.json.decode(answer.content)
    assert problem["status"] == answer.status_code
    assert problem["type"].startswith("urn:sidestream:problem:")
    assert len(problem["detail"]) > 10
    return problem


@pytest.mark.parametrize(("app", "path"), TAKE_A_BODY)
@pytest.mark.parametrize(("body", "content_type", "status"), GARBAGE)
async def test_a_body_that_is_garbage_is_a_problem(apps: AllApps, app: str, path: str, body: bytes, content_type: str, status: int) -> None:
    assert_problem(await asked(apps, app, "POST", path, content=body, headers={"content-type": content_type}), status)
    assert apps.recorded() == 0


@pytest.mark.parametrize(("app", "path"), TAKE_A_BODY)
async def test_five_megabytes_without_a_length_are_too_large(apps: AllApps, app: str, path: str) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b'"'
        for _ in range(80):
            yield b" " * 65_536
        yield b'"'

    assert_problem(await asked(apps, app, "POST", path, content=body(), headers={"content-type": JSON}), 413)
    assert apps.recorded() == 0


@pytest.mark.parametrize(("app", "path"), TAKE_A_BODY)
@pytest.mark.parametrize("content_type", ["", "text/plain", "application/xml", "multipart/form-data", "💥", JSON + "; charset=utf-16"])
async def test_another_content_type_is_a_problem(apps: AllApps, app: str, path: str, content_type: str) -> None:
    headers = {"content-type": content_type.encode()} if content_type else {}
    assert_problem(await asked(apps, app, "POST", path, content=b"\xfe\xffgarbage", headers=headers))
    assert apps.recorded() == 0


WRONG_TYPES: list[tuple[str, str, dict[str, Any]]] = [
    ("votes", "/votes", {"poll": 1, "option": "a", "voter": "b"}),
    ("votes", "/votes", {"poll": "a", "option": None, "voter": "b"}),
    ("votes", "/votes", {"poll": "a", "option": ["b"], "voter": "c"}),
    ("votes", "/votes", {"poll": "a", "option": "b"}),
    ("votes", "/votes", {"poll": "a", "option": "b", "voter": "c", "more": 1}),
    ("votes", "/votes", {"poll": "", "option": "b", "voter": "c"}),
    ("votes", "/votes", {"poll": "x" * 101, "option": "b", "voter": "c"}),
    ("votes", "/votes", {"poll": "a\x00", "option": "b", "voter": "c"}),
    ("assets", "/scans", {"path": 1}),
    ("assets", "/scans", {"path": ""}),
    ("assets", "/scans", {"path": "a\x00b"}),
    ("assets", "/scans", {"path": "x" * 5_000}),
    ("assets", "/scans", {"path": ".", "exclude": "*.py"}),
    ("assets", "/scans", {"path": ".", "exclude": ["a/b"]}),
    ("assets", "/scans", {"path": ".", "exclude": [""] * 3}),
    ("assets", "/scans", {"path": ".", "follow": True}),
    ("orders", "/orders", {"customer": "a"}),
    ("orders", "/orders", {"customer": "a", "currency": "eur"}),
    ("orders", "/orders", {"customer": "a", "currency": "EUR", "lines": [{}]}),
    ("orders", "/orders", {"customer": "a", "currency": "EUR", "lines": {}}),
    ("orders", f"/orders/{UNKNOWN}/lines", {"article": "a", "quantity": 0, "unit_minor": 1}),
    ("orders", f"/orders/{UNKNOWN}/payment", {"amount_minor": "1", "currency": "EUR", "reference": "r"}),
    ("orders", f"/orders/{UNKNOWN}/shipment", {"carrier": "c", "tracking": "\u0000"}),
    ("orders", f"/orders/{UNKNOWN}/cancellation", {"reason": " "}),
    ("bridge", "/events", {"type": "a", "source": "/b"}),
    ("bridge", "/events", {"type": 1, "source": "/b", "payload": 1}),
    ("bridge", "/events", {"type": "a", "source": "not a uri", "payload": 1}),
    ("bridge", "/events", {"type": "a", "source": "/b", "payload": 1, "more": 1}),
    ("bridge", "/events", {"type": "a", "source": "/b", "payload": 1, "time": "yesterday"}),
    ("bridge", "/events", {"type": "a", "source": "/b", "payload": 1, "id": "x" * 513}),
    ("bridge", "/events", {"specversion": "1.0", "type": "a", "source": "/b", "payload": 1}),
]


@pytest.mark.parametrize(("app", "path", "body"), WRONG_TYPES)
async def test_json_of_another_shape_is_a_problem(apps: AllApps, app: str, path: str, body: dict[str, Any]) -> None:
    assert_problem(await asked(apps, app, "POST", path, json=body), 400)
    assert apps.recorded() == 0


@pytest.mark.parametrize("missing", ["specversion", "id", "source", "type"])
async def test_a_cloudevent_without_a_required_attribute_is_a_problem_that_names_it(apps: AllApps, missing: str) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/a", "type": "b"}
    del event[missing]
    for content in (msgspec.json.encode(event), b"[" + msgspec.json.encode(event) + b"]"):
        batch = content.startswith(b"[")
        content_type = "application/cloudevents-batch+json" if batch else STRUCTURED
        problem = assert_problem(
            await asked(apps, "bridge", "POST", "/events", content=content, headers={"content-type": content_type}), 400
        )
        assert missing in (problem["errors"][0]["detail"] if batch else problem["detail"])
    assert apps.recorded() == 0


@pytest.mark.parametrize("path", ["/etc", "/", "/proc/self", "{root}/..", "{root}/link", "{root}-beside"])
async def test_a_directory_outside_of_the_roots_is_forbidden(apps: AllApps, path: str, tmp_path: Path) -> None:
    root = next(iter(apps.apps["assets"].state.desk.roots.roots)).decode()
    link = Path(root, "link")
    link.unlink(missing_ok=True)
    link.symlink_to(tmp_path, target_is_directory=True)
    problem = assert_problem(await asked(apps, "assets", "POST", "/scans", json={"path": path.format(root=root)}), 403)
    assert problem["type"].endswith("outside-of-roots")
    assert apps.recorded() == 0


@pytest.mark.parametrize("app", BOOTSTRAPS)
async def test_every_parameter_that_is_wrong_is_a_problem(apps: AllApps, app: str) -> None:
    tried = 0
    for method, path, operation in operations(app):
        for parameter in operation.get("parameters", []):
            for value in BAD_PARAMETERS.get(parameter["name"], []):
                tried += 1
                answer = await asked(apps, app, method, concrete(path), params={parameter["name"]: value})
                assert_problem(answer)
    assert tried or app in {"votes", "orders"}
    assert apps.recorded() == 0


@pytest.mark.parametrize("app", BOOTSTRAPS)
async def test_a_strange_name_at_any_place_is_answered(apps: AllApps, app: str) -> None:
    for method, path, operation in operations(app):
        for value in STRANGE_VALUES:
            if "{" in path:
                assert_problem(await asked(apps, app, method, concrete(path, value)))
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "query" and parameter["name"] not in BAD_PARAMETERS:
                    answer = await asked(apps, app, method, f"{concrete(path)}?{parameter['name']}={value}")
                    assert answer.status_code < 500, f"{path} {parameter['name']}={value[:40]!a}: {answer.text[:300]}"
    assert apps.recorded() == 0


@pytest.mark.parametrize("app", BOOTSTRAPS)
async def test_a_method_that_a_door_does_not_take_is_405_with_those_that_it_takes(apps: AllApps, app: str) -> None:
    taken: dict[str, set[str]] = {}
    for method, path, _ in operations(app):
        taken.setdefault(path, set()).add(method)
    for path, methods in taken.items():
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"} - methods:
            answer = await asked(apps, app, method, concrete(path))
            assert_problem(answer, 405)
            assert set(answer.headers["allow"].split(", ")) >= methods
    assert apps.recorded() == 0


@pytest.mark.parametrize("app", BOOTSTRAPS)
async def test_a_path_where_nothing_is_is_404(apps: AllApps, app: str) -> None:
    for path in STRANGE_PATHS:
        assert_problem(await asked(apps, app, "GET", path), 404)
        assert_problem(await asked(apps, app, "POST", path, json={}))
    assert apps.recorded() == 0


@pytest.mark.parametrize("app", ["tally", "asset-catalog", "activity", "order-book", "shipping"])
@pytest.mark.parametrize("body", [b"", b"not JSON", b"[]", b'{"entries": 7}', b'{"entries": [{"entryId": 7}]}', b"[" * 100_000, b"\xff"])
async def test_a_bell_that_is_garbage_rings_or_is_a_problem(apps: AllApps, app: str, body: bytes) -> None:
    async with apps.door(app) as door:
        routes = [each["route"] for each in (await door.get("/dapr/subscribe")).json()]
        for route in routes:
            assert_problem(await door.post(route, content=body, headers={"content-type": JSON}), 400)
    assert routes
    assert apps.recorded() == 0
