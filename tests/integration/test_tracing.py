"""Spans of a vote from its request to its tally: real sidecars, real exporters, and a collector that the test is itself."""

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from sidestream.launcher.system import System
from tests.asking import caught_up
from tests.parts import REPOSITORY, running_system
from tests.waiting import until

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VOTE = {"poll": "pets", "option": "cats", "voter": "ada"}

pytestmark = pytest.mark.timeout(120)


class Collector:
    """Takes what apps export, OTLP over HTTP."""

    def __init__(self) -> None:
        self._taken: list[tuple[str, Span]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
                for each in request.resource_spans:
                    (service,) = (one.value.string_value for one in each.resource.attributes if one.key == "service.name")
                    collector._taken.extend((service, span) for scope in each.scope_spans for span in scope.spans)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def spans(self, service: str, name: str) -> list[Span]:
        return [span for found, span in tuple(self._taken) if (found, span.name) == (service, name)]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with closing(Collector()) as made:
        yield made


@pytest.fixture
async def system(tmp_path: Path, collector: Collector) -> AsyncIterator[System]:
    """Votes and tally, each with a sidecar, that export to the collector as soon as they have something."""
    exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    async with running_system(tmp_path / "system", REPOSITORY / "tests" / "apps" / "voting.yaml", environment=exporting) as running:
        yield running


def linked(span: Span) -> list[tuple[str, str]]:
    return [(link.trace_id.hex(), link.span_id.hex()) for link in span.links]


def attributes(span: Span) -> dict[str, str | int]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


async def test_a_vote_is_seen_in_its_trace_when_it_comes_and_by_links_when_it_is_published_and_applied(
    system: System, collector: Collector
) -> None:
    async with httpx.AsyncClient(base_url=system["votes"].url, timeout=30) as door:
        answer = await door.post("/votes", json=VOTE, headers={"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"})
        assert answer.status_code == 202, answer.text
    await caught_up(system, "tally", "/polls")
    seen = (("votes", "POST /votes"), ("votes", "publish votes"), ("tally", "process votes"))
    await until(lambda: all(collector.spans(*each) for each in seen), 20)

    (posted,), (published,), (applied,) = (collector.spans(*each) for each in seen)
    assert (posted.trace_id.hex(), posted.parent_span_id.hex(), posted.kind) == (TRACE_ID, SPAN_ID, Span.SPAN_KIND_SERVER)
    for span, kind in ((published, Span.SPAN_KIND_PRODUCER), (applied, Span.SPAN_KIND_CONSUMER)):
        assert (span.kind, span.parent_span_id, linked(span)) == (kind, b"", [(TRACE_ID, SPAN_ID)])
        assert span.trace_id.hex() != TRACE_ID
    assert applied.start_time_unix_nano >= published.start_time_unix_nano >= posted.start_time_unix_nano
    assert attributes(applied) == {
        "messaging.system": "dapr",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "votes",
        "messaging.batch.message_count": 1,
        "messaging.consumer.group.name": "tally",
    }
