"""What the kernel asks of the world, one small Protocol per need. The memory adapters are the specification.

    publisher      hand events to the sidecar
    event_log      read a log by position
    event_store    append with expected version; streams, answers, snapshots, what a relay needs
    read_models    generations and their transactions

All of it is synchronous but the publisher: reading, folding and writing run in a thread, HTTP and gRPC at the edges are
asynchronous. An adapter translates its driver's failures into the errors named here and lets no other escape.
"""

from sidestream.ports.event_log import EventLog, LogEntry, LogExtent, ReadsAhead, SeeksTime, Wires, wires_of
from sidestream.ports.event_store import (
    ANY,
    NO_STREAM,
    Announcing,
    Answer,
    Answers,
    Append,
    EventStore,
    Expected,
    ExpectedVersion,
    Outbox,
    Restorable,
    ServiceStore,
    Snapshot,
    Snapshots,
    StoredEvent,
)
from sidestream.ports.publisher import Outgoing, Publisher
from sidestream.ports.read_models import (
    Condition,
    Generation,
    GenerationInfo,
    GenerationState,
    Query,
    Reader,
    ReadModels,
    TableShape,
    Unit,
    shape_of,
)

__all__ = [
    "ANY",
    "NO_STREAM",
    "Announcing",
    "Answer",
    "Answers",
    "Append",
    "Condition",
    "EventLog",
    "EventStore",
    "Expected",
    "ExpectedVersion",
    "Generation",
    "GenerationInfo",
    "GenerationState",
    "LogEntry",
    "LogExtent",
    "Outbox",
    "Outgoing",
    "Publisher",
    "Query",
    "ReadModels",
    "Reader",
    "ReadsAhead",
    "Restorable",
    "SeeksTime",
    "ServiceStore",
    "Snapshot",
    "Snapshots",
    "StoredEvent",
    "TableShape",
    "Unit",
    "Wires",
    "shape_of",
    "wires_of",
]
