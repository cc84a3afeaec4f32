from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel
from starlette.requests import Request
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from sidestream import errors
from sidestream.settings import Settings
from sidestream.web.app import new_app
from sidestream.web.openapi import problems
from sidestream.web.problems import ProblemError, status_of

LIMIT = 1000


class Vote(BaseModel):
    poll: str
    voter: str = ""


RAISED: dict[str, Exception] = {
    "twice": errors.EventConflict("/votes", "v1"),
    "away": errors.StoreAway("votes.sqlite: disk full. Make room."),
    "newer": errors.UnknownSchemaVersion("event v1: deploy the newer program."),
    "unreadable": errors.UnreadableEvent("event v1: correct the upcaster."),
    "trimmed": errors.HistoryTrimmed("the secret"),
    "bug": ZeroDivisionError("the secret"),
}
"""What the app raises when a voter of this name votes."""


def an_app(**options: Any) -> FastAPI:
    app = new_app("Votes", Settings(app_id="votes"), **options)
    router = APIRouter()

    @router.post("/votes", responses=problems(409))
    async def cast(vote: Vote) -> Vote:
        if vote.voter in RAISED:
            raise RAISED[vote.voter]
        return vote

    @router.get("/votes/{poll}")
    async def shown(poll: str, limit: int = 1) -> Vote:
        if poll == "nobody":
            raise ProblemError(404, "Expected a poll, found none.", code="unknown-poll", polls=["a"])
        return Vote(poll=poll)

    @router.get("/bare")
    async def bare() -> int:
        return 1

    @router.delete("/bare")
    async def taken_away() -> int:
        raise ZeroDivisionError("nothing was to be done")

    @router.get("/hidden", include_in_schema=False)
    @router.post("/hidden", include_in_schema=False)
    async def hidden(request: Request) -> str:
        return request.query_params["probe"]

    app.include_router(router)
    return app


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(an_app(body_limit=LIMIT)) as client:
        yield client


OTHER_TYPES = ("application/x-www-form-urlencoded", "text/plain", "application/jsonx", "json")


def post(client: TestClient, body: bytes, content_type: str = "application/json") -> Any:
    return client.post("/votes", content=body, headers={"content-type": content_type})


def assert_problem(answer: Any, status: int, code: str) -> Any:
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert (answer.status_code, found["status"], found["type"]) == (status, status, f"urn:sidestream:problem:{code}")
    assert found["title"]
    assert found["detail"]
    return found


@pytest.mark.parametrize(
    "body",
    [
        b'{"poll": ',
        b"\xff\xfe",
        b'{"poll": "\xff"}',
        rb'{"poll": "\ud800"}',
        rb'{"\udfff": "a", "poll": "a"}',
        b'{"poll": NaN}',
        b"[" * 900,
        b"{'poll': 'a'}",
    ],
)
def test_a_body_that_is_no_json_is_malformed(client: TestClient, body: bytes) -> None:
    assert_problem(post(client, body), 400, "invalid-json")


NOT_A_VOTE = [(b"{}", "body.poll"), (b'{"poll": 1}', "body.poll"), (b"[]", "body"), (b"", "body"), (b"null", "body")]


@pytest.mark.parametrize(("body", "field"), NOT_A_VOTE)
def test_json_that_is_not_what_the_route_takes_is_malformed_and_each_field_is_named(client: TestClient, body: bytes, field: str) -> None:
    found = assert_problem(post(client, body), 400, "invalid-request")
    assert [each["field"] for each in found["errors"]] == [field]
    assert field in found["detail"]


@pytest.mark.parametrize(("said", "found"), [({}, "no such header"), *(({"content-type": each}, each) for each in OTHER_TYPES)])
def test_a_body_that_does_not_say_it_is_json_is_refused_and_told_what_to_say(client: TestClient, said: dict[str, str], found: str) -> None:
    problem = assert_problem(client.post("/votes", content=b'{"poll": "a"}', headers=said), 415, "unsupported-media-type")
    assert problem["detail"].startswith("Content-Type: expected application/json, found ")
    assert found in problem["detail"]
    assert "Send the body as JSON" in problem["detail"]


def test_no_body_at_all_is_malformed_whatever_type_it_has(client: TestClient) -> None:
    found = assert_problem(post(client, b"", "text/plain"), 400, "invalid-request")
    assert "body: expected a value, found nothing. Add it." in found["detail"]


