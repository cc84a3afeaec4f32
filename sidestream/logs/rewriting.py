"""A topic written anew: all that the store has published, in count order, and then everything else that still stands there.

The remedy where events are missing before others that stand in the log: appended at the end they would stand behind later
events of their stream. Readers meet another log, read it from its start, and skip by their counts what they have applied.
Whoever calls this holds the relay's lease. Knows the ports only.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

from sidestream.errors import UnreadableEvent
from sidestream.event import decode_event
from sidestream.logs.verifying import entries_of, stored_events
from sidestream.ports import EventLog, ServiceStore


class LogRewriter(Protocol):
    """A log whose topics can be replaced."""

    def rewrite(self, topic: str, wires: Iterable[bytes]) -> None:
        """Replace the entries of a topic by these, in order, in one step: a reader sees the old ones or the new ones.

        What somebody adds while this is under way is kept and stands behind them.

        Raises:
            LogUnavailable: the log is as it was.
        """
        ...


def rewrite_topic(store: ServiceStore, log: EventLog, rewriter: LogRewriter, topic: str) -> None:
    """Write the topic anew from the store, and mark all of it as published."""
    rewriter.rewrite(topic, _all(store, log, topic))
    last = max((event.sequence for event in store.read_topic_back(topic, None, 1)), default=0)
    store.mark_published(topic, last)


def _all(store: ServiceStore, log: EventLog, topic: str) -> Iterator[bytes]:
    """Yield the store's events in commit order, then the others that stand in the log."""
    for event in stored_events(store, topic):
        yield event.wire
    family = store.producer.partition(".")[0]
    for entry in entries_of(log, topic):
        if not _is_of(family, entry.data):
            yield entry.data


def _is_of(family: str, wire: bytes) -> bool:
    """Whether a store counted the event, in whatever epoch."""
    if family.encode() not in wire:
        return False
    try:
        return (decode_event(wire).producer or "").partition(".")[0] == family
    except UnreadableEvent:
        return False
