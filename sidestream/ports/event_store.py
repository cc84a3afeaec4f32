"""What keeps the events of aggregates: append with expected version, streams, the count per topic.

One store implements all Protocols of this page; whoever uses it names only the one it needs. Every method raises StoreAway
when the database cannot be reached, is safe to call from threads, and means the same to several processes.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, Literal, Protocol, runtime_checkable

import msgspec

from sidestream.event import NewEvent


class Expected(Enum):
    """What a writer may believe of a stream besides a number."""

    NO_STREAM = "no stream"
    ANY = "any"


NO_STREAM: Final = Expected.NO_STREAM
ANY: Final = Expected.ANY
ExpectedVersion = int | Literal[Expected.NO_STREAM, Expected.ANY]


class Append(msgspec.Struct, frozen=True):
    """Events for one stream, or facts without one.

    Attributes:
        stream: the stream; None for facts, which have no version (`subject` of the events stays what it is).
        events: one or more; with a stream, their `subject` is the stream.
        expected: the version the writer believes the stream to have.
    """

    stream: str | None
    events: tuple[NewEvent, ...]
    expected: ExpectedVersion = ANY


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """One event of a store: its place in commit order, its count, its version, and the bytes for the wire.

    Attributes:
        repeated: whether the append that returned it found it stored already; False where it was read.
    """

    position: int
    topic: str
    sequence: int
    source: str
    event_id: str
    stream: str | None
    version: int | None
    wire: bytes
    ordered: bool
    recorded_ms: int
    repeated: bool = False


class Answer(msgspec.Struct, frozen=True):
    """What a command was answered, kept under its idempotency key.

    Attributes:
        key: the client's key with the scope that it is unique in, at most 512 bytes in UTF-8.
        request: 16 bytes, equal for the same request and different for another.
        content: the answer, as its writer wrote it.
    """

    key: str
    request: bytes
    content: bytes


class EventStore(Protocol):
    """Keeps events of aggregates. One append is one transaction.

    The count per topic is assigned in the append itself: gapless, in commit order, never given twice.
    """

    @property
    def producer(self) -> str:
        """Who counts: `<uuid>.<epoch>`."""
        ...

    def append(self, appends: Sequence[Append], answer: Answer | None = None) -> tuple[StoredEvent, ...]:
        """Store all of it or nothing; return every event with its place, in the order given.

        An event whose source and id are stored already with the same content is the same success: its first place is
        returned and nothing is stored for it. With an answer, that is stored in the same transaction and ends its claim;
        then `appends` may be empty.

        Raises:
            WrongExpectedVersion: a stream has another version than the writer believes.
            EventConflict: source and id are stored already with other content.
            AlreadyAnswered: another answer is stored under the key; nothing was stored.
            InvalidEvent: an event is malformed or too large.
        """
        ...

    def read_stream(self, stream: str, after: int = 0, limit: int = 1000, *, until_ms: int | None = None) -> Sequence[StoredEvent]:
        """Return the events of a stream after a version, in order; with `until_ms`, those recorded at or before that time."""
        ...

    def read_stream_back(self, stream: str, before: int | None = None, limit: int = 1000) -> Sequence[StoredEvent]:
        """Return the events of a stream before a version, newest first; None: from its end."""
        ...

    def stream_version(self, stream: str) -> int:
        """Return the version of a stream, 0 when there is none."""
        ...

    def follow(self, after: int, limit: int = 1000) -> Sequence[StoredEvent]:
        """Return events in commit order after a position; one that commits later never has a lower position."""
        ...

    def read_topic(self, topic: str, start: int = 0, limit: int = 1000) -> Sequence[StoredEvent]:
        """Return the events of a topic in commit order from a position on, *including* it."""
        ...

    def read_topic_back(self, topic: str, before: int | None = None, limit: int = 1000) -> Sequence[StoredEvent]:
        """Return the events of a topic before a position, newest first; None: from its end."""
        ...

    def count_topic(self, topic: str) -> int:
        """Return how many events are stored for a topic."""
        ...

    def topics(self) -> Sequence[str]:
        """Return every topic that events were stored for."""
        ...

    def close(self) -> None:
        """Release the connection."""
        ...


# ── commands: each answered once ─────────────────────────────────────────────────────────────────────────────────────


class Answers(Protocol):
    """What commands were answered. A finished one is stored by `EventStore.append`."""

    def claim(self, key: str, request: bytes, seconds: float) -> Answer | None:
        """Begin a command: None, and it is yours for so long; or the answer that it was given before.

        Raises:
            KeyReused: the key was used for another request.
            CommandRunning: somebody else has claimed it and is not done.
        """
        ...

    def release(self, key: str) -> None:
        """End a claim without an answer: the command was refused and may be tried again. Does nothing to an answer."""
        ...

    def forget_answers(self, before_ms: int) -> int:
        """Forget answers given before a time (ms since 1970); return how many."""
        ...


# ── snapshots: a cache ───────────────────────────────────────────────────────────────────────────────────────────────


class Snapshot(msgspec.Struct, frozen=True):
    """The state of an aggregate at a version. A cache: without it the state is folded from the first event.

    Attributes:
        shape: names the form of `state`; a snapshot of another shape is as good as none.
    """

    stream: str
    version: int
    shape: str
    state: bytes


class Snapshots(Protocol):
    """Keeps the newest snapshot of each stream."""

    def snapshot(self, stream: str, shape: str) -> Snapshot | None:
        """Return the snapshot of a stream, None where there is none of this shape."""
        ...

    def keep_snapshot(self, snapshot: Snapshot) -> None:
        """Keep it in place of an older one of its stream, or of one of another shape."""
        ...

    def drop_snapshots(self) -> int:
        """Delete all of them; return how many there were."""
        ...


# ── publishing: what a relay needs ───────────────────────────────────────────────────────────────────────────────────


class Outbox(Protocol):
    """The store as its relay sees it: what is not marked as published yet, and who may publish it."""

    @property
    def producer(self) -> str:
        """Who counts."""
        ...

    def unpublished(self, topic: str, limit: int = 1000, after: int = 0) -> Sequence[StoredEvent]:
        """Return events of a topic after the last one marked as published, and after a number, in count order.

        May return fewer than `limit`, but at least one if there is one, where events are large.
        """
        ...

    def mark_published(self, topic: str, sequence: int) -> None:
        """Note that every event of the topic up to this number stands in the log. Going back is ignored."""
        ...

    def publish_again(self, topic: str, after: int) -> None:
        """Note that events of the topic after this number do not stand in the log any more: the relay sends them again."""
        ...

    def backlog(self) -> Mapping[str, int]:
        """Return, for every topic, how many of its events are not marked as published."""
        ...

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take a lease, or renew one's own, for so long by the database's clock; False while somebody else holds it.

        For 0 seconds it only asks: one's own then ends.
        """
        ...

    def end_lease(self, name: str, holder: str) -> None:
        """Give up one's own lease; somebody else's stays."""
        ...


@runtime_checkable
class Announcing(Protocol):
    """A store that tells what other processes append."""

    def wait_for_append(self, seconds: float) -> bool:
        """Wait until somebody has appended since the last call began, at most so long; say whether somebody has."""
        ...


class Restorable(Protocol):
    """A store that may have been restored from a copy, and then lacks what stands in the log already."""

    def adopt(self, topic: str, wires: Sequence[bytes]) -> int:
        """Store events of this very producer that stand in the log and are missing here; return how many.

        They are the next ones of the topic's count, in order, and are marked as published.

        Raises:
            EventConflict: a number, a version or an id is stored already with other content.
            UnreadableEvent: not an event of this producer, or not the next one.
        """
        ...

    def begin_epoch(self) -> str:
        """Count anew under a new producer, for a store that cannot adopt; return it. Unpublished events are given new numbers.

        What was given out under the old one stays as it is in the log. An event that stands there and is not marked as published
        would go out twice: `sidestream.writing.tail.count_anew` marks it first.
        """
        ...


class ServiceStore(EventStore, Answers, Snapshots, Outbox, Restorable, Protocol):
    """All of it: what an adapter is, and what a service is given."""