def test_a_fault_says_where_what_was_expected_what_was_found_and_what_to_do(client: TestClient) -> None:
    def said(body: bytes) -> str:
        return str(assert_problem(post(client, body), 400, "invalid-request")["detail"])

    assert said(b'{"poll": 1}') == "Expected another request: body.poll: expected a valid string, found 1. Correct it."
    assert said(b"[]") == "Expected another request: body: expected an object, found a list of 0. Correct it."
    assert said(b"{}") == "Expected another request: body.poll: expected a value, found nothing. Add it."
    assert "parameter limit: expected a valid integer" in client.get("/votes/a?limit=many").json()["detail"]


def test_what_was_found_is_quoted_back_in_ascii_and_not_at_any_length(client: TestClient) -> None:
    detail = client.get("/votes/a", params={"limit": "ä" * 5000}).json()["detail"]
    assert "found '\\xe4" in detail
    assert "… (5,000 characters). Correct it." in detail
    assert len(detail) < 300


def test_a_parameter_of_the_wrong_type_is_malformed(client: TestClient) -> None:
    found = assert_problem(client.get("/votes/a?limit=many"), 400, "invalid-request")
    assert found["errors"][0]["field"] == "query.limit"


@pytest.mark.parametrize("query", ["poll=nobody", "limit=1&Limit=1", "poll=", "=1", "%F0%9F%90%88=1"])
def test_a_parameter_that_a_query_door_does_not_know_is_refused_with_those_that_it_knows(client: TestClient, query: str) -> None:
    found = assert_problem(client.get(f"/votes/a?{query}"), 400, "invalid-request")
    assert "expected limit, found another one. Leave it out, or correct it." in found["detail"]
    assert len(found["errors"]) == 1
    assert client.get("/votes/a?limit=1").status_code == 200


def test_a_door_without_parameters_says_so(client: TestClient) -> None:
    assert "'poll': expected no parameter here" in assert_problem(client.get("/bare?poll=a"), 400, "invalid-request")["detail"]
    assert "400" in client.get("/openapi.json").json()["paths"]["/bare"]["get"]["responses"]


def test_a_command_with_a_parameter_that_its_door_does_not_know_is_refused_and_not_done(client: TestClient) -> None:
    """`?dry_run=true` that is ignored does what somebody did not want done."""
    found = assert_problem(client.post("/votes?dry_run=true", json={"poll": "a", "voter": "bug"}), 400, "invalid-request")
    assert "'dry_run': expected no parameter here" in found["detail"]
    assert_problem(client.delete("/bare?force=1"), 400, "invalid-request")
    assert "400" in client.get("/openapi.json").json()["paths"]["/bare"]["delete"]["responses"]
    assert client.post("/votes", json={"poll": "a"}).status_code == 200


def test_what_no_document_declares_takes_any_parameter(client: TestClient) -> None:
    assert client.get("/healthz?probe=1").status_code == 200
    assert client.get("/hidden?probe=1").json() == "1"
    assert client.post("/hidden?probe=1").json() == "1"


def test_a_body_up_to_the_limit_is_taken_and_one_byte_more_is_not(client: TestClient) -> None:
    frame = len(b'{"poll": ""}')
    assert post(client, b'{"poll": "%s"}' % (b"a" * (LIMIT - frame))).status_code == 200
    assert_problem(post(client, b'{"poll": "%s"}' % (b"a" * (LIMIT - frame + 1))), 413, "too-large")


def test_a_body_without_content_length_is_counted(client: TestClient) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(LIMIT):
            yield b"aaaa"

    answer = client.post("/votes", content=pieces(), headers={"content-type": "application/json"})
    assert_problem(answer, 413, "too-large")


def test_a_raw_body_without_content_length_is_counted_too() -> None:
    app = new_app("Raw", Settings(), body_limit=LIMIT)

    @app.post("/raw")
    async def raw(request: Request) -> int:
        return len(await request.body())

    with TestClient(app) as client:
        assert client.post("/raw", content=iter([b"a" * LIMIT])).json() == LIMIT
        assert_problem(client.post("/raw", content=iter([b"a" * LIMIT, b"a"])), 413, "too-large")


def test_an_unknown_path_and_an_unknown_method_are_said(client: TestClient) -> None:
    assert_problem(client.get("/nope"), 404, "not-found")
    assert_problem(client.get("/votes/"), 404, "not-found")
    answer = client.delete("/votes")
    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"


