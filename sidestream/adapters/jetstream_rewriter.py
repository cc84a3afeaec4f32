"""The ends of a JetStream stream: entries added behind what stands there, and everything before one of them purged.

The stream stays the same one for the server, with its consumers: no sidecar stops hearing it. That the log begins anew says its
first entry, by a header (`numbered_positions.BEGINS_A_LOG`); readers then do not take what was before it for lost.
"""

from collections.abc import Sequence

from sidestream.adapters.jetstream_streams import JetStreamStreams
from sidestream.adapters.jetstream_writer import JetStreamWriter
from sidestream.adapters.nats_requests import NatsAddress, NatsRequests
from sidestream.errors import ConfigurationError


class JetStreamEnds:
    """See `sidestream.logs.rewriting_in_place.LogEnds`. Belongs to one thread."""

    def __init__(self, address: NatsAddress) -> None:
        self._address = address
        self._streams = JetStreamStreams(NatsRequests(address))
        self._writer = JetStreamWriter(address)

    def begin(self, topic: str, wire: bytes) -> str:
        """See `sidestream.logs.rewriting_in_place.LogEnds`."""
        self._streams.make([topic])
        self._refuse_others(topic)
        return str(self._writer.begin(topic, wire))

    def append(self, topic: str, wires: Sequence[bytes]) -> None:
        """See `sidestream.logs.rewriting_in_place.LogEnds`."""
        self._writer.add(topic, wires)

    def forget_before(self, topic: str, position: str) -> None:
        """See `sidestream.logs.rewriting_in_place.LogEnds`."""
        self._streams.forget_before(self._streams.name(topic), int(position))

    def close(self) -> None:
        """See `sidestream.logs.rewriting_in_place.LogEnds`."""
        self._writer.close()
        self._streams.close()

    def _refuse_others(self, topic: str) -> None:
        """What stands before an entry may be given up only where it is this topic's."""
        name = self._streams.name(topic)
        stream = self._streams.describe(name, topic)
        found = stream.config.get("subjects") if stream else None
        if found != [topic]:
            raise ConfigurationError(
                f"{self._address}: stream {name}: expected one that holds {topic} alone, found subjects {found}. "
                "A topic that shares a stream cannot be written anew: its numbers would be missing to the others."
            )
