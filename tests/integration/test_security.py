"""What is closed is refused: by a real daprd, at every door, with tokens, component scopes and topic permissions in force."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
import pytest_asyncio

from sidestream.launcher.plan import Wishes
from sidestream.launcher.problem import CannotStart
from sidestream.launcher.settings import LauncherSettings
from sidestream.launcher.system import System
from tests.asking import length, since_start
from tests.integration.guarding import RUN_FILE, TOKEN, components_with, publish, publish_by_grpc, publish_in_bulk, sidecar_of
from tests.integration.sidestream_program import sidestream
from tests.parts import REPOSITORY, running_system
from tests.waiting import until

ORDER = {"customer": "ann", "currency": "EUR", "lines": [{"article": "tea", "quantity": 1, "unit_minor": 100}]}
VOTE = {"poll": "pets", "option": "cats", "voter": "ann"}
MISSING_OR_WRONG = ["", "wrong"]

in_one_loop = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """Votes, orders and tally, guarded as `sidestream up` starts them."""
    async with running_system(tmp_path_factory.mktemp("guarded") / "system", RUN_FILE) as running:
        yield running


def tokens_of(system: System) -> list[str]:
    return [file.read_text() for file in sorted(system.folder.tokens.glob("*/*"))]


def app_token(system: System, app: str) -> str:
    return (system.folder.tokens / app / "APP_API_TOKEN").read_text()


# ── tokens ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@in_one_loop
@pytest.mark.parametrize("token", MISSING_OR_WRONG)
async def test_a_sidecar_refuses_whoever_does_not_hold_its_token(system: System, token: str) -> None:
    before, url = length(system, "votes"), system["votes"].sidecar_url

    assert (await publish(url, "votes", token)).status_code == 401
    assert (await publish_in_bulk(url, "votes", token)).status_code == 401
    (reason,) = (await publish_by_grpc(system["votes"], "votes", token)).values()

    assert "UNAUTHENTICATED" in reason
    assert "DAPR_API_TOKEN" in reason
    assert length(system, "votes") == before


@in_one_loop
async def test_one_app_s_token_opens_no_other_app_s_sidecar(system: System) -> None:
    """Else votes could publish to orders, through the sidecar that may."""
    assert (await publish(system["orders"].sidecar_url, "orders", system["votes"].api_token)).status_code == 401
    assert length(system, "orders") == 0


@in_one_loop
@pytest.mark.parametrize("token", MISSING_OR_WRONG)
@pytest.mark.parametrize(("method", "path"), [("POST", "/bell/votes"), ("GET", "/dapr/subscribe")])
async def test_an_app_refuses_deliveries_of_whoever_does_not_hold_its_token(system: System, method: str, path: str, token: str) -> None:
    async with httpx.AsyncClient(base_url=system["tally"].url, timeout=30) as client:
        refused = await client.request(method, path, json={"entries": []}, headers={TOKEN: token} if token else {})
        taken = await client.request(method, path, json={"entries": []}, headers={TOKEN: app_token(system, "tally")})

    assert (refused.status_code, refused.headers["content-type"]) == (401, "application/problem+json")
    assert refused.json()["type"] == "urn:sidestream:problem:sidecar-token"
    assert taken.status_code == 200


@in_one_loop
async def test_between_app_and_sidecar_everything_goes_as_ever(system: System) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        assert (await client.post(f"{system['votes'].url}/votes", json=VOTE)).status_code == 202
        tally = system["tally"].url

        async def counted_and_rung() -> bool:
            health = (await client.get(f"{tally}/generations")).json()["health"]
            return bool((await client.get(f"{tally}/polls/pets")).status_code == 200 and health["bells"])

        await until(counted_and_rung)


@in_one_loop
async def test_the_tokens_lie_in_files_of_their_owner_and_are_others_at_the_next_start(system: System, tmp_path: Path) -> None:
    files = sorted(system.folder.tokens.glob("*/*"))
    assert len(set(tokens_of(system))) == len(files) == 6
    assert {file.stat().st_mode & 0o077 for file in [*files, *(file.parent for file in files)]} == {0}

    folder, settings, starts = tmp_path / "system", LauncherSettings(broker=""), []
    for _ in range(2):
        async with System.prepared(RUN_FILE, folder=folder, wishes=Wishes(free_ports=True), settings=settings) as prepared:
            starts.append(tokens_of(prepared))
    assert not set(starts[0]) & set(starts[1])


async def test_switched_off_there_are_none_and_old_ones_are_gone(tmp_path: Path) -> None:
    wishes = Wishes(free_ports=True)
    for tokens, count in (("on", 6), ("off", 0)):
        settings = LauncherSettings.model_validate({"broker": "", "tokens": tokens})
        async with System.prepared(RUN_FILE, folder=tmp_path / "system", wishes=wishes, settings=settings) as prepared:
            assert len(tokens_of(prepared)) == count


# ── topics ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@in_one_loop
@pytest.mark.parametrize(
    ("app", "topic"), [("votes", "orders"), ("orders", "votes"), ("tally", "votes"), ("votes", "external"), ("votes", "new")]
)
async def test_a_topic_of_somebody_else_is_forbidden_at_every_door_of_the_sidecar(system: System, app: str, topic: str) -> None:
    pair, before = system[app], length(system, topic)

    for answer in (await publish(pair.sidecar_url, topic, pair.api_token), await publish_in_bulk(pair.sidecar_url, topic, pair.api_token)):
        assert (answer.status_code, answer.json()["errorCode"]) == (403, "ERR_PUBSUB_FORBIDDEN")
    (reason,) = (await publish_by_grpc(pair, topic, pair.api_token)).values()

    assert "PERMISSION_DENIED" in reason
    assert "publishingScopes" in reason
    assert length(system, topic) == before


@in_one_loop
async def test_for_an_app_outside_the_scopes_there_is_no_pubsub(system: System) -> None:
    async with sidecar_of(system, "outsider") as sidecar:
        answer = await publish(sidecar.url, "external")
        bulk = await publish_in_bulk(sidecar.url, "external")
    assert {(each.status_code, each.json()["errorCode"]) for each in (answer, bulk)} == {(404, "ERR_PUBSUB_NOT_FOUND")}


async def test_an_app_outside_the_scopes_is_one_sentence_before_anything_starts(tmp_path: Path) -> None:
    text = RUN_FILE.read_text().replace("appID: tally", "appID: tally-two").replace("../..", str(REPOSITORY))
    (tmp_path / "dapr.yaml").write_text(text)

    with pytest.raises(CannotStart, match="app tally-two: expected it among the scopes of component 'pubsub'.*Add `- tally-two` there"):
        async with System.prepared(tmp_path / "dapr.yaml", folder=tmp_path / "system", wishes=Wishes(free_ports=True)):
            pytest.fail("it was prepared")


async def test_an_app_that_is_in_the_scopes_and_named_nowhere_else_reaches_strangers_topics_only(tmp_path: Path) -> None:
    run_file = components_with(tmp_path / "changed", scopes=("newcomer",))
    async with running_system(tmp_path / "system", run_file) as system, sidecar_of(system, "newcomer") as sidecar:
        answers = {topic: (await publish(sidecar.url, topic)).status_code for topic in ("votes", "orders", "shipments", "external", "mine")}
    assert answers == {"votes": 403, "orders": 403, "shipments": 403, "external": 204, "mine": 204}


# ── what is refused for ever is said, and nothing is lost ────────────────────────────────────────────────────────────

NOBODY = "votes=;assets=;bridge=;orders=;shipping=;tally=;asset-catalog=;activity=;order-book="


async def test_a_service_whose_publish_is_forbidden_says_which_line_is_missing(tmp_path: Path) -> None:
    run_file = components_with(tmp_path / "changed", publishingScopes=NOBODY)
    async with running_system(tmp_path / "system", run_file) as system, httpx.AsyncClient(timeout=30) as client:
        refused = await client.post(f"{system['votes'].url}/votes", json=VOTE)
        taken = await client.post(f"{system['orders'].url}/orders", json=ORDER)
        log = system.folder.logs / "orders.log"
        await until(lambda: "PERMISSION_DENIED" in log.read_text())
        counted = length(system, "votes"), length(system, "orders")

    assert (refused.status_code, refused.json()["type"]) == (503, "urn:sidestream:problem:publish-failed")
    assert "publishingScopes" in refused.json()["detail"]
    assert taken.status_code == 201, taken.text
    assert "publishingScopes" in log.read_text()
    assert counted == (0, 0)


async def test_what_a_forbidden_relay_holds_goes_out_when_it_may(tmp_path: Path) -> None:
    run_file = components_with(tmp_path / "changed", publishingScopes=NOBODY)
    async with running_system(tmp_path / "system", run_file) as system, httpx.AsyncClient(timeout=30) as client:
        await client.post(f"{system['orders'].url}/orders", json=ORDER)
        await until(lambda: "PERMISSION_DENIED" in (system.folder.logs / "orders.log").read_text())

        component, sidecar = system.folder.resources / "0" / "pubsub.yaml", system["orders"].sidecar
        component.write_text(component.read_text().replace("orders=;", "orders=orders;"))
        await sidecar.stop()
        await sidecar.start()
        await system["orders"].ready()

        await until(lambda: length(system, "orders") == 1)
        await until(lambda: "relay: goes on" in (system.folder.logs / "orders.log").read_text())


async def test_a_projection_that_may_not_be_rung_counts_by_its_sweep_and_says_that_its_sidecar_is_silent(tmp_path: Path) -> None:
    run_file = components_with(tmp_path / "changed", subscriptionScopes=NOBODY)
    async with running_system(tmp_path / "system", run_file, environment={"SIDESTREAM_SWEEP_SECONDS": "0.1"}) as system:
        async with httpx.AsyncClient(timeout=30) as client:

            async def silent() -> bool:
                """Vote until the projection has found enough events that nobody rang for."""
                voted = await client.post(f"{system['votes'].url}/votes", json=VOTE)
                assert voted.status_code == 202
                health = (await client.get(f"{system['tally'].url}/generations")).json()["health"]
                assert health["bells"] == 0
                return bool(health["sidecar_silent"])

            await until(silent, seconds=20)
            assert (await client.get(f"{system['tally'].url}/polls/pets")).json()["votes"] == 1
        said = (system.folder.logs / "tally.log").read_text()
    assert "votes" in said
    assert "not allowed" in said, said


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@in_one_loop
async def test_no_app_gets_a_secret_from_its_sidecar(system: System) -> None:
    async with httpx.AsyncClient(headers={TOKEN: system["tally"].api_token}, timeout=30) as client:
        for path in ("redisHost", "bulk"):
            answer = await client.get(f"{system['tally'].sidecar_url}/v1.0/secrets/secrets/{path}")
            assert system.broker_address not in answer.text
            assert answer.status_code == 403 or answer.json() == {}, answer.text


@in_one_loop
async def test_no_token_is_in_any_log_answer_or_command_line(system: System) -> None:
    os.kill(system["votes"].app.pid, 9)  # a death is said with the line that starts it again
    await until(lambda: bool(system.deaths))
    await system["votes"].app.start()
    await system["votes"].ready()
    spoken = [file.read_text() for file in system.folder.logs.iterdir()]
    spoken += [part.program.line() + repr(part.program) for pair in system for part in (pair.app, pair.sidecar)]
    spoken.append(await asyncio.to_thread(subprocess.check_output, ["ps", "-eo", "args"], text=True))
    async with httpx.AsyncClient(timeout=30) as client:
        for pair in system:
            for path in ("/metrics", "/readyz", "/openapi.json", "/bell/votes", "/nowhere"):
                spoken.append((await client.get(f"{pair.url}{path}")).text)
            spoken.append((await client.get(f"{pair.sidecar_url}/v1.0/metadata", headers={TOKEN: pair.api_token})).text)
    everything = "\n".join(spoken)
    assert len(everything) > 10_000
    assert [token for token in tokens_of(system) if token in everything] == []
    assert 'DAPR_API_TOKEN="$(cat ' in everything


@contextmanager
def overhearing() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that keeps the headers of whoever calls."""
    heard: list[dict[str, str]] = []

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Door) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", heard
        server.shutdown()


@in_one_loop
async def test_whom_a_sidecar_invokes_learns_the_caller_s_app_token_and_no_other(system: System) -> None:
    with overhearing() as (url, heard):
        async with httpx.AsyncClient(headers={TOKEN: system["votes"].api_token}, timeout=30) as client:
            answer = await client.get(f"{system['votes'].sidecar_url}/v1.0/invoke/{url}/method/hello")
    assert answer.status_code == 200, answer.text
    (headers,) = heard
    found = set(headers.values()) & set(tokens_of(system))
    assert found == {app_token(system, "votes")}, "daprd 1.18 shows the app's own token to an address it invokes (docs/security.md)"


@in_one_loop
async def test_the_program_needs_no_token_to_say_how_it_is(system: System) -> None:
    ended = await sidestream("projections", "status", "tally", "--data", str(system.folder.path), "--json")
    assert not [token for token in tokens_of(system) if token in ended.out + ended.err]
    assert (await since_start(system["tally"].url))["parked"] == 0