def test_a_problem_of_the_route_keeps_its_code_and_its_own_members(client: TestClient) -> None:
    assert assert_problem(client.get("/votes/nobody"), 404, "unknown-poll")["polls"] == ["a"]


def test_what_sidestream_raises_has_its_status(client: TestClient) -> None:
    assert_problem(post(client, b'{"poll": "a", "voter": "twice"}'), 409, "event-conflict")
    answer = post(client, b'{"poll": "a", "voter": "away"}')
    assert "disk full" in assert_problem(answer, 503, "store-away")["detail"]
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("voter", "status", "code", "detail"),
    [
        ("newer", 503, "unknown-schema-version", "event v1: deploy the newer program."),
        ("unreadable", 500, "unreadable-event", "event v1: correct the upcaster."),
        ("trimmed", 500, "history-trimmed", "The service failed. Its log says why."),
    ],
)
def test_an_event_that_cannot_be_read_is_named_to_the_client_and_in_the_log(
    client: TestClient, voter: str, status: int, code: str, detail: str
) -> None:
    with capture_logs() as logs:
        answer = post(client, b'{"poll": "a", "voter": "%s"}' % voter.encode())
    assert assert_problem(answer, status, code)["detail"] == detail
    assert ("retry-after" in answer.headers) == (status == 503)
    assert [(line["path"], line["code"], line["log_level"]) for line in logs] == [("/votes", code, "error")]


def test_what_nobody_foresaw_is_500_and_tells_nothing(client: TestClient) -> None:
    with capture_logs() as logs:
        answer = post(client, b'{"poll": "a", "voter": "bug"}')
    assert [(line["path"], line["error"], line["log_level"]) for line in logs] == [("/votes", "ZeroDivisionError", "error")]
    assert_problem(answer, 500, "internal-server-error")
    assert "secret" not in answer.text
    assert "ZeroDivision" not in answer.text


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidEvent("x"), 400),
        (errors.WrongExpectedVersion("order-1", 3, 5), 409),
        (errors.EventConflict("/a", "1"), 409),
        (errors.PublishFailed("x"), 503),
        (errors.SubjectOnHold("x"), 503),
        (errors.StoreAway("x"), 503),
        (errors.TryAgain("x"), 503),
        (errors.LogUnavailable("x"), 503),
        (errors.RefusedByStore("x"), 400),
        (errors.UnknownGeneration("x"), 404),
        (errors.HistoryTrimmed("x"), 500),
        (errors.UnreadableEvent("x"), 500),
        (errors.UnknownSchemaVersion("x"), 503),
        (errors.ConfigurationError("x"), 500),
        (errors.ReadModelError("x"), 500),
    ],
)
def test_every_error_has_a_status(error: errors.SidestreamError, status: int) -> None:
    assert status_of(error) == status


def test_a_text_that_is_no_unicode_can_be_quoted_back() -> None:
    answer = ProblemError(400, "found \ud800", errors=[{"field": "\udfff"}]).response()
    assert b"\\\\ud800" in bytes(answer.body)


def test_the_document_declares_the_problems_and_no_422(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths["/votes"]["post"]["responses"]) == {"200", "400", "409", "413", "415", "500", "503"}
    assert set(paths["/votes/{poll}"]["get"]["responses"]) == {"200", "400", "500", "503"}
    schema = paths["/votes"]["post"]["responses"]["400"]["content"]["application/problem+json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/Problem"}


def test_requests_are_counted_by_route_not_by_path(client: TestClient) -> None:
    for path in ("/votes/a", "/votes/b", "/nope", "/nope2", "/healthz"):
        client.get(path)
    text = client.get("/metrics").text
    assert 'sidestream_http_requests_total{method="GET",route="/votes/{poll}",status="200"} 2.0' in text
    assert 'sidestream_http_requests_total{method="GET",route="(none)",status="404"} 2.0' in text
    assert 'sidestream_http_requests_total{method="GET",route="/healthz",status="200"} 1.0' in text


def test_two_apps_of_one_process_keep_their_metrics_apart() -> None:
    with TestClient(an_app()) as one, TestClient(an_app()) as other:
        one.get("/votes/a")
        assert 'route="/votes/{poll}"' not in other.get("/metrics").text
