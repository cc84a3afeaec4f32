"""Loads an aggregate, lets it decide, appends what it decided; and again where somebody else wrote first.

A snapshot is a cache: it is written after the append, read only in the aggregate's own shape, and ignored when it is
corrupt or does not belong to the stream. Deleting all of them changes nothing but the time of a load. It knows the ports only.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, Generic

import msgspec
import structlog

from sidestream.aggregate import Aggregate, Command, Event, State
from sidestream.applying.consistency import Place
from sidestream.causation import NO_CAUSE, Cause
from sidestream.errors import WrongExpectedVersion
from sidestream.event import NewEvent, decode_event
from sidestream.ports import Answer, Append, EventStore, Snapshot, Snapshots, StoredEvent
from sidestream.registry import Registry
from sidestream.writing.reading import read_stored

TRIES: Final = 8
"""How often a command is decided anew because somebody else wrote first."""
SNAPSHOT_EVERY: Final = 100
"""After so many events since the last snapshot another one is kept."""
_PAGE: Final = 1000
_DIGEST_BYTES: Final = 16

log_line = structlog.get_logger()


class Loaded(msgspec.Struct, Generic[State], frozen=True):
    """An aggregate as its events left it.

    Attributes:
        version: the version of its stream; 0: it has none.
        folded: how many events were read to know it, those that a snapshot spared not counted.
    """

    stream: str
    state: State
    version: int
    folded: int = 0


class Decided(msgspec.Struct, Generic[State], frozen=True):
    """The outcome of a command: which events it made, and what they lead to.

    Attributes:
        before: the version it was decided at.
        version: the version after it; equal to `before` where nothing changed.
        events: what was recorded, as the language's models.
    """

    stream: str
    state: State
    before: int
    version: int
    events: tuple[msgspec.Struct, ...]

    @property
    def changed(self) -> bool:
        """Whether anything was recorded."""
        return bool(self.events)


class Repository(Generic[State, Command, Event]):
    """Carries out commands on aggregates of one kind. Safe to call from threads.

    Args:
        aggregate: what decides.
        store: where the events are.
        registry: the language they are written in.
        ring: called after every append that recorded something, `relay.ring`.
        new_id, now: the ids and the times of the events.
        snapshots: where to keep snapshots; None: nowhere.
        snapshot_every: events between two of them.
    """

    def __init__(
        self,
        aggregate: Aggregate[State, Command, Event],
        store: EventStore,
        registry: Registry,
        *,
        ring: Callable[[], object],
        new_id: Callable[[], str],
        now: Callable[[], str],
        snapshots: Snapshots | None = None,
        snapshot_every: int = SNAPSHOT_EVERY,
    ) -> None:
        self._aggregate = aggregate
        self._store = store
        self._registry = registry
        self._ring = ring
        self._new_id = new_id
        self._now = now
        self._cache = _Cache(aggregate, snapshots, snapshot_every) if snapshots is not None and aggregate.shape else None

    # ── loading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def load(self, identifier: str) -> Loaded[State]:
        """Return an aggregate as it is now; of one that never was the initial state at version 0.

        Raises:
            UnknownSchemaVersion, UnreadableEvent: this program does not understand an event of its stream (`reading`).
        """
        stream = self._aggregate.stream(identifier)
        found = self._load_after_snapshot(stream)
        return found or self._fold_on(Loaded(stream, self._aggregate.initial, 0))

    def _load_after_snapshot(self, stream: str) -> Loaded[State] | None:
        """Go on from a snapshot, if the event that it was taken at is still the one that stands there."""
        cached = self._cache.find(stream) if self._cache else None
        if cached is None:
            return None
        event_id, start = cached
        taken_at = self._store.read_stream(stream, after=start.version - 1, limit=1)
        if not taken_at or taken_at[0].event_id != event_id:
            return None
        return self._fold_on(start)

    def _fold_on(self, start: Loaded[State]) -> Loaded[State]:
        state, version = start.state, start.version
        while page := self._store.read_stream(start.stream, after=version, limit=_PAGE):
            state = self._aggregate.fold((read_stored(self._registry, stored)[0] for stored in page), state)
            version = page[-1].version or version
        return Loaded(start.stream, state, version, version - start.version)

    # ── commanding ───────────────────────────────────────────────────────────────────────────────────────────────────

    def execute(
        self,
        identifier: str,
        command: Command,
        *,
        cause: Cause = NO_CAUSE,
        expected: Collection[int] | None = None,
        answer: Callable[[Decided[State]], Answer | None] = lambda decided: None,
    ) -> tuple[Decided[State], tuple[StoredEvent, ...]]:
        """Load, decide, append; return what was decided and the events as they are stored.

        Args:
            identifier: which aggregate.
            command: what is asked for.
            cause: what the events carry as correlation, causation and trace.
            expected: the versions the caller believes it may be at. Then a conflict is the caller's to solve; without,
                the command is decided anew a bounded number of times.
            answer: what to store with the events in one transaction, so that the command is answered once.

        Raises:
            CommandRefused: the aggregate says no; nothing was recorded.
            WrongExpectedVersion: it is at another version than expected, or somebody else was faster every time.
            AlreadyAnswered: another process has answered the same command meanwhile.
        """
        for attempt in range(1, TRIES + 1):
            loaded = self.load(identifier)
            if expected is not None and loaded.version not in expected:
                if not loaded.version:
                    self._decide(command, loaded)  # a command that needs something there says so first: there is nothing
                raise WrongExpectedVersion(loaded.stream, " or ".join(map(str, sorted(expected))) or "none", loaded.version)
            decided = self._decide(command, loaded)
            try:
                stored = self._append(decided, cause, answer(decided))
            except WrongExpectedVersion:
                if expected is not None or attempt == TRIES:
                    raise
                continue
            if self._cache is not None and decided.changed:
                self._cache.keep(decided, stored[-1].event_id, loaded.folded + len(decided.events))
            return decided, stored
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _decide(self, command: Command, loaded: Loaded[State]) -> Decided[State]:
        events = tuple(self._aggregate.decide(command, loaded.state))
        state = self._aggregate.fold(events, loaded.state)
        return Decided(loaded.stream, state, loaded.version, loaded.version + len(events), events)

    def _append(self, decided: Decided[State], cause: Cause, answer: Answer | None) -> tuple[StoredEvent, ...]:
        if not decided.changed and answer is None:
            return ()
        appends = [Append(decided.stream, self._new_events(decided, cause), expected=decided.before)] if decided.changed else []
        stored = self._store.append(appends, answer=answer)
        if decided.changed:
            self._ring()
        return stored

    def _new_events(self, decided: Decided[State], cause: Cause) -> tuple[NewEvent, ...]:
        time = self._now()
        return tuple(
            self._registry.new_event(
                event,
                id=self._new_id(),
                subject=decided.stream,
                time=time,
                correlationid=cause.correlation_id,
                causationid=cause.causation_id,
                traceparent=cause.traceparent,
            )
            for event in decided.events
        )

    # ── what was recorded ────────────────────────────────────────────────────────────────────────────────────────────

    def recorded(self, stream: str, before: int, version: int) -> Sequence[StoredEvent]:
        """Return the events that a command recorded; of one that changed nothing the newest event that it saw."""
        after = min(before, max(version - 1, 0))
        return self._store.read_stream(stream, after=after, limit=version - after) if version else ()


class _Cache(Generic[State]):
    """Snapshots of one aggregate's states. Whatever is wrong with one, there is none.

    Kept as: digest of all that follows, 16 bytes │ msgpack: stream, version, id of the event at this version, state
    """

    def __init__(self, aggregate: Aggregate[State, Command, Event], snapshots: Snapshots, every: int) -> None:
        self._shape = aggregate.shape
        self._snapshots = snapshots
        self._every = every
        self._decode = msgspec.msgpack.Decoder(tuple[str, int, str, type(aggregate.initial)]).decode  # type: ignore[misc]

    def find(self, stream: str) -> tuple[str, Loaded[State]] | None:
        """Return the event that a snapshot was taken at, and the state; None where there is none that can be used."""
        snapshot = self._snapshots.snapshot(stream, self._shape)
        if snapshot is None:
            return None
        digest, content = snapshot.state[:_DIGEST_BYTES], snapshot.state[_DIGEST_BYTES:]
        try:
            named, version, event_id, state = self._decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            named = ""
        if named != stream or version != snapshot.version or version < 1 or digest != _digest(content):
            log_line.warning("snapshot ignored", stream=stream, version=snapshot.version, problem="it is not what was kept")
            return None
        return event_id, Loaded(stream, state, version)

    def keep(self, decided: Decided[State], event_id: str, since_last: int) -> None:
        """Keep a snapshot where enough has happened since the last one. The command is done already: nothing here fails it."""
        if since_last < self._every:
            return
        try:
            content = msgspec.msgpack.encode((decided.stream, decided.version, event_id, decided.state))
            self._snapshots.keep_snapshot(Snapshot(decided.stream, decided.version, self._shape, _digest(content) + content))
        except Exception as error:  # whatever it is, the events are stored: an error would call the command undone
            log_line.warning("snapshot not kept", stream=decided.stream, problem=f"{type(error).__name__}: {error}")


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()


def places_of(stored: Iterable[StoredEvent]) -> list[Place]:
    """Return where events stand in the count of their topics; a query may wait for them."""
    return [Place(event.topic, decode_event(event.wire).producer or "", event.sequence) for event in stored]
