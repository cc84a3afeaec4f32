"""What an append knows after it has the store's lock, and the places it gives to events: no SQL, no connection.

Several appends share one view, one after the other; one that is refused leaves nothing in it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from sidestream.event import Counted, NewEvent, encode_event
from sidestream.ports import Answer, Append, StoredEvent
from sidestream.writing.answering import Claim, check_answer
from sidestream.writing.appending import Identity, check_repeat, check_version, identity_of

Found = tuple[StoredEvent, bytes]
"""An event and the digest of its content."""
_NOTHING: Final = (None, None)


class Places:
    """One transaction's view: what was stored when it began, and what it adds."""

    def __init__(
        self,
        *,
        number: int,
        producer: str,
        position: int,
        now_ms: int,
        counts: Mapping[str, int],
        versions: Mapping[str, int],
        known: Mapping[Identity, Found],
        answers: Mapping[str, tuple[Answer | None, Claim | None]],
    ) -> None:
        self.number = number
        self.producer = producer
        self.position = position
        self.now_ms = now_ms
        self.counts = dict(counts)
        self.versions = dict(versions)
        self.known = dict(known)
        self.answers = dict(answers)
        self.fresh: list[Found] = []
        self.given: list[Answer] = []

    @property
    def is_changed(self) -> bool:
        """Whether there is anything to store."""
        return bool(self.fresh or self.given)

    def take(self, appends: Sequence[Append], answer: Answer | None) -> tuple[StoredEvent, ...]:
        """Give places to all events of a call, or raise and change nothing."""
        if answer is not None:
            check_answer(answer, *self.answers.get(answer.key, _NOTHING), self.now_ms)
        call = _Call(self)
        stored = tuple(event for append in appends for event in call.append(append))
        self._keep(call)
        if answer is not None:
            self.answers[answer.key] = (answer, None)
            self.given.append(answer)
        return stored

    def _keep(self, call: "_Call") -> None:
        self.position += len(call.fresh)
        self.counts |= call.counts
        self.versions |= call.versions
        self.known |= call.fresh
        self.fresh.extend(call.fresh.values())


class _Call:
    """One call on its way: what it would add, kept apart until all of it is known to be good."""

    def __init__(self, places: Places) -> None:
        self.fresh: dict[Identity, Found] = {}
        self.counts: dict[str, int] = {}
        self.versions: dict[str, int] = {}
        self._places = places

    def append(self, append: Append) -> list[StoredEvent]:
        known = [self._find(event) for event in append.events] if self.fresh or self._places.known else [None]
        if append.stream is not None and None in known:
            check_version(append.stream, append.expected, self._version(append.stream))
        return [self._find(event) or self._add(event, append.stream) for event in append.events]

    def _find(self, event: NewEvent) -> StoredEvent | None:
        identity = event.source, event.id
        found = self.fresh.get(identity) or self._places.known.get(identity)
        if found is None:
            return None
        stored, digest = found
        check_repeat(event, event.content_digest(), digest, stored.wire)
        return msgspec.structs.replace(stored, repeated=True)

    def _version(self, stream: str) -> int:
        return self.versions.get(stream) or self._places.versions.get(stream, 0)

    def _add(self, event: NewEvent, stream: str | None) -> StoredEvent:
        places = self._places
        version = None if stream is None else self._version(stream) + 1
        sequence = (self.counts.get(event.topic) or places.counts.get(event.topic, 0)) + 1
        stored = StoredEvent(
            places.position + len(self.fresh) + 1,
            event.topic,
            sequence,
            event.source,
            event.id,
            stream,
            version,
            encode_event(event, Counted(places.producer, sequence, version)),
            event.ordered,
            places.now_ms,
        )
        self.counts[event.topic] = sequence
        if stream is not None and version is not None:
            self.versions[stream] = version
        self.fresh[identity_of(event)] = (stored, event.content_digest())
        return stored


class Wanted:
    """What an append must know before it can give places."""

    def __init__(self, calls: Iterable[tuple[Sequence[Append], Answer | None]]) -> None:
        self.topics: set[str] = set()
        self.sources: set[str] = set()
        self.streams: set[str] = set()
        self.identities: set[Identity] = set()
        self.keys: set[str] = set()
        for appends, answer in calls:
            if answer is not None:
                self.keys.add(answer.key)
            for append in appends:
                self._add(append)

    def _add(self, append: Append) -> None:
        if append.stream is not None:
            self.streams.add(append.stream)
        for event in append.events:
            self.topics.add(event.topic)
            self.sources.add(event.source)
            self.identities.add(identity_of(event))
