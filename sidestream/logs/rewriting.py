"""A topic written anew: all that the store has appended, in count order, and everything else that still stands there.

The remedy where events are missing before others that stand in the log: appended at the end they would stand behind later
events of their stream. Readers meet another log, read it from its start, and skip by their counts what they have applied.
Whoever calls this holds the relay's lease, and says before every write whether it still does; the service may append meanwhile.
Knows the ports only.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile
from typing import Protocol

from sidestream.errors import UnreadableEvent
from sidestream.event import decode_event
from sidestream.logs.as_relayed import as_relayed
from sidestream.logs.published_numbers import stored_events
from sidestream.ports import ServiceStore, StoredEvent


class LogRewriter(Protocol):
    """A log whose topics can be replaced."""

    def rewrite(
        self, topic: str, wires: Iterable[bytes], keep: Callable[[bytes], bool], may_write: Callable[[], None] = lambda: None
    ) -> None:
        """Replace a topic by these wires, in order, and those of its present entries that are to be kept, in theirs.

        What somebody adds while this is under way is kept too, and never stands before an earlier event of its subject.
        A topic that is not there is made. Killed at any point it has lost nothing, and may be called again.

        Args:
            topic: the topic.
            wires: one at least; iterated as often as it takes, and the same each time.
            keep: whether an entry is somebody else's; of equal ones the first is enough.
            may_write: called before every write; raises LeaseLost where somebody else may be at it. Then nothing more is written.

        Raises:
            LogUnavailable: everything stands there that stood there before, maybe with repeats behind it.
            ConfigurationError: the log of this topic cannot be replaced.
        """
        ...

    def close(self) -> None:
        """Disconnect."""
        ...


def rewrite_topic(store: ServiceStore, rewriter: LogRewriter, topic: str, may_write: Callable[[], None] = lambda: None) -> None:
    """Write the topic anew from the store, and mark what was written as published; what is appended meanwhile is not.

    Raises:
        LeaseLost: `may_write`, which is called before every write, has said so.
    """
    newest = store.read_topic_back(topic, None, 1)
    if not newest:
        return
    last = newest[0]
    family = store.producer.partition(".")[0]
    rewriter.rewrite(topic, _History(store, last), lambda wire: not _is_of(family, wire), may_write)
    may_write()
    if decode_event(last.wire).producer == store.producer:  # an older epoch's number is none of the present count
        store.mark_published(topic, last.sequence)


class _History:
    """The wires of a store's topic in commit order, as the sidecar writes them, up to the event that was its last; the same each time."""

    def __init__(self, store: ServiceStore, last: StoredEvent) -> None:
        self._store = store
        self._last = last

    def __iter__(self) -> Iterator[bytes]:
        events = stored_events(self._store, self._last.topic)
        return (as_relayed(event.wire) for event in takewhile(lambda event: event.position <= self._last.position, events))


def _is_of(family: str, wire: bytes) -> bool:
    """Whether a store counted the event, in whatever epoch."""
    if family.encode() not in wire:
        return False
    try:
        return (decode_event(wire).producer or "").partition(".")[0] == family
    except UnreadableEvent:
        return False
