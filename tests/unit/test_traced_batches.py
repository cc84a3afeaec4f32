"""Batches that a projector applies: a span for each topic of a batch, linked to what its events were recorded in."""

import json
from contextlib import AbstractContextManager
from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from sidestream.adapters.memory_log import MemoryLog
from sidestream.adapters.memory_read_model import MemoryReadModels
from sidestream.applying.applied import BOOKKEEPING
from sidestream.applying.batch import Outcome
from sidestream.applying.decoding import Rule
from sidestream.applying.projector import Projector, Spans
from sidestream.errors import StoreAway
from sidestream.event import Envelope
from sidestream.ports import Generation, Unit
from sidestream.projection import Key, Projection, Rows, Table
from sidestream.registry import Category, EventType, Registry
from sidestream.tracing import Tracing
from tests.unit.spans import SPAN_ID, TRACE, TRACE_ID, linked, only, spans, tracing

__all__ = ["spans", "tracing"]


class Rung(msgspec.Struct, frozen=True):
    bell: str


class Bell(msgspec.Struct, frozen=True):
    bell: str
    times: int


BELLS = Table(Bell, key=("bell",))
RINGING = Registry([Category("bell", "great", "/tower", (EventType("rung", Rung, ordered=False),))])


class Rings(Projection):
    """Counts how often each bell was rung."""

    name = "rings"
    topics = ("small", "great")
    handles = (Rung,)
    tables = (BELLS,)

    def keys(self, event: Rung, envelope: Envelope) -> list[tuple[Table[Any], Key]]:
        return [(BELLS, (event.bell,))]

    def evolve(self, rows: Rows, event: Rung, envelope: Envelope) -> None:
        row = rows.get(BELLS, (event.bell,)) or Bell(event.bell, 0)
        rows.put(BELLS, Bell(event.bell, row.times + 1))


class Tower:
    """A log, and a projection that follows it with spans."""

    def __init__(self, spans: Spans | None) -> None:
        self.log = MemoryLog()
        self.rule = Rule(Rings(), RINGING)
        self._read_models = MemoryReadModels()
        self._name = self._read_models.create(1, (*BOOKKEEPING, BELLS), "")
        self._spans = spans

    def ring(self, topic: str, number: int, **attributes: Any) -> None:
        counted = {"producer": "tower.1", "sequence": f"{number:020}"}
        event = {"specversion": "1.0", "id": str(number), "source": "/tower", "type": "rung", "subject": f"{topic}-1"}
        self.log.record(topic, [json.dumps({**event, **counted, "data": {"bell": topic}, **attributes}).encode()])

    def projector(self) -> Projector:
        return Projector(self.rule, self.log, self.generation(), lambda: "now", spans=self._spans)

    def generation(self) -> Generation:
        return self._read_models.open(self._name)


class Unwritable:
    """A generation whose database takes nothing."""

    def __init__(self, generation: Generation) -> None:
        self.name = generation.name
        self.snapshot = generation.snapshot
        self.check = generation.check
        self.close = generation.close

    def unit(self) -> AbstractContextManager[Unit]:
        raise StoreAway("the disk is full")


def test_every_batch_that_is_applied_has_a_span_for_each_topic(tracing: Tracing, spans: InMemorySpanExporter) -> None:
    tower = Tower(tracing)
    other = f"00-{TRACE_ID}-{'2' * 16}-00"
    for number, trace in enumerate((TRACE, other, TRACE), start=1):
        tower.ring("great", number, traceparent=trace)
    tower.ring("small", 4)
    projector = tower.projector()
    assert projector.catch_up().applied == 4
    found = {span.name: span for span in spans.get_finished_spans()}
    assert sorted(found) == ["process great", "process small"]
    assert linked(found["process great"]) == [f"{TRACE_ID}-{SPAN_ID}", f"{TRACE_ID}-{'2' * 16}"]
    assert linked(found["process small"]) == []
    assert {span.parent for span in found.values()} == {None}
    assert dict(found["process great"].attributes or {}) == {
        "messaging.system": "dapr",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "great",
        "messaging.batch.message_count": 3,
        "messaging.consumer.group.name": "rings",
    }
    projector.catch_up()
    assert len(spans.get_finished_spans()) == 2, "nothing new is no batch"


def test_an_odd_event_hides_no_trace_of_its_batch(tracing: Tracing, spans: InMemorySpanExporter) -> None:
    tower = Tower(tracing)
    tower.log.record("great", [b"no event"])
    tower.ring("great", 1, traceparent=7, streamversion="x")
    tower.ring("great", 2, traceparent=TRACE)
    assert tower.projector().catch_up() == Outcome(applied=1, parked=2)
    assert linked(only(spans)) == [f"{TRACE_ID}-{SPAN_ID}"]
    assert (only(spans).attributes or {})["messaging.batch.message_count"] == 3


def test_a_batch_that_cannot_be_applied_is_an_error_of_its_span(tracing: Tracing, spans: InMemorySpanExporter) -> None:
    tower = Tower(tracing)
    tower.ring("great", 1)
    with pytest.raises(StoreAway):
        Projector(tower.rule, tower.log, Unwritable(tower.generation()), lambda: "now", spans=tracing).step()
    assert only(spans).status.status_code is StatusCode.ERROR


def test_a_batch_that_another_process_applied_first_is_no_error(tracing: Tracing, spans: InMemorySpanExporter) -> None:
    tower = Tower(tracing)
    tower.ring("great", 1)
    late, first = tower.projector(), tower.projector()
    assert late.checkpoints == first.checkpoints
    assert first.step() == Outcome(applied=1)
    assert late.step() == Outcome()
    assert [span.status.status_code for span in spans.get_finished_spans()] == [StatusCode.UNSET] * 2


def test_without_spans_a_batch_is_applied_the_same(tracing: Tracing) -> None:
    outcomes = []
    for each in (None, tracing):
        tower = Tower(each)
        tower.ring("great", 1, traceparent=TRACE)
        outcomes.append(tower.projector().catch_up())
    assert outcomes == [Outcome(applied=1)] * 2
