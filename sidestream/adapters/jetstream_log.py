"""The event log in NATS JetStream, as Dapr's pubsub.jetstream writes it: a subject per topic, body = the event.

Positions are the stream's sequences. Entries are fetched by number with the server's batched direct get: no consumer is
made, nothing is remembered in the server, and many may read at once. A stream's identity is the moment it was created.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, overload

import msgspec

from sidestream.adapters.jetstream_streams import JetStreamStreams, State, Stream, address_of
from sidestream.adapters.nats_requests import NatsAddress, NatsRequests, Part
from sidestream.adapters.numbered_positions import BEGINS_A_LOG, compare, newest_first, number_of
from sidestream.errors import LogUnavailable
from sidestream.ports import LogEntry, LogExtent

_READ_BYTES: Final = 64 * 1024 * 1024
"""Most bytes of one answer: a longer one is cut by the server, and asked for on from there."""
_END: Final = b"204"
_NOTHING: Final = b"404"
_NO_STREAM: Final = b"503"
_SEQUENCE: Final = re.compile(rb"\r\nNats-Sequence: *(\d+)")
_BEGINS_A_LOG: Final = f"\r\n{BEGINS_A_LOG}:".encode()
_TIME: Final = re.compile(rb"\r\nNats-Time-Stamp: *([^\r]+)")


class JetStreamLog:
    """See `sidestream.ports.EventLog`. Connects when first asked; all threads share one connection."""

    def __init__(self, address: NatsAddress) -> None:
        self.address = address
        self._requests = NatsRequests(address)
        self._streams = JetStreamStreams(self._requests)
        self._names: dict[str, str] = {}

    def read(self, topic: str, start: str | None, limit: int) -> Sequence[LogEntry]:
        """See `sidestream.ports.EventLog`."""
        return self._from(topic, max(1 if start is None else number_of(start), 1), limit)

    def read_back(self, topic: str, before: str | None, limit: int) -> Sequence[LogEntry]:
        """See `sidestream.ports.EventLog`."""
        wanted = None if before is None else number_of(before)
        stream = self._describe(topic)
        if stream is None:
            return []
        end = stream.state.last_seq + 1 if wanted is None else min(wanted, stream.state.last_seq + 1)

        def between(begin: int, end: int) -> Sequence[LogEntry]:
            found: list[LogEntry] = []
            while begin < end and (part := self._from(topic, begin, end - begin)):
                found += [entry for entry in part if int(entry.position) < end]
                begin = int(part[-1].position) + 1
            return found

        return newest_first(limit, stream.state.first_seq, end, between)

    def extent(self, topic: str) -> LogExtent:
        """See `sidestream.ports.EventLog`."""
        stream = self._describe(topic)
        if stream is None:
            return LogExtent(first=None, last=None, trimmed_to=None, length=0)
        length = (stream.state.subjects or {}).get(topic, 0)
        first = self._get(topic, {"seq": 1, "next_by_subj": topic, "batch": 1}) if length else []
        last = self._get(topic, {"multi_last": [topic]}) if length else []
        return LogExtent(
            first=_Entries(first)[0].position if first else None,
            last=_Entries(last)[0].position if last else None,
            trimmed_to=_trimmed_to(stream.state, first),
            length=length,
            identity=stream.created,
        )

    def compare(self, left: str, right: str) -> int:
        """See `sidestream.ports.EventLog`."""
        return compare(left, right)

    def close(self) -> None:
        """See `sidestream.ports.EventLog`."""
        self._requests.close()

    def _from(self, topic: str, number: int, limit: int) -> "_Entries":
        if limit <= 0:
            return _Entries([])
        return _Entries(self._get(topic, {"seq": number, "next_by_subj": topic, "batch": limit, "max_bytes": _READ_BYTES}))

    def _get(self, topic: str, question: Mapping[str, Any]) -> list[Part]:
        """Ask the topic's stream; one that has gone since it was found is looked for once more."""
        for _ in range(2):
            name = self._name(topic)
            if not name:
                return []
            status, parts = self._requests.collect(f"DIRECT.GET.{name}", msgspec.json.encode(question))
            code = status.split(maxsplit=2)[1]
            if code == _NO_STREAM:
                self._names.pop(topic, None)
                continue
            if code not in {_END, _NOTHING}:
                raise LogUnavailable(f"{self.address}: get {topic}: {status.decode(errors='replace').partition(chr(13))[0]}")
            return parts
        raise LogUnavailable(f"{self.address}: get {topic}: stream {name} does not answer")

    def _name(self, topic: str) -> str:
        """Return the topic's stream, checked when it is first found; empty where there is none."""
        if topic not in self._names:
            name = self._streams.name(topic)
            if not name or not self._streams.check(name, topic):
                return ""
            self._names[topic] = name
        return self._names[topic]

    def _describe(self, topic: str) -> Stream | None:
        name = self._name(topic)
        found = self._streams.describe(name, topic) if name else None
        if found is not None and found.state.num_deleted:  # only then is it worth the longer answer
            found = self._streams.describe(name, topic, deleted=True)
        if found is None:
            self._names.pop(topic, None)
        return found


def _trimmed_to(state: State, first: Sequence[Part]) -> str | None:
    """Return the newest number known to be gone: what the stream begins after, or was deleted from its middle.

    Where the first entry says that it begins a log, numbers before it are none of that log.
    """
    before = state.first_seq - 1 if state.messages else state.last_seq
    newest = max([before, *(state.deleted or [])])
    begins = int(_Entries(first)[0].position) if first and _BEGINS_A_LOG in first[0][0] else 0
    return str(newest) if newest > begins else None


class _Entries(Sequence[LogEntry]):
    """Entries as they stood on the wire; an object of one is made when somebody looks at it. Has `wires`."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self.wires: Sequence[bytes] = [body for _, body in parts]

    @overload
    def __getitem__(self, at: int) -> LogEntry: ...
    @overload
    def __getitem__(self, at: slice) -> "_Entries": ...
    def __getitem__(self, at: int | slice) -> "LogEntry | _Entries":
        if isinstance(at, slice):
            return _Entries(self._parts[at])
        head, body = self._parts[at]
        # the server writes its own last, behind whatever a publisher may have called by the same name
        recorded = datetime.fromisoformat(_TIME.findall(head)[-1].decode())
        return LogEntry(_SEQUENCE.findall(head)[-1].decode(), body, int(recorded.timestamp() * 1000))

    def __len__(self) -> int:
        return len(self._parts)


def open_jetstream(where: str, metadata: Mapping[str, str]) -> JetStreamLog:
    """Open the log behind a pubsub.jetstream component; raises ConfigurationError where its metadata cannot be followed."""
    return JetStreamLog(address_of(metadata, where))
