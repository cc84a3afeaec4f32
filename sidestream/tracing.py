"""Traces by OpenTelemetry, where somebody wants them: requests, what is published, what is applied, what is replayed.

Off unless an exporter is named: OTEL_EXPORTER_OTLP_ENDPOINT, or SIDESTREAM_TRACING=console for a look. While it is off, and
without the extra `tracing`, nothing of its SDK is imported (the API, which does nothing alone, comes with FastAPI). Spans
only describe: none of them decides anything. An event keeps the traceparent that it was recorded with; whoever handles it
later links to that and does not extend it.
"""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from sidestream.ports import Outgoing, Publisher

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link, Span

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
CHOICE: Final = "SIDESTREAM_TRACING"
_SYSTEM: Final = "dapr"
_MOST_LINKS: Final = 128
"""As many links as a span keeps (OTEL_SPAN_LINK_COUNT_LIMIT)."""

log_line = structlog.get_logger()


class Tracing:
    """Makes the spans of one app."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("sidestream")
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def serving(self, method: str, headers: Mapping[str, str]) -> Iterator["Span"]:
        """A request is answered: a span below the caller's, if there is one."""
        from opentelemetry.trace import SpanKind

        with self._tracer.start_as_current_span(
            method,
            context=self._propagator.extract(headers),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method},
        ) as span:
            yield span

    @contextmanager
    def publishing(self, topic: str, traces: Sequence[str]) -> Iterator["Span"]:
        """A bulk goes to the sidecar: one span, linked to what its events were recorded in."""
        from opentelemetry.trace import SpanKind

        with self._messaging("send", "publish", topic, SpanKind.PRODUCER, traces) as span:
            yield span

    @contextmanager
    def applying(self, projection: str, topic: str, traces: Sequence[str]) -> Iterator["Span"]:
        """A projection applies a batch of a topic: one span of its own trace, linked to what its events were recorded in."""
        from opentelemetry.trace import SpanKind

        with self._messaging("process", "process", topic, SpanKind.CONSUMER, traces) as span:
            span.set_attribute("messaging.consumer.group.name", projection)
            yield span

    @contextmanager
    def replaying(self, target: str, recorded: str | None) -> Iterator[str]:
        """One event is handed over again: a trace of its own, linked to the recorded one; yields its traceparent."""
        from opentelemetry.trace import SpanKind

        with self._messaging("send", "replay", target, SpanKind.PRODUCER, [recorded] if recorded else []) as span:
            yield traceparent_of(span)

    @contextmanager
    def _messaging(self, kind: str, name: str, destination: str, span_kind: Any, traces: Sequence[str]) -> Iterator["Span"]:
        from opentelemetry.context import Context

        attributes: dict[str, str | int] = {
            "messaging.system": _SYSTEM,
            "messaging.operation.name": name,
            "messaging.operation.type": kind,
            "messaging.destination.name": destination,
            "messaging.batch.message_count": len(traces),
        }
        links = self._links(traces)
        with self._tracer.start_as_current_span(
            f"{name} {destination}", context=Context(), kind=span_kind, attributes=attributes, links=links
        ) as span:
            yield span

    def _links(self, traces: Sequence[str]) -> "list[Link]":
        from opentelemetry.trace import Link, get_current_span

        known = dict.fromkeys(trace for trace in traces if trace)
        contexts = (
            get_current_span(self._propagator.extract({"traceparent": trace})).get_span_context() for trace in list(known)[:_MOST_LINKS]
        )
        return [Link(context) for context in contexts if context.is_valid]

    def close(self) -> None:
        """Export what is still here."""
        self._provider.shutdown()


def note_status(span: "Span", status: int) -> None:
    """Note what a request was answered; from 500 on it is an error of ours."""
    from opentelemetry.trace import StatusCode

    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(StatusCode.ERROR)


def traceparent_of(span: "Span") -> str:
    """Return the span as a header of W3C."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def unrecorded_trace() -> str:
    """Return a new trace that nobody records, where tracing is off."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"


# ── whether it is wanted ─────────────────────────────────────────────────────────────────────────────────────────────


def tracing_of(service: str, environment: Mapping[str, str] = os.environ) -> Tracing | None:
    """Return the tracing of an app, the same one each time; None where nobody asked for it.

    Where it is asked for and the extra is not installed, a warning says so, and the app goes on without.
    """
    console = environment.get(CHOICE, "").lower() == "console"
    if not console and not any(environment.get(name) for name in ENDPOINTS):
        return None
    return _begun(service, console)


@lru_cache
def _begun(service: str, console: bool) -> Tracing | None:  # noqa: FBT001 - the key of a cache
    try:
        return Tracing(_provider(service, console))
    except ImportError as error:
        log_line.warning("tracing is off", reason=str(error), remedy="install sidestream[tracing]")
        return None


def _provider(service: str, console: bool) -> "TracerProvider":  # noqa: FBT001 - as above
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    if console:
        provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=lambda span: span.to_json(indent=None) + "\n")))
        return provider
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


# ── the publisher ────────────────────────────────────────────────────────────────────────────────────────────────────


class _Traced(msgspec.Struct, gc=False):
    traceparent: str = ""


_trace_in: Final[Callable[[bytes], _Traced]] = msgspec.json.Decoder(_Traced).decode


class TracedPublisher:
    """See `sidestream.ports.Publisher`. Another publisher's, with a span around every bulk."""

    def __init__(self, publisher: Publisher, tracing: Tracing) -> None:
        self._publisher = publisher
        self._tracing = tracing

    async def publish(self, topic: str, events: Sequence[Outgoing]) -> Mapping[int, str]:
        """See `sidestream.ports.Publisher`."""
        from opentelemetry.trace import StatusCode

        with self._tracing.publishing(topic, traces_of([event.wire for event in events])) as span:
            unconfirmed = await self._publisher.publish(topic, events)
            if unconfirmed:
                span.set_status(StatusCode.ERROR, f"{len(unconfirmed)} of {len(events)} not confirmed: {next(iter(unconfirmed.values()))}")
            return unconfirmed

    async def close(self) -> None:
        """See `sidestream.ports.Publisher`."""
        await self._publisher.close()


def traces_of(wires: Sequence[bytes]) -> list[str]:
    """Return the traceparent of every event, empty where it has none."""
    return [_trace_of(wire) for wire in wires]


def _trace_of(wire: bytes) -> str:
    try:
        return _trace_in(wire).traceparent
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
