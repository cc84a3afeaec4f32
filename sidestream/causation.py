"""What is being done, and because of what: the ids that go from a request to its last event.

    correlation id   one conversation: everything that a request set going, over all services
    causation id     the one event that this was done because of; none where a client asked
    traceparent      the trace of W3C that the request came with, kept as it is

Pure: ids and headers are given by the edge; see `sidestream.web.commands` for the way in.
"""

import re
from typing import Final

import msgspec

from sidestream.event import Envelope

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Cause(msgspec.Struct, frozen=True):
    """Why events are recorded; each of them carries these as attributes."""

    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None


NO_CAUSE: Final = Cause()


def because_of(envelope: Envelope) -> Cause:
    """Return the cause of what is done because of an event. One that belongs to no conversation begins one."""
    return Cause(envelope.correlationid or envelope.id, envelope.id, known_trace(envelope.traceparent))


def known_trace(traceparent: str | None) -> str | None:
    """Return the header if it is a trace context of W3C, else None: the standard says to go on without it."""
    return traceparent if traceparent and _TRACEPARENT.fullmatch(traceparent) else None


def trace_id(traceparent: str | None) -> str | None:
    """Return the 32 hex digits that name the trace, None where there is none."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    return found[1] if found else None
