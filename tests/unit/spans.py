"""What was traced, kept in memory: fixtures and words of the tests about spans."""

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sidestream.tracing import Tracing

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACE = f"00-{TRACE_ID}-{SPAN_ID}-01"


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """Spans that have ended."""
    return InMemorySpanExporter()


@pytest.fixture
def tracing(spans: InMemorySpanExporter) -> Tracing:
    """Tracing that is on."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return Tracing(provider)


def only(spans: InMemorySpanExporter) -> ReadableSpan:
    """Return the one span that has ended."""
    (span,) = spans.get_finished_spans()
    return span


def linked(span: ReadableSpan) -> list[str]:
    """Return what a span is linked to, as `trace-span`."""
    return [f"{link.context.trace_id:032x}-{link.context.span_id:016x}" for link in span.links]
