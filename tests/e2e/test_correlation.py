"""Every answer of every app names the conversation that it belongs to: of doors, of middleware, and of what nobody foresaw."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from structlog.testing import capture_logs

from sidestream import errors
from sidestream.backbone import MemoryBackbone
from sidestream.settings import Settings
from tests.e2e.all_apps import BOOTSTRAPS, AllApps, all_apps
from tests.e2e.test_garbage_at_every_door import operations

NAME = "x-correlation-id"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
MALFORMED = ["", "two words", "naïve".encode("latin-1"), "x" * 256, "a\tb"]
JSON = {"content-type": "application/json"}
Ask = Callable[[httpx.AsyncClient, dict[str, str]], Awaitable[httpx.Response]]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def apps(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AllApps]:
    """All apps over one backbone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIDESTREAM_ASSET_ROOTS", str(tmp_path_factory.mktemp("root")))
        async with all_apps(tmp_path_factory.mktemp("data")) as running:
            for app in running.apps.values():
                _add_what_fails(app)
            yield running


def _add_what_fails(app: FastAPI) -> None:
    async def unforeseen() -> None:
        raise ZeroDivisionError

    async def known() -> None:
        raise errors.ReadModelError("a fault of ours")

    async def away() -> None:
        raise errors.StoreAway("disk full")

    for path, door in (("/unforeseen", unforeseen), ("/known", known), ("/away", away)):
        app.add_api_route(path, door)


def get(path: str) -> Ask:
    return lambda door, headers: door.get(path, headers=headers)


ANSWERS: dict[str, tuple[int, Ask]] = {
    "up": (200, get("/healthz")),
    "metrics": (200, get("/metrics")),
    "the page": (200, get("/openapi.json")),
    "nothing there": (404, get("/nothing-here")),
    "another method": (405, lambda door, headers: door.delete("/healthz", headers=headers)),
    "another method of a door": (405, lambda door, headers: door.request("BREW", "/language", headers=headers)),
    "too large": (413, lambda door, headers: door.post("/votes", content=b"x", headers={**headers, "content-length": "999999999"})),
    "no JSON": (400, lambda door, headers: door.post("/votes", content=b"{", headers={**headers, **JSON})),
    "unforeseen": (500, get("/unforeseen")),
    "a known fault": (500, get("/known")),
    "away": (503, get("/away")),
}


async def _pieces() -> AsyncIterator[bytes]:
    for _ in range(140):
        yield b" " * 65_536


@pytest.mark.parametrize("app", BOOTSTRAPS)
@pytest.mark.parametrize("answer", ANSWERS)
async def test_an_answer_names_the_conversation_whatever_it_is(apps: AllApps, app: str, answer: str) -> None:
    status, ask = ANSWERS[answer]
    with capture_logs():
        async with apps.door(app) as door:
            named = await ask(door, {NAME: "talk-7"})
            traced = await ask(door, {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
            alone = [await ask(door, {}), await ask(door, {})]

    assert named.status_code == status, named.text[:200]
    assert named.headers.get_list(NAME) == ["talk-7"]
    assert traced.headers[NAME] == TRACE
    assert all(each.headers[NAME] for each in alone)
    assert alone[0].headers[NAME] != alone[1].headers[NAME]


async def test_a_body_that_turns_out_too_large_while_it_comes_is_refused_in_its_conversation(apps: AllApps) -> None:
    async with apps.door("votes") as door:
        answer = await door.post("/votes", content=_pieces(), headers={NAME: "talk-7", **JSON})

    assert (answer.status_code, answer.headers[NAME]) == (413, "talk-7")


@pytest.mark.parametrize("app", BOOTSTRAPS)
@pytest.mark.parametrize("given", MALFORMED, ids=range(len(MALFORMED)))
async def test_a_header_that_is_no_token_is_not_sent_back(apps: AllApps, app: str, given: str | bytes) -> None:
    async with apps.door(app) as door:
        answer = await door.get("/healthz", headers=httpx.Headers([(NAME.encode(), given if isinstance(given, bytes) else given.encode())]))

    found = answer.headers[NAME]
    assert answer.status_code == 200
    assert found not in {"", given}
    assert len(found) == 36


@pytest.mark.parametrize("app", BOOTSTRAPS)
async def test_every_door_that_the_page_lists_names_it(apps: AllApps, app: str) -> None:
    tried = 0
    bodies: tuple[dict[str, str] | None, ...] = (None, {})
    for method, path, _ in operations(app):
        async with apps.door(app) as door:
            for body in bodies:
                answer = await door.request(method, path.replace("{", "").replace("}", ""), headers={NAME: "talk-8"}, json=body)
                tried += 1
                assert answer.headers.get_list(NAME) == ["talk-8"], f"{method} {path}: {answer.status_code}"
    assert tried


async def test_a_key_that_was_used_for_another_command_is_refused_in_the_conversation_of_who_asks(apps: AllApps) -> None:
    order = {"customer": "ada", "currency": "EUR"}
    async with apps.door("orders") as door:
        first = await door.post("/orders", json=order, headers={"idempotency-key": "k", NAME: "first"})
        other = await door.post("/orders", json={**order, "customer": "bob"}, headers={"idempotency-key": "k", NAME: "second"})
        again = await door.post("/orders", json=order, headers={"idempotency-key": "k", NAME: "third"})

    assert (first.status_code, first.headers[NAME]) == (201, "first")
    assert (other.status_code, other.headers[NAME]) == (422, "second")
    assert (again.headers["idempotency-replayed"], again.headers.get_list(NAME)) == ("true", ["first"])


async def test_what_a_client_did_not_name_is_the_same_in_the_answer_and_in_the_event(apps: AllApps) -> None:
    async with apps.door("orders") as door:
        answer = await door.post("/orders", json={"customer": "ada", "currency": "EUR"})
    stored = apps.backbone.event_store("orders").read_topic_back("orders", limit=1)[0].wire

    assert answer.headers[NAME].encode() in stored


@pytest.mark.parametrize("path", ["/unforeseen", "/known"])
async def test_the_log_names_the_conversation_of_a_request_that_failed(apps: AllApps, path: str) -> None:
    with capture_logs() as lines:
        async with apps.door("votes") as door:
            await door.get(path, headers={NAME: "talk-9"})

    assert [line["correlation_id"] for line in lines if line["event"] == "request failed"] == ["talk-9"]


@pytest.mark.parametrize("app", BOOTSTRAPS)
async def test_a_delivery_without_the_token_and_an_app_that_is_not_ready_name_it_too(app: str, tmp_path: Path) -> None:
    made = BOOTSTRAPS[app].create_app(Settings(data=tmp_path, app_api_token="secret"), MemoryBackbone())
    transport = httpx.ASGITransport(made, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{app}", headers={NAME: "talk-10"}) as door:
        delivered, ready = await door.post("/bell/votes"), await door.get("/readyz")

    assert (delivered.status_code, delivered.headers[NAME]) == (401, "talk-10")
    assert ready.headers[NAME] == "talk-10"
