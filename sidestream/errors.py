"""Everything Sidestream raises on purpose.

    SidestreamError
    ├── ConfigurationError         settings, YAML or environment say something that cannot be done
    ├── InvalidEvent               an event that must not enter the log
    ├── InvalidToken               a consistency token that this read model cannot wait for
    ├── UnreadableEvent            an entry of the log that cannot be understood
    │   └── UnknownSchemaVersion   written by a newer program than this one
    ├── AppendRefused
    │   ├── WrongExpectedVersion   somebody else wrote to the stream first
    │   ├── EventConflict          same source and id, other content
    │   ├── KeyReused              an idempotency key that was used for another request
    │   ├── CommandRunning         a command under the same key that is not done yet
    │   └── AlreadyAnswered        a command under the same key was answered meanwhile
    ├── CommandRefused             the business says no: nothing was recorded
    │   └── UnknownAggregate       there is nothing of this id to command
    ├── PublishFailed              the outcome is unknown: the event may stand in the log or not
    │   ├── SubjectOnHold          an earlier event of the subject is still unconfirmed
    │   └── StandsStill            nothing is published now, because the log is being moved to another broker
    ├── LeaseLost                  the right to do something alone ran out while it was being done
    ├── LogUnavailable             the log cannot be read now; nothing happened
    │   ├── ForeignPosition        a position that this kind of log never gave
    │   └── NoLogKept              the broker keeps none that could be read, now or later
    ├── LogsDiffer                 a moved log is not the one it was copied from
    ├── HistoryTrimmed             events that were never applied are gone from the log
    └── ReadModelError
        ├── StoreAway              connection, resources, shutdown: nothing happened, try again later
        ├── TryAgain               deadlock or serialisation: nothing happened, try again at once
        ├── RefusedByStore         the database refuses a value: this event's fault
        ├── UnknownGeneration      no such generation
        ├── UnreadableGeneration   there is one, and what it was built into is gone or broken
        └── OtherTables            there is one of the code's version, and its tables are not the code's

A message says what was expected, what was found, where, and what to do. `code` is stable and may be matched by programs.
"""


class SidestreamError(Exception):
    """Base of everything raised on purpose."""

    code = "error"


class ConfigurationError(SidestreamError):
    """The settings, a YAML file or the environment ask for what cannot be done."""

    code = "configuration"


class InvalidEvent(SidestreamError):
    """An event that must not enter the log: malformed, too large, or not what its type declares."""

    code = "invalid-event"


class InvalidToken(SidestreamError):
    """A consistency token that is malformed, or names a topic that the read model does not follow."""

    code = "invalid-token"


class UnreadableEvent(SidestreamError):
    """An entry of the log that cannot be understood; it becomes a dead letter."""

    code = "unreadable-event"


class UnknownSchemaVersion(UnreadableEvent):
    """An event written by a newer program; it is parked until this program knows its version."""

    code = "unknown-schema-version"


class AppendRefused(SidestreamError):
    """The event store did not take the append; nothing of it was stored."""

    code = "append-refused"


class WrongExpectedVersion(AppendRefused):
    """Somebody else wrote to the stream first."""

    code = "wrong-expected-version"

    def __init__(self, stream: str, expected: object, found: int) -> None:
        super().__init__(f"{stream}: expected version {expected}, found {found}. Load the stream again and retry.")
        self.stream = stream
        self.expected = expected
        self.found = found


class EventConflict(AppendRefused):
    """An event with this source and id is stored already, with other content."""

    code = "event-conflict"

    def __init__(self, source: str, event_id: str) -> None:
        super().__init__(f"event {event_id} of {source} is stored already with other content. Give the new event an id of its own.")
        self.source = source
        self.event_id = event_id


class KeyReused(AppendRefused):
    """An idempotency key that was used for another request."""

    code = "idempotency-key-reused"


class CommandRunning(AppendRefused):
    """A command under the same idempotency key has begun and is not done."""

    code = "command-running"


class AlreadyAnswered(AppendRefused):
    """A command under the same idempotency key was answered meanwhile.

    Attributes:
        content: that answer.
    """

    code = "already-answered"

    def __init__(self, key: str, content: bytes) -> None:
        super().__init__(f"idempotency key {key}: answered already by another process. Take that answer.")
        self.content = content


class CommandRefused(SidestreamError):
    """The business says no: what is asked for may not be done as things stand. Nothing was recorded.

    Args:
        code: stable word that programs may match, `order-not-open`.
        detail: what was expected, what was found, and what to do.
    """

    code = "command-refused"

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class UnknownAggregate(CommandRefused):
    """There is nothing of this id to command."""


class PublishFailed(SidestreamError):
    """A publish was not confirmed: the event may stand in the log or not."""

    code = "publish-failed"


class SubjectOnHold(PublishFailed):
    """An earlier event of this subject is unconfirmed; nothing later may overtake it."""

    code = "subject-on-hold"


class StandsStill(PublishFailed):
    """Nothing is published now, because the log is being moved to another broker. Nothing was sent."""

    code = "standstill"


class LeaseLost(SidestreamError):
    """The right to do something alone ran out while it was being done. Nothing more is written; what was, can be looked at."""

    code = "lease-lost"


class LogUnavailable(SidestreamError):
    """The log cannot be read now. Nothing happened; try again later."""

    code = "log-unavailable"


class ForeignPosition(LogUnavailable):
    """A position that this kind of log never gave: it was noted on another broker."""

    code = "foreign-position"


class NoLogKept(LogUnavailable):
    """The broker keeps no log that could be read: there is nothing to hold anything against."""

    code = "no-log-kept"


class LogsDiffer(SidestreamError):
    """A log that was moved does not hold the events it was copied from, in their order."""

    code = "logs-differ"


class HistoryTrimmed(SidestreamError):
    """The log begins after the checkpoint: events that were never applied are gone."""

    code = "history-trimmed"


class ReadModelError(SidestreamError):
    """The read model's database did not do what was asked."""

    code = "read-model"


class StoreAway(ReadModelError):
    """Connection lost, disk full, shutting down: nothing happened, try again later."""

    code = "store-away"


class TryAgain(ReadModelError):
    """Deadlock or serialisation failure: nothing happened, try again at once."""

    code = "try-again"


class RefusedByStore(ReadModelError):
    """The database refuses a value; the event that brought it is parked."""

    code = "refused-by-store"


class UnknownGeneration(ReadModelError):
    """There is no generation of this name."""

    code = "unknown-generation"


class UnreadableGeneration(ReadModelError):
    """The catalogue names a generation whose file or tables are gone or broken. Waiting does not help; a rebuild does."""

    code = "unreadable-generation"


class OtherTables(ReadModelError):
    """A generation and the code are of one version but of different tables: somebody changed a table and not the version."""

    code = "other-tables"
