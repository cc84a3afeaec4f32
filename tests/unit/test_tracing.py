"""Spans: off unless wanted, one per request and per bulk, linked to what was recorded and never extending it."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence

from fastapi import Request
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.testclient import TestClient

from sidestream.ports import Outgoing
from sidestream.settings import Settings
from sidestream.tracing import TracedPublisher, Tracing, traces_of, tracing_of
from sidestream.web.app import new_app
from sidestream.web.tracing import TracedRequests
from tests.unit.spans import SPAN_ID, TRACE, TRACE_ID, linked, only, spans, tracing

__all__ = ["spans", "tracing"]


# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def a_client(tracing: Tracing) -> TestClient:
    app = new_app("tested", Settings())

    @app.get("/things/{name}")
    def thing(name: str, request: Request) -> dict[str, str]:
        if name == "broken":
            raise ValueError(name)
        return {"traceparent": request.headers["traceparent"]}

    app.add_middleware(TracedRequests, tracing)
    return TestClient(app, raise_server_exceptions=False)


def test_a_request_has_a_span_named_by_its_route(tracing: Tracing, spans: InMemorySpanExporter) -> None:
    a_client(tracing).get("/things/7")
    span = only(spans)
    assert (span.name, span.kind, span.parent) == ("GET /things/{name}", SpanKind.SERVER, None)
    assert dict(span.attributes or {}) == {"http.request.method": "GET", "http.response.status_code": 200, "http.route": "/things/{name}"}


def test_a_request_without_a_trace_is_given_the_spans(tracing: Tracing, spans: InMemorySpanExporter) -> None:
    given = a_client(tracing).get("/things/7").json()["traceparent"]
    context = only(spans).get_span_context()
    assert context is not None
    assert given == f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    assert context.trace_flags.sampled


def test_the_callers_trace_is_kept_as_it_is_and_is_the_parent(tracing: Tracing, spans: InMemorySpanExporter) -> None:
    assert a_client(tracing).get("/things/7", headers={"traceparent": TRACE}).json() == {"traceparent": TRACE}
    parent = only(spans).parent
    assert parent is not None
    assert (f"{parent.trace_id:032x}", f"{parent.span_id:016x}") == (TRACE_ID, SPAN_ID)


def test_a_broken_answer_is_an_error_of_its_span(tracing: Tracing, spans: InMemorySpanExporter) -> None:
    assert a_client(tracing).get("/things/broken").status_code == 500
    assert only(spans).status.status_code is StatusCode.ERROR


def test_what_machines_ask_all_the_time_has_no_span(tracing: Tracing, spans: InMemorySpanExporter) -> None:
    assert a_client(tracing).get("/healthz").status_code == 200
    assert spans.get_finished_spans() == ()


# ── publishing ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Door:
    """A publisher that confirms everything, or nothing."""

    def __init__(self, unconfirmed: Mapping[int, str]) -> None:
        self.sent: list[Outgoing] = []
        self.closed = False
        self._unconfirmed = unconfirmed

    async def publish(self, topic: str, events: Sequence[Outgoing]) -> Mapping[int, str]:
        self.sent += events
        return self._unconfirmed

    async def close(self) -> None:
        self.closed = True


def outgoing(*traces: str) -> list[Outgoing]:
    return [Outgoing(json.dumps({"id": str(at), "traceparent": each}).encode(), "", str(at)) for at, each in enumerate(traces)]


async def test_a_bulk_has_one_span_linked_to_the_traces_of_its_events(tracing: Tracing, spans: InMemorySpanExporter) -> None:
    door = Door({})
    events = [*outgoing(TRACE, TRACE, "no trace"), Outgoing(b'{"id":"x"}', "", "x"), Outgoing(b"\xff", "", "y")]
    assert await TracedPublisher(door, tracing).publish("votes", events) == {}
    span = only(spans)
    assert door.sent == events
    assert (span.name, span.kind, span.parent) == ("publish votes", SpanKind.PRODUCER, None)
    assert linked(span) == [f"{TRACE_ID}-{SPAN_ID}"]
    assert dict(span.attributes or {}) == {
        "messaging.system": "dapr",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": "votes",
        "messaging.batch.message_count": 5,
    }


async def test_what_is_not_confirmed_is_an_error_of_the_span_and_the_answer_as_it_was(
    tracing: Tracing, spans: InMemorySpanExporter
) -> None:
    publisher = TracedPublisher(door := Door({1: "refused"}), tracing)
    assert await publisher.publish("votes", outgoing(TRACE, TRACE)) == {1: "refused"}
    assert only(spans).status.description == "1 of 2 not confirmed: refused"
    await publisher.close()
    assert door.closed


def test_a_traceparent_that_is_no_text_is_none() -> None:
    assert traces_of([b'{"traceparent":7}', b"{}", b'{"traceparent":"t"}']) == ["", "", "t"]


# ── applying and replaying ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_is_applied_in_a_trace_of_its_own_with_links(tracing: Tracing, spans: InMemorySpanExporter) -> None:
    with tracing.applying("tally", "votes", [TRACE]):
        pass
    span = only(spans)
    assert (span.name, span.kind, span.parent, linked(span)) == ("process votes", SpanKind.CONSUMER, None, [f"{TRACE_ID}-{SPAN_ID}"])
    assert (span.attributes or {})["messaging.consumer.group.name"] == "tally"


def test_a_span_keeps_no_more_links_than_it_may(tracing: Tracing, spans: InMemorySpanExporter) -> None:
    with tracing.applying("tally", "votes", [f"00-{TRACE_ID}-{at:016x}-01" for at in range(1, 1000)]):
        pass
    assert len(only(spans).links) == 128


def test_a_replay_links_to_the_recorded_trace_and_does_not_extend_it(tracing: Tracing, spans: InMemorySpanExporter) -> None:
    with tracing.replaying("http://there", TRACE) as traceparent:
        pass
    assert TRACE_ID not in traceparent
    assert (only(spans).parent, linked(only(spans))) == (None, [f"{TRACE_ID}-{SPAN_ID}"])


# ── whether it is wanted ─────────────────────────────────────────────────────────────────────────────────────────────


def test_nobody_asked_nothing_is_traced() -> None:
    assert tracing_of("app", {}) is None
    assert tracing_of("app", {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}) is None


PROGRAM = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if BLOCKS and name.startswith(OPTIONAL):
            raise ImportError(f"{name} is not installed here")
OPTIONAL = ("opentelemetry.sdk", "opentelemetry.exporter")  # the API alone, which does nothing, comes with FastAPI
BLOCKS = sys.argv[1] == "without"
sys.meta_path.insert(0, Blocked())
from starlette.testclient import TestClient
from sidestream.settings import Settings
from sidestream.web.app import new_app
client = TestClient(new_app("tested", Settings()))
assert client.get("/healthz").status_code == 200
assert client.get("/nowhere").status_code == 404
print([name for name in sys.modules if name.startswith(OPTIONAL)])
"""


def ended(extra: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", PROGRAM, extra], env=environment, capture_output=True, text=True, timeout=60)


def test_nothing_of_the_extra_is_imported_while_nobody_asks() -> None:
    found = ended("with")
    assert (found.returncode, found.stdout) == (0, "[]\n"), found


def test_without_the_extra_an_app_says_so_once_and_answers() -> None:
    found = ended("without", SIDESTREAM_TRACING="console")
    assert found.returncode == 0, found
    assert found.stdout.endswith("[]\n")
    assert (found.stdout + found.stderr).count("install sidestream[tracing]") == 1


def test_on_the_console_every_request_is_a_line_of_json() -> None:
    found = ended("with", SIDESTREAM_TRACING="console")
    (line,) = [json.loads(line) for line in found.stdout.splitlines() if line.startswith("{")]
    assert (line["name"], line["attributes"]["http.response.status_code"]) == ("GET", 404)
    assert line["resource"]["attributes"]["service.name"] == "app"
