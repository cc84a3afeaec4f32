"""Decodes what the log holds, as far as a rule needs it, and puts in its place what an operator decided about it.

Pure, and never raises: what cannot be applied says so in what is returned.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sidestream.applying.corrections import Correction, InForce, Subject
from sidestream.applying.row_types import check_named
from sidestream.errors import RefusedByStore, SidestreamError, UnreadableEvent
from sidestream.event import Envelope, decode_event
from sidestream.ports import LogEntry
from sidestream.projection import Key, Projection, Table
from sidestream.registry import Registry

FAILED: Final = "rule-failed"
UNREADABLE: Final = "unreadable-entry"
"""The whole entry cannot be read, so that it was not counted; `unreadable-event` is one that was."""


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """One entry of the log, decoded as far as the rule needs it.

    Attributes:
        envelope: None where the entry cannot be read at all.
        event: the data as its model, the raw data, or None where the rule does not handle the type.
        keys: the rows the rule will look at.
        problem: why it cannot be applied, empty when it can.
        code: the stable code of the problem.
        skip: an operator decided that it is counted and does nothing.
    """

    entry: LogEntry
    envelope: Envelope | None = None
    event: Any = None
    handled: bool = False
    keys: tuple[tuple[Table[Any], Key], ...] = ()
    problem: str = ""
    code: str = ""
    skip: bool = False


class Rule:
    """A projection together with the language it is written in, and what operators decided about its dead letters."""

    def __init__(self, projection: Projection, registry: Registry, corrections: InForce | None = None) -> None:
        self.projection = projection
        self.registry = registry
        self.corrections = InForce() if corrections is None else corrections
        self.handled = frozenset(registry.type_of(model).name for model in projection.handles)
        self.widths: Mapping[Table[Any], int] = {table: len(table.key) for table in projection.tables}
        """The tables, and how many columns their keys have."""

    def decode(self, entry: LogEntry) -> Decoded:
        """Decode one entry; never raises, a problem is noted in what is returned."""
        try:
            envelope = decode_event(entry.data)
        except UnreadableEvent as error:
            return Decoded(entry, problem=str(error), code=UNREADABLE)
        if self.handled and envelope.type not in self.handled:
            return Decoded(entry, envelope)
        return self._decode_handled(entry, envelope)

    def _decode_handled(self, entry: LogEntry, envelope: Envelope) -> Decoded:
        try:
            event = self.registry.read(envelope) if self.handled else envelope.data
            keys = tuple(self.projection.keys(event, envelope))
            check_named(self.widths, keys)
        except SidestreamError as error:
            return Decoded(entry, envelope, handled=True, problem=str(error), code=error.code)
        except Exception as error:  # the rule's own `keys` raised, or named what is none: this event is parked
            return Decoded(entry, envelope, handled=True, problem=f"keys: {type(error).__name__}: {error}", code=FAILED)
        return Decoded(entry, envelope, event, handled=True, keys=keys)

    def corrected(self, topic: str, decoded: Decoded) -> Decoded:
        """Return what an operator decided to use instead of an entry, or the entry as it is."""
        correction = self._correction_of(topic, decoded)
        if correction is None:
            return decoded
        if correction.kind == "skip":
            return msgspec.structs.replace(decoded, skip=True)
        if decoded.code == RefusedByStore.code:  # the database refused the very event that is used instead
            return decoded
        instead = self.decode(LogEntry(decoded.entry.position, correction.wire, decoded.entry.recorded_ms))
        return msgspec.structs.replace(instead, entry=decoded.entry)

    def _correction_of(self, topic: str, decoded: Decoded) -> Correction | None:
        envelope = decoded.envelope
        if envelope is not None:
            return self.corrections.find(("event", envelope.source, envelope.id))
        return self.corrections.find_entry(topic, decoded.entry.position, decoded.entry.data)

    def skips_repeat(self, source: str, event_id: str) -> bool:
        """Return whether an operator decided to pass over a number or version that was given twice."""
        subject: Subject = ("repeat", source, event_id)
        return self.corrections.find(subject) is not None
