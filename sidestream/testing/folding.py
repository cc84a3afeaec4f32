"""What a read model must be, worked out without the kernel's projector: every event once, in the order it was written.

No batches, no counts, no transactions: a dictionary and the rule. What the rule cannot read is left out, and with it
the later events of its stream where order matters.
"""

from collections.abc import Hashable, Sequence
from operator import attrgetter
from typing import Any

from sidestream.errors import UnreadableEvent
from sidestream.event import Envelope, decode_event
from sidestream.projection import Key, Projection, Table
from sidestream.registry import Registry
from sidestream.testing.history import Recorded

Model = dict[Table[Any], dict[Key, Any]]


def fold(projection: Projection, registry: Registry, history: Sequence[Recorded]) -> Model:
    """Return all rows by table and key.

    Args:
        projection: the rule.
        registry: the language it is written in.
        history: what happened, as it was written, without repeats.
    """
    rows = _Dictionary(projection)
    handled = {registry.type_of(model).name for model in projection.handles}
    seen: set[Hashable] = set()
    broken: set[Hashable] = set()
    for recorded in history:
        envelope = _envelope(recorded)
        if envelope is None or _is_repeat(recorded.topic, envelope, seen) or (recorded.topic, envelope.stream) in broken:
            continue
        try:
            if not handled or envelope.type in handled:
                projection.evolve(rows, registry.read(envelope) if handled else envelope.data, envelope)
        except UnreadableEvent:
            if projection.ordered:
                broken.add((recorded.topic, envelope.stream))
    return rows.kept()


def _envelope(recorded: Recorded) -> Envelope | None:
    try:
        return decode_event(recorded.wire)
    except UnreadableEvent:
        return None


def _is_repeat(topic: str, envelope: Envelope, seen: set[Hashable]) -> bool:
    """A history may tell a stranger's event twice; who counts never does."""
    known = (topic, envelope.source, envelope.id, envelope.number)
    if known in seen:
        return True
    seen.add(known)
    return False


class _Dictionary:
    """Rows as a rule sees them."""

    def __init__(self, projection: Projection) -> None:
        self._tables: Model = {table: {} for table in projection.tables}

    def get(self, table: Table[Any], key: Key) -> Any:
        return self._tables[table].get(key)

    def put(self, table: Table[Any], row: Any) -> None:
        self._tables[table][table.key_of(row)] = row

    def delete(self, table: Table[Any], key: Key) -> None:
        self._tables[table].pop(key, None)

    def kept(self) -> Model:
        """Return the rows, without those that their table forgets."""
        return {table: _newest(table, rows) for table, rows in self._tables.items()}


def _newest(table: Table[Any], rows: dict[Key, Any]) -> dict[Key, Any]:
    if table.keep is None:
        return rows
    place = attrgetter(*table.keep.by)
    found = sorted(rows.items(), key=lambda item: place(item[1]), reverse=True)
    return dict(found[: table.keep.count])
